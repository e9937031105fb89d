"""Four digit domains with ten shared classes: a strong shift that needs 1.4 MB of data.

- ``mnist``: the first 250 MNIST digits of each class of asset mnist-5k;
- ``optdigits``: scikit-learn's 8x8 digits, other writers and another sensor; needs no asset;
- ``mnist_m``: the other 250 MNIST digits of each class, blended with patches of photographs;
- ``synth``: digits drawn with matplotlib's bundled fonts; needs no asset, any number.

Photographs and fonts are read as files of the installed wheels; nothing is downloaded.
"""

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...accountant import check
from ...accountant.errors import AssetError, ConfigError
from . import assets
from .images import ImageSet

DOMAINS = ("mnist", "optdigits", "mnist_m", "synth")
CLASSES = tuple("0123456789")
SIDE = 28
PHOTOS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "grass.png",
    "gravel.png",
    "brick.png",
)
FONTS = (
    *(f"DejaVuSans{style}.ttf" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}.ttf" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}.ttf" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}.ttf" for style in ("", "Bol", "Italic", "BolIta")),
    *(f"{name}.ttf" for name in ("cmb10", "cmr10", "cmss10", "cmti10", "cmtt10")),
)
_MNIST_HALF = 250
# First word of each random stream. Never renumber: old seeds would give other pictures.
_STREAMS = {"mnist": 1, "optdigits": 2, "mnist_m": 3, "synth": 4, "public_patches": 5}

Pixels = NDArray[np.uint8]


def load_domain(name: str, *, per_class: int, seed: int) -> ImageSet:
    """`per_class` digits of each of the ten classes, sorted by class.

    Equal arguments give equal bytes, as long as Pillow and the wheels stay the same: compare
    `ImageSet.sha256`. `mnist` and `mnist_m` share no row of MNIST, whatever their seeds.

    Args:
        name: one of `DOMAINS`.
        per_class: >= 1; at most 250 for mnist and mnist_m, 174 for optdigits.
        seed: >= 0; chooses the rows, backgrounds, fonts and positions.

    Raises:
        ConfigError: there are not that many, or no such domain.
        AssetError: mnist-5k is missing.

    >>> few = load_domain("synth", per_class=2, seed=0)
    >>> few.images.shape, few.labels[:4].tolist()
    ((20, 28, 28, 3), [0, 0, 1, 1])
    """
    if name not in DOMAINS:
        raise ConfigError(f"domain must be {check.suggest(name, DOMAINS)}")
    check.count(per_class=per_class)
    rng = _stream(name, seed)
    labels = np.repeat(np.arange(10, dtype=np.int64), per_class)
    words = f"{per_class} of each class, seed {seed}"
    if name == "synth":
        faces, photos = _fonts(), _photos()
        images = np.stack([_synth(rng, int(label), faces, photos) for label in labels])
        made = (
            f"digits drawn with the {len(FONTS)} text fonts of matplotlib {_version('matplotlib')}"
        )
        words = f"{made}, Pillow {_version('pillow')}; {words}"
    elif name == "optdigits":
        pool, classes = _optdigits()
        images = _rgb(pool[_choose(rng, classes, np.arange(len(pool)), per_class, name)])
        words = f"scikit-learn {_version('scikit-learn')} digits, bicubic from 8x8; {words}"
    else:
        pool, classes = _mnist()
        rows = _choose(rng, classes, mnist_rows(name), per_class, name)
        images = _rgb(pool[rows])
        half = "first" if name == "mnist" else "last"
        words = f"MNIST (asset mnist-5k), {half} {_MNIST_HALF} rows of each class; {words}"
        if name == "mnist_m":
            photos = _photos()
            grounds = np.stack([_patch(rng, photos, SIDE) for _ in rows])
            images = np.abs(grounds.astype(np.int64) - images).astype(np.uint8)
            words = f"{words}; backgrounds: scikit-image {_version('scikit-image')} photographs"
    return ImageSet(
        name=name,
        images=images,
        labels=labels,
        classes=CLASSES,
        provenance=words,
        synthetic=name == "synth",
    )


def public_patches(count: int, seed: int) -> Pixels:
    """uint8[count, 28, 28, 3]: random squares of scikit-image's photographs, as public data.

    The random stream is not that of the mnist_m or synth backgrounds; the eight photographs are
    the same, so a patch may overlap a background.
    """
    check.count(count=count)
    rng, photos = _stream("public_patches", seed), _photos()
    return np.stack([_patch(rng, photos, SIDE) for _ in range(count)])


def mnist_rows(name: str) -> NDArray[np.int64]:
    """The rows of mnist-5k that `mnist` or `mnist_m` may use: disjoint halves of each class."""
    _, classes = _mnist()
    half = slice(None, _MNIST_HALF) if name == "mnist" else slice(_MNIST_HALF, None)
    rows = [np.flatnonzero(classes == digit)[half] for digit in range(10)]
    return np.concatenate(rows).astype(np.int64)


def _choose(
    rng: np.random.Generator,
    classes: NDArray[np.int64],
    rows: NDArray[np.int64],
    per_class: int,
    name: str,
) -> NDArray[np.int64]:
    """`per_class` of `rows` for each digit, in the order of the digits."""
    pools = [rows[classes[rows] == digit] for digit in range(10)]
    fewest = min(len(pool) for pool in pools)
    if per_class > fewest:
        raise ConfigError(
            f"per_class is {per_class}, but domain {name!r} has {fewest} digits of its rarest "
            f"class. Ask for at most {fewest}, or use domain 'synth', which makes any number."
        )
    return np.concatenate([rng.permutation(pool)[:per_class] for pool in pools])


def _stream(name: str, seed: int) -> np.random.Generator:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ConfigError(f"seed must be a whole number >= 0, but is {seed!r}")
    return np.random.default_rng([_STREAMS[name], seed])


@lru_cache(maxsize=1)
def _mnist_file(file: Path) -> tuple[Pixels, NDArray[np.int64]]:
    table = np.loadtxt(file, delimiter=",", dtype=np.uint8)  # opens .gz by itself
    return table[:, :-1].reshape(-1, SIDE, SIDE), table[:, -1].astype(np.int64)


def _mnist() -> tuple[Pixels, NDArray[np.int64]]:
    """uint8[5000, 28, 28] and int64[5000]; the file's hash is checked at each call."""
    return _mnist_file(assets.path("mnist-5k"))


@lru_cache(maxsize=1)
def _optdigits() -> tuple[Pixels, NDArray[np.int64]]:
    from PIL import Image
    from sklearn.datasets import load_digits

    data = load_digits()
    small = np.rint(data.images * (255 / 16)).astype(np.uint8)
    size, cubic = (SIDE, SIDE), Image.Resampling.BICUBIC
    large = [np.asarray(Image.fromarray(image).resize(size, cubic)) for image in small]
    return np.stack(large), data.target.astype(np.int64)


def _rgb(grey: Pixels) -> Pixels:
    return np.repeat(grey[..., None], 3, axis=3)


def _patch(rng: np.random.Generator, photos: Sequence[Pixels], side: int) -> Pixels:
    photo = photos[int(rng.integers(len(photos)))]
    top, left = (int(rng.integers(length - side + 1)) for length in photo.shape[:2])
    square: Pixels = photo[top : top + side, left : left + side]
    return square


def _synth(
    rng: np.random.Generator, label: int, faces: Sequence[Path], photos: Sequence[Pixels]
) -> Pixels:
    from PIL import Image, ImageDraw

    red, green, blue = rng.integers(0, 256, 3).tolist()
    image = Image.new("RGB", (32, 32), (red, green, blue))
    if rng.random() < 0.5:
        image = Image.fromarray(_patch(rng, photos, 32))
    mean = np.asarray(image).mean(axis=(0, 1))
    ink = rng.integers(0, 256, 3)
    while np.abs(ink - mean).sum() <= 200:  # legible against the background
        ink = rng.integers(0, 256, 3)
    font = _font(faces[int(rng.integers(len(faces)))], int(rng.integers(17, 27)))
    draw = ImageDraw.Draw(image)
    x0, y0, x1, y1 = draw.textbbox((0, 0), str(label), font=font)
    dx, dy = rng.integers(-3, 4, 2).tolist()
    place = ((32 - x1 - x0) / 2 + dx, (32 - y1 - y0) / 2 + dy)
    draw.text(place, str(label), font=font, fill=tuple(ink.tolist()))
    turned = image.rotate(rng.uniform(-15, 15), resample=Image.Resampling.BILINEAR)
    return np.asarray(turned.resize((SIDE, SIDE)))


@lru_cache(maxsize=256)
def _font(file: Path, size: int) -> Any:
    from PIL import ImageFont

    # The basic layout engine: the other one depends on libraries of the machine.
    return ImageFont.truetype(str(file), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=1)
def _photos() -> tuple[Pixels, ...]:
    from PIL import Image

    return tuple(
        np.asarray(Image.open(file).convert("RGB"))
        for file in _files("skimage", "scikit-image", "data", PHOTOS)
    )


def _fonts() -> tuple[Path, ...]:
    return _files("matplotlib", "matplotlib", "mpl-data/fonts/ttf", FONTS)


def _files(module: str, package: str, folder: str, names: Sequence[str]) -> tuple[Path, ...]:
    """Files inside an installed package, found without importing it."""
    spec = importlib.util.find_spec(module)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        raise AssetError(f"{package} is not installed: pip install 'privassay[run]'")
    files = tuple(Path(places[0]) / folder / name for name in names)
    absent = [file.name for file in files if not file.is_file()]
    if absent:
        raise AssetError(
            f"{package} {_version(package)} does not hold {', '.join(absent)}: install its wheel "
            "with pip install --force-reinstall"
        )
    return files


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)

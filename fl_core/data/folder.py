"""Pictures from a folder ``root/domain/class/*.png``, the layout of PACS and DomainNet.

The pictures may be from strangers: nothing outside the folder is read, only PNG and JPEG are
decoded, and what would fill the memory is refused before it is decoded.
"""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...accountant import check
from ...accountant.errors import ConfigError
from .images import ImageSet

ENDINGS = (".png", ".jpg", ".jpeg")
FORMATS = ("PNG", "JPEG")
"""What is decoded, whatever the ending: other formats of Pillow start programs."""

MOST_PIXELS = 50_000_000
"""Of one picture, before it is resized: 200 MB while it is decoded."""

MOST_BYTES = 8 * 2**30
"""Of all pictures together, after resizing."""


def load_folder(path: str | Path, *, size: int = 96) -> dict[str, ImageSet]:
    """One `ImageSet` per domain; a domain is a folder of class folders.

    Labels are the sorted class names of all domains together, so they mean the same in each; a
    domain may lack a class. Other files, and names that start with a dot, are passed over.

    Args:
        path: the root folder. It is not kept in the result.
        size: pictures become RGB of size x size pixels, bilinear, without keeping the proportions.

    Raises:
        ConfigError: no such folder, no domain, a domain without pictures; a picture that is
            unreadable, too large, of more than 8 bits, or a link that leaves the folder; or more
            pictures than fit into memory.
    """
    check.count(size=size)
    root = Path(path)
    if not root.is_dir():
        raise ConfigError(
            f"no folder {str(path)!r}; expected a folder laid out as DOMAIN/CLASS/PICTURE.png"
        )
    domains = _folders(root)
    if not domains:
        raise ConfigError(f"folder {str(path)!r} has no folders in it; expected one per domain")
    found = {domain.name: _pictures(domain) for domain in domains}
    for name, pictures in found.items():
        if not pictures:
            raise ConfigError(
                f"domain {name!r} has no pictures; expected {name}/CLASS/*{', *'.join(ENDINGS)}"
            )
    classes = sorted({file.parent.name for files in found.values() for file in files})
    for name in (*found, *classes):
        if not name.isprintable():
            raise ConfigError(f"the name of a folder, {name!a}, has characters without a shape")
    total = sum(map(len, found.values())) * size * size * 3
    if total > MOST_BYTES:
        raise ConfigError(
            f"the pictures would take {total / 2**30:.1f} GiB at {size}x{size} pixels; at most "
            f"{MOST_BYTES / 2**30:.0f} are used. Ask for a smaller size, or fewer pictures."
        )
    return {
        name: ImageSet(
            name=name,
            images=_read_all(files, root, size),
            labels=np.array([classes.index(file.parent.name) for file in files], dtype=np.int64),
            classes=tuple(classes),
            provenance=f"folder of {len(files)} pictures, resized to {size}x{size}",
        )
        for name, files in found.items()
    }


def _folders(parent: Path) -> list[Path]:
    inside = (entry for entry in parent.iterdir() if not entry.name.startswith("."))
    return sorted((entry for entry in inside if entry.is_dir()), key=lambda entry: entry.name)


def _pictures(domain: Path) -> list[Path]:
    """Sorted by class, then by file name: the order does not depend on the file system."""
    return [
        file
        for folder in _folders(domain)
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.suffix.lower() in ENDINGS and not file.name.startswith(".")
    ]


def _read_all(files: list[Path], root: Path, size: int) -> NDArray[np.uint8]:
    images = np.empty((len(files), size, size, 3), dtype=np.uint8)
    inside = root.resolve()
    for row, file in enumerate(files):
        shown = file.relative_to(root).as_posix().encode("ascii", "backslashreplace").decode()
        if not _lies_in(inside, file):
            raise ConfigError(
                f"picture {shown} is a link that does not lead into the folder; copy the picture "
                "into it"
            )
        if not file.is_file():
            raise ConfigError(f"picture {shown} is no file, or a link to nothing; remove it")
        images[row] = _read(file, shown, size)
    return images


def _lies_in(folder: Path, file: Path) -> bool:
    try:
        return file.resolve().is_relative_to(folder)
    except (OSError, RuntimeError):  # a link to itself
        return False


def _read(file: Path, shown: str, size: int) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    try:
        # Our own limit is lower than the one that Pillow only warns about.
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            opened = Image.open(file, formats=FORMATS)
        with opened:
            width, height = opened.size
            if width * height > MOST_PIXELS:
                raise ConfigError(
                    f"picture {shown} has {width}x{height} pixels; at most {MOST_PIXELS:,} are "
                    "decoded. Make it smaller."
                )
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith(("I", "F")):  # conversion would clip, not scale
                raise ConfigError(
                    f"picture {shown} has more than 8 bits per channel; save it with 8 bits"
                )
            if "transparency" in image.info:
                image = image.convert("RGBA")
            image = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, ConfigError):
            raise
        # Pillow's own text may hold the full path.
        raise ConfigError(
            f"picture {shown} cannot be read ({type(error).__name__}); replace or remove it"
        ) from None
    return np.asarray(image)

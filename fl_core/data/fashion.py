"""Fashion-MNIST (Xiao, Rasul & Vollgraf, arXiv:1708.07747): 70,000 pictures of clothes."""

import gzip
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...accountant import check
from ...accountant.errors import AssetError
from . import assets
from .images import ImageSet

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
Part = Literal["train", "test"]
_FILES = {"train": "train", "test": "t10k"}
_SIDE = 28


def load_fashion_mnist(part: Part = "train") -> ImageSet:
    """One part of the asset fashion-mnist: 60,000 pictures to train, 10,000 to test.

    Raises:
        ConfigError: no such part. AssetError: the asset is missing or has a wrong hash.
    """
    check.one_of(_FILES, part=part)
    images = _idx(f"{_FILES[part]}-images-idx3-ubyte.gz").reshape(-1, _SIDE, _SIDE)
    return ImageSet(
        name="fashion-mnist",
        images=np.repeat(images[..., None], 3, axis=3),
        labels=_idx(f"{_FILES[part]}-labels-idx1-ubyte.gz").astype(np.int64),
        classes=CLASSES,
        provenance=f"Fashion-MNIST (asset fashion-mnist), {part} part",
    )


def _idx(name: str) -> NDArray[np.uint8]:
    """The bytes of an IDX file: two zeros, the type, the number of axes, their lengths, data."""
    raw = gzip.decompress(assets.path("fashion-mnist", name).read_bytes())
    axes = raw[3]
    lengths = np.frombuffer(raw, ">u4", count=axes, offset=4)
    if raw[:3] != b"\0\0\x08" or len(raw) != 4 + 4 * axes + int(np.prod(lengths)):
        raise AssetError(f"{name} is no IDX file of bytes")
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes)

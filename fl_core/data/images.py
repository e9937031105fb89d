"""`ImageSet`: labelled pictures of one size, with the hash of their bytes."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...accountant.errors import ConfigError


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """Labelled pictures of one domain.

    Attributes:
        name: name of the domain.
        images: uint8[n, h, w, 3].
        labels: int64[n], in 0 .. len(classes) - 1.
        classes: name of each label.
        synthetic: whether the pictures are drawn by a program, so that a report may show them.
        provenance: where the pictures come from, in words; never a path of this machine.
        sha256: of shape, pictures and labels, hex; computed here.

    >>> pixels = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    >>> both = ImageSet(name="a", images=pixels, labels=np.array([0, 1]),
    ...                 classes=("x", "y"), provenance="made up")
    >>> len(both), both.sha256[:8]
    (2, '685f7a69')
    """

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    provenance: str
    synthetic: bool = False
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        shape = self.images.shape
        if self.images.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3:
            raise ConfigError(
                f"images of {self.name!r} must be uint8[n, h, w, 3], "
                f"but are {self.images.dtype}{list(shape)}"
            )
        if self.labels.dtype != np.int64 or self.labels.shape != shape[:1]:
            raise ConfigError(
                f"labels of {self.name!r} must be int64[{shape[0]}], "
                f"but are {self.labels.dtype}{list(self.labels.shape)}"
            )
        if self.labels.size and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise ConfigError(
                f"labels of {self.name!r} must lie in 0 .. {len(self.classes) - 1}, "
                f"but lie in {self.labels.min()} .. {self.labels.max()}"
            )
        digest = hashlib.sha256(repr(shape).encode())
        digest.update(np.ascontiguousarray(self.images).tobytes())
        digest.update(self.labels.astype("<i8").tobytes())
        object.__setattr__(self, "sha256", digest.hexdigest())

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64], name: str | None = None) -> "ImageSet":
        """The pictures of `rows`, in that order."""
        return ImageSet(
            name=self.name if name is None else name,
            images=self.images[rows],
            labels=self.labels[rows],
            classes=self.classes,
            provenance=self.provenance,
            synthetic=self.synthetic,
        )

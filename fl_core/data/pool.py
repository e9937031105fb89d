"""`Pool`: labelled records of any kind in one table, before they are dealt out to clients."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...accountant.errors import ConfigError
from .images import ImageSet


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Records with their labels and domains; the arrays cannot be written to through it.

    Attributes:
        name: name of the source.
        x: uint8[n, h, w, 3] pictures, or float32[n, dim] vectors.
        y: int64[n], in 0 .. len(classes) - 1.
        classes: name of each label.
        domain: int64[n], in 0 .. len(domains) - 1.
        domains: name of each domain.
        provenance: where the records come from, in words; never a path of this machine.
        synthetic: whether a program made all of them, so that a report may show them.
        is_canary: bool[n], the records that an audit planted; none if empty.
        sha256: of everything but name and provenance, hex; computed here.

    Raises:
        ConfigError: types, shapes or ranges are not these, or a vector is not finite.

    >>> pool = Pool(name="made up", x=np.zeros((2, 3), dtype=np.float32), y=np.array([0, 1]),
    ...             classes=("a", "b"), domain=np.array([0, 0]), domains=("all",),
    ...             provenance="made up")
    >>> len(pool), pool.pictures, pool.take(np.array([1])).y.tolist()
    (2, False, [1])
    """

    name: str
    x: NDArray[Any]
    y: NDArray[np.int64]
    classes: tuple[str, ...]
    domain: NDArray[np.int64]
    domains: tuple[str, ...]
    provenance: str
    synthetic: bool = False
    is_canary: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        pictures = self.x.dtype == np.uint8 and self.x.ndim == 4 and self.x.shape[3] == 3
        if not pictures and not (self.x.dtype == np.float32 and self.x.ndim == 2):
            raise ConfigError(
                f"records of {self.name!r} must be uint8[n, h, w, 3] or float32[n, dim], "
                f"but are {self.x.dtype}{list(self.x.shape)}"
            )
        if not pictures and not np.isfinite(self.x).all():
            raise ConfigError(f"records of {self.name!r} must be finite, but some are not")
        canary = self.is_canary if self.is_canary.size else np.zeros(len(self.x), dtype=bool)
        if canary.dtype != np.bool_ or canary.shape != self.x.shape[:1]:
            raise ConfigError(
                f"is_canary of {self.name!r} must be bool[{len(self.x)}], "
                f"but is {canary.dtype}{list(canary.shape)}"
            )
        _check_numbers(self.name, "y", self.y, len(self.x), self.classes)
        _check_numbers(self.name, "domain", self.domain, len(self.x), self.domains)
        for key, value in (("x", self.x), ("y", self.y), ("domain", self.domain)):
            object.__setattr__(self, key, _locked(value))
        object.__setattr__(self, "is_canary", _locked(canary))
        object.__setattr__(self, "sha256", self._digest())

    def __len__(self) -> int:
        return len(self.y)

    @property
    def pictures(self) -> bool:
        """Whether the records are pictures; else they are vectors."""
        return self.x.ndim == 4

    @property
    def canaries(self) -> NDArray[np.int64]:
        """int64[canaries]: their record numbers."""
        return np.flatnonzero(self.is_canary)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "Pool":
        """The records of `rows`, in that order; classes and domains keep their numbers."""
        return replace(
            self,
            x=self.x[rows],
            y=self.y[rows],
            domain=self.domain[rows],
            is_canary=self.is_canary[rows],
        )

    def _digest(self) -> str:
        head = [str(self.x.dtype), self.x.shape, self.classes, self.domains, self.synthetic]
        digest = hashlib.sha256(json.dumps(head).encode())
        kind = "u1" if self.pictures else "<f4"
        digest.update(np.ascontiguousarray(self.x, dtype=kind).tobytes())
        for numbers in (self.y, self.domain):
            digest.update(numbers.astype("<i8").tobytes())
        digest.update(self.is_canary.tobytes())
        return digest.hexdigest()


def pool_of(sets: Sequence[ImageSet], *, name: str) -> Pool:
    """One pool of several `ImageSet`s; each is a domain.

    Raises:
        ConfigError: none is given, or their classes or picture sizes differ.
    """
    if not sets:
        raise ConfigError(f"{name!r} needs at least one domain")
    shapes = {each.images.shape[1:] for each in sets}
    if len({each.classes for each in sets}) > 1 or len(shapes) > 1:
        raise ConfigError(f"the domains of {name!r} must have the same classes and picture size")
    if len({each.name for each in sets}) < len(sets):
        raise ConfigError(f"the domains of {name!r} must have different names")
    return Pool(
        name=name,
        x=np.concatenate([each.images for each in sets]),
        y=np.concatenate([each.labels for each in sets]),
        classes=sets[0].classes,
        domain=np.repeat(np.arange(len(sets), dtype=np.int64), [len(each) for each in sets]),
        domains=tuple(each.name for each in sets),
        provenance="; ".join(f"{each.name}: {each.provenance}" for each in sets),
        synthetic=all(each.synthetic for each in sets),
    )


def _check_numbers(
    pool: str, key: str, found: NDArray[Any], count: int, names: tuple[str, ...]
) -> None:
    if found.dtype != np.int64 or found.shape != (count,):
        raise ConfigError(
            f"{key} of {pool!r} must be int64[{count}], but is {found.dtype}{list(found.shape)}"
        )
    if found.size and not 0 <= found.min() <= found.max() < len(names):
        raise ConfigError(
            f"{key} of {pool!r} must lie in 0 .. {len(names) - 1}, "
            f"but lies in {found.min()} .. {found.max()}"
        )
    if len(set(names)) < len(names):
        raise ConfigError(f"names of the {key} numbers of {pool!r} must differ, but are {names}")


def _locked(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view

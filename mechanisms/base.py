"""What every mechanism is, and where its randomness comes from.

A mechanism makes both the noise and the account, so that the two cannot disagree. It is a frozen
dataclass and takes its randomness as an argument; it never draws a seed.
"""

import hashlib
import operator
import secrets
from dataclasses import dataclass, field
from typing import Literal, Protocol

import dp_accounting.dp_event as dpe
import numpy as np
import torch
from torch import Tensor

from ..accountant.assumption import Assumption
from ..accountant.errors import ParameterError

Point = Literal["per_example", "per_upload", "aggregate"]


class Key(Protocol):
    """A source of randomness for one purpose."""

    @property
    def fingerprint(self) -> str:
        """Text that two keys share only if they draw the same numbers; "system" if fresh."""

    def child(self, *names: str | int) -> "Key":
        """An independent source for a narrower purpose."""

    def normal(self, *shape: int) -> Tensor:
        """float64[shape] of independent standard normals."""

    def generator(self) -> np.random.Generator:
        """A numpy generator, for choices that are not noise."""


@dataclass(frozen=True)
class SeededKey:
    """Counters, not state: (seed, names) gives the same numbers in any order, on any engine.

    For tests and audits only: whoever knows the seed can subtract the noise. The 256-bit hash of
    the names is the key of a Philox counter generator; torch's own CPU generator keeps 32 bits of
    a seed, so that about 10,000 keys would meet with probability 1 %.
    """

    seed: int
    names: tuple[str | int, ...] = ()

    def _digest(self) -> bytes:
        # Plain types: a numpy number prints differently from the same number.
        names = (str(n) if isinstance(n, str) else operator.index(n) for n in self.names)
        return hashlib.sha256(repr((int(self.seed), *names)).encode()).digest()

    @property
    def fingerprint(self) -> str:
        """The first 64 bits of the hash of seed and names."""
        return "seeded:" + self._digest()[:8].hex()

    def child(self, *names: str | int) -> "SeededKey":
        """The key of a narrower purpose."""
        return SeededKey(self.seed, self.names + names)

    def generator(self) -> np.random.Generator:
        """A numpy generator at the start of this key's stream."""
        return np.random.Generator(np.random.Philox(key=int.from_bytes(self._digest()[8:24])))

    def normal(self, *shape: int) -> Tensor:
        """float64[shape] of independent standard normals; the same at every call."""
        return torch.from_numpy(self.generator().standard_normal(shape))


@dataclass(frozen=True)
class SystemKey:
    """For production: every draw is keyed by 128 fresh bits of the operating system."""

    fingerprint: str = field(default="system", init=False)

    def child(self, *names: str | int) -> "SystemKey":
        """The same source: it has no state."""
        return self

    def generator(self) -> np.random.Generator:
        """A numpy generator with a fresh key."""
        return np.random.Generator(np.random.Philox(key=secrets.randbits(128)))

    def normal(self, *shape: int) -> Tensor:
        """float64[shape] of independent standard normals; different at every call."""
        return torch.from_numpy(self.generator().standard_normal(shape))


def require_floating(values: Tensor) -> None:
    """Raise `ParameterError` for a payload in which noise would be cut to whole numbers."""
    if not values.is_floating_point():
        raise ParameterError(
            f"the payload must be floating point, but is {values.dtype}: noise would be cut to "
            "whole numbers. Give payload.double(), or use a mechanism for integers."
        )


class Mechanism(Protocol):
    """A release of class prototypes, clients (or replicas of a run) on the leading axes."""

    @property
    def point(self) -> Point:
        """Where in the run it acts."""

    @property
    def dimension(self) -> int:
        """Size of a feature vector."""

    @property
    def noise_stddevs(self) -> tuple[float, ...]:
        """Declared standard deviation of the noise, per group, in the units of a prototype."""

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """Number of dimensions of each group, in order."""

    @property
    def public_count(self) -> int:
        """Public divisor of the class sums."""

    def contribution(self, rows: Tensor) -> Tensor:
        """float[..., dim]: what each record of float[..., dim] adds to a class sum."""

    def statistic(self, features: Tensor, labels: Tensor, classes: int) -> Tensor:
        """float[..., classes, dim] before noise."""

    def perturb(self, prototypes: Tensor, key: Key) -> Tensor:
        """float[..., dim] with noise."""

    def event(self) -> dpe.DpEvent:
        """What the release of one prototype costs; classes and clients compose in parallel."""

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""


class Release(Protocol):
    """One release of stacked tensors, made and accounted by one object.

    The leading axes of a payload are independent releases (clients, replicas of a run); the axis
    over which records are summed is the last but one.
    """

    @property
    def point(self) -> Point:
        """Where in the run it acts."""

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """What leaves."""

    def event(self) -> dpe.DpEvent:
        """What one release costs one record (or client) that it covers."""

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""

"""Mechanisms of `mechanisms/` as what a prototype federation uploads: statistic, noise, prototype.

Each is one class sum per label before noise; `perturb` is applied at the upload, and `prototypes`
is the server's post-processing of what arrived.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ...accountant.assumption import Assumption
from ...accountant.errors import ConfigError
from ...mechanisms.base import Key, Mechanism, Point
from ...mechanisms.class_means import DpplMean, DpplPublic
from ...mechanisms.vpp import SumsAndCounts


class PrototypeRelease(Protocol):
    """A noisy statistic per label, and what the server makes of it."""

    @property
    def point(self) -> Point:
        """Where noise is added."""

    @property
    def linear(self) -> bool:
        """Whether the prototypes of a mean of uploads are the mean of their prototypes."""

    def width(self, dim: int) -> int:
        """Numbers per label in an upload, for features of `dim` dimensions."""

    def statistic(self, features: Tensor, labels: Tensor, count: int) -> Tensor:
        """float64[..., count, width] of float64[..., n, dim] and int64[..., n], -1 for padding."""

    def perturb(self, uploads: Tensor, key: Key) -> Tensor:
        """Uploads, float64[..., count, width], with noise."""

    def prototypes(self, released: Tensor) -> Tensor:
        """float64[..., count, dim] of what arrived."""

    def event(self) -> dpe.DpEvent:
        """Cost of one label's row in one upload."""

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""


@dataclass(frozen=True)
class NoisyMeans:
    """Class sums over a public count: IGPP, VPP and their relatives, or DPPL-Mean."""

    mechanism: Mechanism | DpplMean

    @property
    def point(self) -> Point:
        """That of the mechanism."""
        return self.mechanism.point

    @property
    def linear(self) -> bool:
        """Always."""
        return True

    def width(self, dim: int) -> int:
        """Dimensions after pooling.

        Raises:
            ConfigError: the mechanism is for features of another size.
        """
        if not isinstance(self.mechanism, DpplMean):
            if self.mechanism.dimension != dim:
                raise ConfigError(
                    f"features have {dim} dimensions, but the mechanism is for "
                    f"{self.mechanism.dimension}.\n  Make its group sizes add up to {dim}."
                )
            return dim
        if dim % self.mechanism.pool:
            raise ConfigError(f"{dim} dimensions cannot be pooled by {self.mechanism.pool}")
        return dim // self.mechanism.pool

    def statistic(self, features: Tensor, labels: Tensor, count: int) -> Tensor:
        """See `PrototypeRelease`."""
        return self.mechanism.statistic(features, labels, count)

    def perturb(self, uploads: Tensor, key: Key) -> Tensor:
        """See `PrototypeRelease`."""
        if isinstance(self.mechanism, DpplMean):
            return self.mechanism.release(uploads, key)
        return self.mechanism.perturb(uploads, key)

    def prototypes(self, released: Tensor) -> Tensor:
        """As released; a pooled dimension stands for each of those that it is the mean of."""
        pool = self.mechanism.pool if isinstance(self.mechanism, DpplMean) else 1
        return released if pool == 1 else released.repeat_interleave(pool, dim=-1)

    def event(self) -> dpe.DpEvent:
        """That of the mechanism."""
        return self.mechanism.event()

    def assumptions(self) -> tuple[Assumption, ...]:
        """Those of the mechanism."""
        return self.mechanism.assumptions()


@dataclass(frozen=True)
class SumsOverCounts:
    """Noisy class sums over noisy counts, so that no count is public."""

    mechanism: SumsAndCounts
    point: ClassVar[Point] = "per_upload"
    linear: ClassVar[bool] = False

    def width(self, dim: int) -> int:
        """One more, for the count.

        Raises:
            ConfigError: the mechanism is for features of another size.
        """
        size = sum(self.mechanism.group_sizes)
        if size != dim:
            raise ConfigError(f"features have {dim} dimensions, but the mechanism is for {size}")
        return dim + 1

    def statistic(self, features: Tensor, labels: Tensor, count: int) -> Tensor:
        """See `PrototypeRelease`."""
        return self.mechanism.statistic(features, labels, count)

    def perturb(self, uploads: Tensor, key: Key) -> Tensor:
        """See `PrototypeRelease`."""
        return self.mechanism.release(uploads, key)

    def prototypes(self, released: Tensor) -> Tensor:
        """Noisy means."""
        return self.mechanism.means(released)

    def event(self) -> dpe.DpEvent:
        """That of the mechanism."""
        return self.mechanism.event()

    def assumptions(self) -> tuple[Assumption, ...]:
        """Those of the mechanism."""
        return self.mechanism.assumptions()


@dataclass(frozen=True, eq=False)
class PublicChoice:
    """One public candidate per class, chosen by the exponential mechanism (DPPL-Public).

    What is uploaded is the choice; in tensors, 1 in the place of the chosen candidate.

    Attributes:
        mechanism: utilities and choice.
        candidates: float[m, dim], public features.
    """

    mechanism: DpplPublic
    candidates: Tensor
    point: ClassVar[Point] = "per_upload"
    linear: ClassVar[bool] = True

    def width(self, dim: int) -> int:
        """Number of candidates.

        Raises:
            ConfigError: the candidates have another size.
        """
        if self.candidates.dim() != 2 or self.candidates.shape[1] != dim:
            raise ConfigError(
                f"candidates must be float[m, {dim}], but are {list(self.candidates.shape)}"
            )
        return len(self.candidates)

    def statistic(self, features: Tensor, labels: Tensor, count: int) -> Tensor:
        """Utilities."""
        return self.mechanism.statistic(features, labels, count, self.candidates.to(features))

    def perturb(self, uploads: Tensor, key: Key) -> Tensor:
        """The choice, as zeros and a one."""
        chosen = self.mechanism.release(uploads, key)
        found: Tensor = torch.nn.functional.one_hot(chosen, uploads.shape[-1]).to(uploads)
        return found

    def prototypes(self, released: Tensor) -> Tensor:
        """The chosen candidates."""
        return released @ self.candidates.to(released)

    def event(self) -> dpe.DpEvent:
        """That of the mechanism."""
        return self.mechanism.event()

    def assumptions(self) -> tuple[Assumption, ...]:
        """Those of the mechanism."""
        return self.mechanism.assumptions()

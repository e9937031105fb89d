"""Class prototypes from a public encoder, released once: noisy means, or chosen public images.

In the style of DPPL (arXiv:2406.08039); written from its idea, not from its code.
"""

from dataclasses import dataclass
from typing import ClassVar

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ..accountant import check
from ..accountant.assumption import Assumption
from ..accountant.errors import ParameterError
from ..accountant.events import PureDpEvent
from .assumed import DOUBLE_PRECISION, NAN_IS_ZERO, ONE_KEY, fixed_divisor, public
from .base import Key, Point
from .clipping import Clip
from .sums import class_sums, noisy, require_doubles

_FROZEN = Assumption(
    text="The encoder does not depend on private records.",
    how="declared: it was trained on public data and is frozen",
    holds=None,
)


@dataclass(frozen=True, kw_only=True)
class DpplMean:
    """Pooled and clipped features, summed per class over a public count, with Gaussian noise.

    Source: Wahdany, Jagielski, Dziedzic & Boenisch, arXiv:2406.08039 (DPPL-Mean).

    Attributes:
        clip_norm: bound on one pooled feature vector, > 0.
        noise_multiplier: noise std of the sum / clip_norm, > 0.
        public_count: divisor.
        pool: how many neighbouring dimensions are averaged into one.
    """

    point: ClassVar[Point] = "per_upload"
    clip_norm: float
    noise_multiplier: float
    public_count: int
    pool: int = 1

    def __post_init__(self) -> None:
        check.positive(clip_norm=self.clip_norm, noise_multiplier=self.noise_multiplier)
        check.count(public_count=self.public_count, pool=self.pool)

    def contribution(self, rows: Tensor) -> Tensor:
        """float[..., dim / pool]: each record pooled, then clipped."""
        if rows.shape[-1] % self.pool:
            raise ParameterError(f"{rows.shape[-1]} dimensions cannot be pooled by {self.pool}")
        pooled = rows.unflatten(-1, (-1, self.pool)).mean(dim=-1)
        return Clip(joint_norm=self.clip_norm).apply(pooled)

    def statistic(self, features: Tensor, labels: Tensor, classes: int) -> Tensor:
        """Class sums over the public count, float64[..., classes, dim / pool]."""
        return class_sums(self.contribution(features), labels, classes) / self.public_count

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """`payload`, the statistic, with noise."""
        stddev = self.noise_multiplier * self.clip_norm / self.public_count
        return noisy(payload, stddev, key.child("class means"))

    def event(self) -> dpe.DpEvent:
        """One class; classes compose in parallel over labels."""
        return dpe.GaussianDpEvent(self.noise_multiplier)

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        return (
            _FROZEN,
            public("The clip bound and the noise scale"),
            fixed_divisor(self.public_count),
            NAN_IS_ZERO,
            ONE_KEY,
            DOUBLE_PRECISION,
        )


@dataclass(frozen=True, kw_only=True)
class DpplPublic:
    """For each class one public candidate, by the exponential mechanism on summed similarity.

    The utility of a candidate is the sum over the class's records of 1 + cosine, clamped to
    [low, high]; one record, added, removed or exchanged, moves it by at most high - low once the
    constant low is taken off. Source: as above (DPPL-Public); McSherry & Talwar, FOCS 2007.

    Attributes:
        epsilon: of one class, > 0.
        low: smallest similarity, >= 0; high: largest, <= 2.
    """

    point: ClassVar[Point] = "per_upload"
    epsilon: float
    low: float = 0.0
    high: float = 2.0

    def __post_init__(self) -> None:
        check.positive(epsilon=self.epsilon)
        if not 0.0 <= self.low < self.high <= 2.0:
            raise ParameterError(
                f"0 <= low < high <= 2 is needed, but low = {self.low}, high = {self.high}"
            )

    def statistic(
        self, features: Tensor, labels: Tensor, classes: int, candidates: Tensor
    ) -> Tensor:
        """Utilities, float64[..., classes, candidates].

        Args:
            features: float[..., n, dim]; a row that is not finite counts as absent.
            labels: int[..., n]; a negative label marks padding.
            classes: number of classes.
            candidates: float[m, dim], public.
        """
        features = features.double()
        finite = torch.isfinite(features).all(dim=-1, keepdim=True)
        rows = torch.nn.functional.normalize(torch.where(finite, features, 0.0), dim=-1)
        near = rows @ torch.nn.functional.normalize(candidates.to(rows), dim=-1).T
        gain = (1.0 + near).clamp(self.low, self.high) - self.low
        return class_sums(torch.where(finite, gain, 0.0), labels, classes)

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """int64[...]: the chosen candidate of each class, from utilities float[..., m]."""
        scale = 2.0 * (self.high - self.low) / self.epsilon
        require_doubles(payload)
        drawn = key.child("public choice").generator().gumbel(size=tuple(payload.shape))
        noise = torch.from_numpy(drawn).to(payload)
        return (payload + scale * noise).argmax(dim=-1)

    def event(self) -> dpe.DpEvent:
        """One class; classes compose in parallel over labels."""
        return PureDpEvent(self.epsilon * (1.0 + 2.0**-50))  # more than the scale is rounded

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        return (
            _FROZEN,
            public("The set of candidates and the clamp"),
            NAN_IS_ZERO,
            ONE_KEY,
            DOUBLE_PRECISION,
        )

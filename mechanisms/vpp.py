"""Sound relatives of VPP: an ellipsoid instead of a box, and noisy sums with noisy counts."""

from dataclasses import dataclass
from typing import ClassVar

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ..accountant import check
from ..accountant.adjacency import contribution_factor
from ..accountant.allocation import ellipsoid_stddevs
from ..accountant.assumption import Assumption
from ..accountant.errors import ParameterError
from .assumed import DOUBLE_PRECISION, NAN_IS_ZERO, ONE_KEY, public
from .base import Key, Point
from .clipping import Clip
from .prototypes import NoisyPrototypes, PrototypeDesign, within_budget
from .sums import class_sums, noisy


def ellipsoid(design: PrototypeDesign) -> NoisyPrototypes:
    """VPP, sound, clipped to an ellipsoid: the radii for which `group_norms` just fit.

    Source: closed form of `accountant.allocation.ellipsoid_stddevs`.
    """
    radii, stddevs = ellipsoid_stddevs(
        design.group_norms,
        design.group_sizes,
        mu=design.mu / design.rounds**0.5,
        factor=contribution_factor(design.adjacency) / design.public_count,
    )
    mechanism = NoisyPrototypes(
        clip=Clip(ellipsoid_radii=radii),
        group_sizes=design.group_sizes,
        noise_stddevs=stddevs,
        public_count=design.public_count,
    )
    return within_budget(mechanism, design)


@dataclass(frozen=True, kw_only=True)
class SumsAndCounts:
    """Noisy class sums and noisy class counts of all classes; means are computed from both.

    With private counts the noise must not be scaled by them. Under add-remove one class moves, its
    sum by the clip set and its count by one. Source: Gaussian mechanism on the pair, exact.

    Attributes:
        clip: the set that one record is scaled into.
        group_sizes: dimensions of each group, consecutive.
        noise_stddevs: noise of a class sum per group, > 0.
        count_stddev: noise of a count, > 0.
        fewest: smallest divisor of a noisy sum, > 0.

    Raises:
        ParameterError: lengths differ, or a number is out of range.
    """

    point: ClassVar[Point] = "per_upload"
    clip: Clip
    group_sizes: tuple[int, ...]
    noise_stddevs: tuple[float, ...]
    count_stddev: float
    fewest: float = 1.0

    def __post_init__(self) -> None:
        check.same_length(group_sizes=self.group_sizes, noise_stddevs=self.noise_stddevs)
        self.clip.require_groups(self.group_sizes)
        check.positive(count_stddev=self.count_stddev, fewest=self.fewest)
        for size, stddev in zip(self.group_sizes, self.noise_stddevs, strict=True):
            check.count(group_sizes=size)
            check.positive(noise_stddevs=stddev)

    def contribution(self, rows: Tensor) -> Tensor:
        """float[..., dim + 1]: each record clipped, and a one to be counted.

        A record that is not finite counts as absent, in the count too.
        """
        if rows.shape[-1] != sum(self.group_sizes):
            raise ParameterError(
                f"features must be float[..., {sum(self.group_sizes)}], but are {list(rows.shape)}"
            )
        clipped = self.clip.apply(rows, self.group_sizes)
        finite = torch.isfinite(rows).all(dim=-1, keepdim=True).to(clipped)
        return torch.cat([clipped, finite], dim=-1)

    def statistic(self, features: Tensor, labels: Tensor, classes: int) -> Tensor:
        """Sums and counts, float64[..., classes, dim + 1]; a negative label marks padding."""
        return class_sums(self.contribution(features), labels, classes)

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """`payload`, the statistic float64[..., dim + 1], with noise."""
        if payload.shape[-1] != sum(self.group_sizes) + 1:
            raise ParameterError(
                f"statistic must be float[..., {sum(self.group_sizes) + 1}], but is "
                f"{list(payload.shape)}"
            )
        stddevs = torch.repeat_interleave(
            torch.tensor((*self.noise_stddevs, self.count_stddev), dtype=torch.float64),
            torch.tensor((*self.group_sizes, 1)),
        )
        return noisy(payload, stddevs, key.child("sums and counts"))

    def means(self, released: Tensor) -> Tensor:
        """Prototypes, float[..., dim]: noisy sum over noisy count; post-processing."""
        return released[..., :-1] / released[..., -1:].clamp(min=self.fewest)

    def event(self) -> dpe.DpEvent:
        """Sum and count of one class; classes compose in parallel over labels."""
        sums = self.clip.event(self.noise_stddevs, divisor=1)
        return dpe.ComposedDpEvent([sums, dpe.GaussianDpEvent(self.count_stddev)])

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        return (
            Assumption(
                text="All classes are released, present or not, and no count is used unnoised.",
                how="absent classes release zero plus noise; means divide by the noisy count",
                holds=True,
            ),
            public("Groups, clip bounds and noise scales"),
            NAN_IS_ZERO,
            ONE_KEY,
            DOUBLE_PRECISION,
        )

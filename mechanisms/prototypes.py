"""Noisy class prototypes: isotropic (IGPP) and groupwise (VPP, in its sound form).

A client clips each feature vector, sums per class, divides by a *public* count and adds Gaussian
noise. Source of the two schemes: "Taming Noise-Induced Prototype Degradation ...",
arXiv:2604.27833; the sound form has public groups, group clipping, the closed-form allocation and
a public divisor, and is accounted exactly.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ..accountant import check
from ..accountant.account import account
from ..accountant.adjacency import Adjacency, contribution_factor
from ..accountant.allocation import equal_power_stddevs, optimal_stddevs
from ..accountant.assumption import Assumption
from ..accountant.calibrate import calibrate_gaussian
from ..accountant.errors import ParameterError
from .assumed import DOUBLE_PRECISION, ONE_KEY
from .base import Key, Point
from .clipping import Clip
from .groups import Groups
from .sums import class_sums, noisy


@dataclass(frozen=True, kw_only=True)
class NoisyPrototypes:
    """Clipped class sums over a public divisor, with Gaussian noise per group of dimensions.

    Attributes:
        clip: the set that one record is scaled into, in the units of a feature.
        group_sizes: dimensions of each group, consecutive.
        noise_stddevs: noise per group, in the units of a prototype; 0 for no noise.
        public_count: divisor of the class sums, public, not the true count.
        groups: which dimensions the groups are, if not the first ones, the next ones and so on.

    Raises:
        ParameterError: lengths differ, or a number is out of range.
    """

    point: ClassVar[Point] = "per_upload"
    clip: Clip
    group_sizes: tuple[int, ...]
    noise_stddevs: tuple[float, ...]
    public_count: int
    groups: Groups | None = None

    def __post_init__(self) -> None:
        check.count(public_count=self.public_count)
        check.same_length(group_sizes=self.group_sizes, noise_stddevs=self.noise_stddevs)
        for size, stddev in zip(self.group_sizes, self.noise_stddevs, strict=True):
            check.count(group_sizes=size)
            check.non_negative(noise_stddevs=stddev)
            if stddev == math.inf:
                raise ParameterError("noise_stddevs must be finite, but one is infinite")
        self.clip.require_groups(self.group_sizes)
        if self.groups is not None and self.groups.sizes != self.group_sizes:
            raise ParameterError(
                f"group_sizes is {self.group_sizes}, but groups has sizes {self.groups.sizes}; "
                "give both the same"
            )

    @property
    def dimension(self) -> int:
        """Size of a feature vector."""
        return sum(self.group_sizes)

    def with_noise(self, noise_stddevs: tuple[float, ...]) -> "NoisyPrototypes":
        """The same with this noise, in the units of a prototype, whatever it then costs."""
        return replace(self, noise_stddevs=noise_stddevs)

    def contribution(self, rows: Tensor) -> Tensor:
        """float[..., dim]: each record clipped; a row that is not finite counts as zero."""
        self._check_dimension(rows)
        if self.groups is None:
            return self.clip.apply(rows, self.group_sizes)
        arranged = self.clip.apply(self.groups.arrange(rows), self.group_sizes)
        return self.groups.restore(arranged)

    def statistic(self, features: Tensor, labels: Tensor, classes: int) -> Tensor:
        """Class sums over the public count, float64[..., classes, dim].

        Args:
            features: float[..., n, dim]; n may be 0.
            labels: int[..., n]; a negative label marks padding.
            classes: number of classes; absent classes give zero, so that presence stays hidden.
        """
        return class_sums(self.contribution(features), labels, classes) / self.public_count

    def perturb(self, prototypes: Tensor, key: Key) -> Tensor:
        """`prototypes`, float64[..., dim] as `statistic` gives them, with noise in every row."""
        self._check_dimension(prototypes)  # one column would broadcast: equal noise everywhere
        return noisy(prototypes, self._stddev_per_dimension(), key.child("prototypes"))

    def event(self) -> dpe.DpEvent:
        """Cost of one prototype of one class, one release, and of choosing its groups.

        Groups are chosen anew for every release; where they are kept, this counts them too often.
        """
        if not any(self.noise_stddevs):
            return dpe.NonPrivateDpEvent()
        noise = self.clip.event(self.noise_stddevs, divisor=self.public_count)
        if self.groups is None or self.groups.cost is None:
            return noise
        return dpe.ComposedDpEvent([self.groups.cost, noise])

    def assumptions(self) -> tuple[Assumption, ...]:
        """A1-A4 of exact Gaussian accounting, as far as the mechanism itself can tell."""
        what = "Groups, clip bounds" if self.groups is None else "Clip bounds"
        return (
            *(() if self.groups is None else (self.groups.assumption(),)),
            Assumption(
                text=f"{what} and noise scales do not depend on private records.",
                how="declared: they are numbers of the audit file or come from public images",
                holds=None,
            ),
            Assumption(
                text="The divisor of the class sums is public.",
                how=f"every sum is divided by {self.public_count}, whatever the true count is",
                holds=True,
            ),
            Assumption(
                text="All classes are released, present or not.",
                how="absent classes release zero plus noise",
                holds=True,
            ),
            ONE_KEY,
            DOUBLE_PRECISION,
        )

    def _check_dimension(self, rows: Tensor) -> None:
        if rows.shape[-1] != self.dimension:
            raise ParameterError(
                f"features must be float[..., {self.dimension}], but are {list(rows.shape)}"
            )

    def _stddev_per_dimension(self) -> Tensor:
        stddevs = torch.repeat_interleave(
            torch.tensor(self.noise_stddevs, dtype=torch.float64), torch.tensor(self.group_sizes)
        )
        return stddevs if self.groups is None else self.groups.restore(stddevs)


@dataclass(frozen=True, kw_only=True)
class PrototypeDesign:
    """The public parameters from which every mechanism of a comparison is built.

    Attributes:
        mu: budget of all rounds together, > 0.
        rounds: number of releases.
        adjacency: what a neighbour is.
        clip_norm: bound on one record, in the units of a feature.
        group_sizes: dimensions of each group, consecutive.
        group_norms: bound on one record per group, for the mechanisms that clip groups.
        public_count: divisor of the class sums.
        noise_ratio: noise of the second group over the first, for `groupwise_global_clip`.
    """

    mu: float
    rounds: int
    adjacency: Adjacency
    clip_norm: float
    group_sizes: tuple[int, ...]
    group_norms: tuple[float, ...]
    public_count: int
    noise_ratio: float = 4.0

    def __post_init__(self) -> None:
        check.positive(mu=self.mu, clip_norm=self.clip_norm)
        check.count(rounds=self.rounds, public_count=self.public_count)
        check.same_length(group_sizes=self.group_sizes, group_norms=self.group_norms)
        for size in self.group_sizes:
            check.count(group_sizes=size)
        if not self.noise_ratio >= 1.0:
            raise ParameterError(f"noise_ratio must be >= 1, but is {self.noise_ratio!r}")


def non_private(design: PrototypeDesign) -> NoisyPrototypes:
    """The same statistic without noise: the positive control of every attack."""
    return NoisyPrototypes(
        clip=Clip(joint_norm=design.clip_norm),
        group_sizes=(sum(design.group_sizes),),
        noise_stddevs=(0.0,),
        public_count=design.public_count,
    )


def isotropic(design: PrototypeDesign) -> NoisyPrototypes:
    """IGPP: one global clip, the same noise everywhere."""
    multiplier = calibrate_gaussian(mu=design.mu, rounds=design.rounds, adjacency=design.adjacency)
    mechanism = NoisyPrototypes(
        clip=Clip(joint_norm=design.clip_norm),
        group_sizes=(sum(design.group_sizes),),
        noise_stddevs=(multiplier * design.clip_norm / design.public_count,),
        public_count=design.public_count,
    )
    return within_budget(mechanism, design)


def groupwise(design: PrototypeDesign) -> NoisyPrototypes:
    """VPP, sound: a clip per group and the noise that is optimal for these clips at this mu.

    Minimises sum_g d_g s_g^2 subject to sum_g (c_g / s_g)^2 = mu^2 / rounds.
    """
    factor = contribution_factor(design.adjacency) / design.public_count
    mechanism = NoisyPrototypes(
        clip=Clip(group_norms=design.group_norms),
        group_sizes=design.group_sizes,
        noise_stddevs=optimal_stddevs(
            [factor * c for c in design.group_norms],
            design.group_sizes,
            mu=design.mu / design.rounds**0.5,
        ),
        public_count=design.public_count,
    )
    return within_budget(mechanism, design)


def groupwise_global_clip(design: PrototypeDesign) -> NoisyPrototypes:
    """Groupwise noise of the same average power as IGPP's, but only a global clip.

    The claim that this is "no weaker than isotropic" is wrong: one record can put its whole norm
    into the quiet group, so the quietest noise decides. Its event says so.

    Raises:
        ParameterError: not exactly two groups.
    """
    if len(design.group_sizes) != 2:
        raise ParameterError(f"two groups are needed, but group_sizes is {design.group_sizes}")
    fraction = design.group_sizes[0] / sum(design.group_sizes)
    (even,) = isotropic(design).noise_stddevs
    return NoisyPrototypes(
        clip=Clip(joint_norm=design.clip_norm),
        group_sizes=design.group_sizes,
        noise_stddevs=equal_power_stddevs(even, fraction, design.noise_ratio),
        public_count=design.public_count,
    )


def within_budget(mechanism: NoisyPrototypes, design: PrototypeDesign) -> NoisyPrototypes:
    """`mechanism`, its noise raised in the last bits until all rounds together cost at most mu.

    The roundings on the way here can exceed mu by one part in 1e16, and then the claim would count
    as not proven.
    """

    def cost() -> float:
        event = dpe.SelfComposedDpEvent(mechanism.event(), design.rounds)
        return account(event, adjacency=design.adjacency).mu.upper

    while cost() > design.mu:
        raised = tuple(math.nextafter(stddev, math.inf) for stddev in mechanism.noise_stddevs)
        mechanism = replace(mechanism, noise_stddevs=raised)
    return mechanism

"""Where groups of dimensions may come from: public numbers, noisy releases, a paid estimate.

A grouping carries its origin and its cost, so that one computed from private records cannot be
used without a ledger entry.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ..accountant import check
from ..accountant.adjacency import ADJACENCIES, Adjacency
from ..accountant.assumption import Assumption
from ..accountant.errors import ParameterError
from ..accountant.events import RestrictedDpEvent
from .assumed import DOUBLE_PRECISION, NAN_IS_ZERO, ONE_KEY, fixed_divisor, public
from .base import Key, Point
from .clipping import Clip
from .selection import GumbelTopK, LaplaceTopK
from .sums import noisy, restored, total

Origin = Literal["public", "noisy release", "paid estimate", "private records"]


@dataclass(frozen=True, kw_only=True)
class Groups:
    """An order of the dimensions, cut into consecutive groups, with its origin.

    Attributes:
        order: a permutation of the dimensions; the first group comes first.
        sizes: dimensions of each group.
        origin: "public" and "noisy release" (already accounted) are free; "paid estimate" needs
            `cost`; "private records" is refused.
        cost: what computing them has cost on top of other releases.
        made_here: whether `chosen` made the choice and its cost; nobody else can say so.

    Raises:
        ParameterError: not a permutation, sizes that do not fit, or groups that nobody paid for.
    """

    order: tuple[int, ...]
    sizes: tuple[int, ...]
    origin: Origin
    cost: dpe.DpEvent | None = None
    made_here: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        check.one_of(get_args(Origin), origin=self.origin)
        for size in self.sizes:
            check.count(sizes=size)
        if sorted(self.order) != list(range(sum(self.sizes))):
            raise ParameterError(
                f"order must be a permutation of 0..{sum(self.sizes) - 1}, one for each dimension"
            )
        paid = self.cost is not None
        if self.origin == "private records" or paid != (self.origin == "paid estimate"):
            raise ParameterError(
                f"groups from {self.origin!r} with {'a' if paid else 'no'} cost.\n"
                "  Groups that depend on private records need a differentially private estimate "
                'and its event: origin="paid estimate", cost=event.'
            )

    def arrange(self, rows: Tensor) -> Tensor:
        """Columns of float[..., dim] in the order of the groups."""
        return rows[..., list(self.order)]

    def restore(self, rows: Tensor) -> Tensor:
        """Undo `arrange`."""
        inverse = torch.tensor(self.order).argsort()
        return rows[..., inverse]

    def assumption(self) -> Assumption:
        """What must be true of where they come from; only a choice made here is seen to be paid."""
        how = {
            "public": 'declared: origin="public" is the word of the caller; nothing checks that '
            "no private record was looked at",
            "noisy release": "declared: the releases that they are computed from must be in the "
            "ledger",
            "paid estimate": "their cost is composed with every release that uses them; "
            + ("the choice was made here" if self.made_here else "that it covers them is declared"),
        }[self.origin]
        return Assumption(
            text="Groups are public, come from accounted releases, or are paid for.",
            how=how,
            holds=True if self.made_here else None,
        )


def between_class_variance(prototypes: Tensor, *, noise_stddev: float, releases: int) -> Tensor:
    """Variance of true class means per dimension, float[dim], estimated from noisy ones.

    Post-processing of what was released and paid for: the variance over classes of the average
    over releases, less the known share of noise, sigma^2 (1 - 1/C) / releases.

    Args:
        prototypes: float[releases, classes, dim], the same means under fresh noise.
        noise_stddev: of one prototype.
        releases: first axis, checked.
    """
    check.non_negative(noise_stddev=noise_stddev)
    if prototypes.shape[0] != releases:
        raise ParameterError(f"{releases} releases expected, but got {prototypes.shape[0]}")
    classes = prototypes.shape[1]
    observed = prototypes.mean(dim=0).var(dim=0, correction=0)
    return observed - noise_stddev**2 * (1.0 - 1.0 / classes) / releases


def by_score(scores: Tensor, k: int, *, origin: Origin, cost: dpe.DpEvent | None = None) -> Groups:
    """Two groups: the k dimensions with the largest of the scores float[dim], and the rest.

    Where the scores come from is taken on trust: `Groups.assumption` stays open for
    origin="public". For private scores use `chosen`, which pays.
    """
    if not 0 < k < scores.numel():
        raise ParameterError(f"k must be in 1..{scores.numel() - 1}, but is {k}")
    order = tuple(scores.argsort(descending=True, stable=True).tolist())
    return Groups(order=order, sizes=(k, len(order) - k), origin=origin, cost=cost)


def chosen(choice: LaplaceTopK | GumbelTopK, scores: Tensor, key: Key) -> Groups:
    """VPP's two groups, by a paid choice on private scores float[dim]; the choice is the cost.

    The first group holds the chosen dimensions, each group in their own order.
    """
    selected = choice.release(scores, key)
    order = tuple((~selected).int().argsort(stable=True).tolist())
    sizes = (choice.k, choice.dimension - choice.k)
    groups = Groups(order=order, sizes=sizes, origin="paid estimate", cost=choice.event())
    object.__setattr__(groups, "made_here", True)  # a field that no caller can give
    return groups


@dataclass(frozen=True, kw_only=True)
class SecondMoments:
    """Noisy mean of the squared clipped features, per dimension: sum over a public count.

    A row of norm C has squares of L2 norm at most C^2, all of one sign: adding one moves the sum by
    C^2, exchanging two by sqrt(2) C^2. Source: Cauchy-Schwarz; use as in arXiv:1908.07643.

    Attributes:
        clip_norm: bound on one feature vector, > 0.
        noise_multiplier: noise std of the sum / clip_norm^2, > 0.
        public_count: divisor.
    """

    point: ClassVar[Point] = "per_upload"
    clip_norm: float
    noise_multiplier: float
    public_count: int

    def __post_init__(self) -> None:
        check.positive(clip_norm=self.clip_norm, noise_multiplier=self.noise_multiplier)
        check.count(public_count=self.public_count)

    def contribution(self, rows: Tensor) -> Tensor:
        """float64[..., dim]: squares of each clipped row."""
        # In doubles: rounded squares may be longer than the square of the norm.
        return Clip(joint_norm=self.clip_norm).apply(rows).double().square()

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """Noisy second moments, float[..., dim], of float[..., n, dim]."""
        scale = self.noise_multiplier * self.clip_norm**2
        sums = noisy(total(self.contribution(payload)), scale, key.child("second moments"))
        return restored(sums / self.public_count, payload)

    def event(self, adjacency: Adjacency = "add-remove") -> dpe.DpEvent:
        """One release under `adjacency`.

        Accounting doubles a contribution under replace-one, but two vectors of one sign are
        at most sqrt(2) apart: the multiplier is raised by sqrt(2) in exchange, and accounting
        under another relation is refused. The event of the other two relations holds under all.
        """
        check.one_of(ADJACENCIES, adjacency=adjacency)
        if adjacency != "replace-one":
            return dpe.GaussianDpEvent(self.noise_multiplier)
        gain = math.sqrt(2.0) * (1.0 - 2.0**-50)
        noise = dpe.GaussianDpEvent(self.noise_multiplier * gain)
        return RestrictedDpEvent(noise, ("replace-one",))

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        return (
            public("The clip bound and the noise scale"),
            fixed_divisor(self.public_count),
            NAN_IS_ZERO,
            ONE_KEY,
            DOUBLE_PRECISION,
        )

"""Choosing k of D dimensions: scores, one-shot Laplace top-k, Gumbel top-k, VPP's budget."""

import math
from dataclasses import dataclass
from typing import ClassVar

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ..accountant import check
from ..accountant.assumption import Assumption
from ..accountant.errors import ParameterError
from ..accountant.events import PureDpEvent
from .assumed import DOUBLE_PRECISION, public
from .base import Key, Point
from .laplace import laplace_like
from .sums import members


def f_scores(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """VPP's score of each dimension, float[..., dim]: between over within-class variance.

    S_j = (SSB_j / (C - 1)) / (SSW_j / (N - C) + zeta), zeta = 1e-3 (median_j SSB_j + 1e-12), on
    features that are *not* clipped. Source: arXiv:2604.27833 and its code.

    Args:
        features: float[..., n, dim].
        labels: int[..., n]; a negative label marks padding.
        classes: C >= 2.
    """
    weights = members(labels, classes).to(features.dtype)  # [..., C, n]
    counts = weights.sum(dim=-1, keepdim=True)  # [..., C, 1]
    total = counts.sum(dim=-2)  # [..., 1]
    known = torch.where((labels >= 0).unsqueeze(-1), features, 0.0)
    sums = weights @ known
    means = sums / counts.clamp(min=1.0)
    mean = sums.sum(dim=-2) / total.clamp(min=1.0)
    between = (counts * (means - mean.unsqueeze(-2)).square()).sum(dim=-2)
    within = (known.square()).sum(dim=-2) - (counts * means.square()).sum(dim=-2)
    zeta = 1e-3 * (between.median(dim=-1, keepdim=True).values + 1e-12)
    freedom = (total - classes).clamp(min=1.0)
    return (between / (classes - 1)) / (within.clamp(min=0.0) / freedom + zeta)


def _top(scores: Tensor, k: int) -> Tensor:
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    return chosen.scatter_(-1, scores.topk(k, dim=-1).indices, True)


def _capped(scores: Tensor, cap: float) -> Tensor:
    # A score that is not a number says nothing. In doubles: noise of a narrower type makes ties.
    scores = scores.double()
    return torch.where(torch.isnan(scores), 0.0, scores).clamp(0.0, cap)


@dataclass(frozen=True, kw_only=True)
class LaplaceTopK:
    """The k largest of D noisy scores, all noise drawn at once; only the set is released.

    Each score is clamped to [0, cap], so that a record moves it by at most `cap`. Shifting the
    noise of the k chosen ones by 2 cap keeps the set, at a cost of 2 cap / scale each: with
    scale 2 k cap / epsilon the choice is epsilon-DP. With delta > 0 the scale of Qiao, Su & Zhang,
    arXiv:2105.08233, is used: 8 cap sqrt(k ln(D / delta)) / epsilon; no event holds an
    (epsilon, delta) pair, so nothing is proven about it here.

    Attributes:
        k: how many are chosen; dimension: of how many.
        cap: largest score, and how far one record can move it, > 0.
        epsilon: > 0; delta: in [0, 1).
    """

    point: ClassVar[Point] = "per_upload"
    k: int
    dimension: int
    cap: float
    epsilon: float
    delta: float = 0.0

    def __post_init__(self) -> None:
        _check_choice(self.k, self.dimension)
        check.positive(cap=self.cap, epsilon=self.epsilon)
        check.probability(delta=self.delta)

    @property
    def scale(self) -> float:
        """Scale of the Laplace noise."""
        if self.delta == 0.0:
            return 2.0 * self.k * self.cap / self.epsilon
        root = math.sqrt(self.k * math.log(self.dimension / self.delta))
        return 8.0 * self.cap * root / self.epsilon

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """bool[..., D] with k true, from scores float[..., D]."""
        scores = _capped(payload, self.cap)
        return _top(scores + self.scale * laplace_like(scores, key), self.k)

    def event(self) -> dpe.DpEvent:
        """One choice, under any adjacency: the clamp bounds every pair of data sets."""
        if self.delta > 0.0:
            return dpe.UnsupportedDpEvent()
        return PureDpEvent(self.epsilon * (1.0 + 2.0**-50))  # more than the scale is rounded

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        return (public("The number of chosen dimensions, the cap and the scale"), DOUBLE_PRECISION)


@dataclass(frozen=True, kw_only=True)
class GumbelTopK:
    """k rounds of the exponential mechanism without replacement, by one draw of Gumbel noise.

    Source: Durfee & Rogers, arXiv:1905.04273, Lemma 4.2; each round is epsilon_0-bounded-range,
    hence epsilon_0^2/8-zCDP (Cesar & Rogers, arXiv:2004.07223).

    Attributes:
        k: how many are chosen; dimension: of how many.
        cap: largest score, and how far one record can move it, > 0.
        epsilon_each: epsilon_0 of one round, > 0.
    """

    point: ClassVar[Point] = "per_upload"
    k: int
    dimension: int
    cap: float
    epsilon_each: float

    def __post_init__(self) -> None:
        _check_choice(self.k, self.dimension)
        check.positive(cap=self.cap, epsilon_each=self.epsilon_each)

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """bool[..., D] with k true, from scores float[..., D]."""
        scores = _capped(payload, self.cap)
        noise = torch.from_numpy(key.generator().gumbel(size=tuple(scores.shape))).to(scores)
        return _top(scores + 2.0 * self.cap / self.epsilon_each * noise, self.k)

    def event(self) -> dpe.DpEvent:
        """One choice of k, under any adjacency."""
        return dpe.ZCDpEvent(self.k * self.epsilon_each**2 / 8.0 * (1.0 + 2.0**-50))

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        return (public("The number of chosen dimensions, the cap and the scale"), DOUBLE_PRECISION)


@dataclass(frozen=True, kw_only=True)
class VppBudget:
    """How VPP splits epsilon: a pure part for the choices, the rest for the prototypes.

    Attributes:
        epsilon: total of all rounds, > 0; delta: of the prototypes.
        rounds: number of releases.
        share: part of epsilon for the choices, in (0, 1).
        per_round: whether the choices' part is divided by the rounds (the older code does not).
    """

    epsilon: float
    delta: float
    rounds: int
    share: float = 0.1
    per_round: bool = True

    def __post_init__(self) -> None:
        check.positive(epsilon=self.epsilon)
        check.open_probability(delta=self.delta, share=self.share)
        check.count(rounds=self.rounds)

    @property
    def selection(self) -> float:
        """Epsilon of one choice."""
        return self.share * self.epsilon / (self.rounds if self.per_round else 1)

    @property
    def prototypes(self) -> float:
        """Epsilon of all prototypes together."""
        return (1.0 - self.share) * self.epsilon

    @property
    def spent(self) -> float:
        """Epsilon that all choices really cost, by basic composition, plus the prototypes'.

        >>> round(VppBudget(epsilon=1.0, delta=1e-5, rounds=20).spent, 12)
        1.0
        >>> round(VppBudget(epsilon=1.0, delta=1e-5, rounds=20, per_round=False).spent, 12)
        2.9
        """
        return self.rounds * self.selection + self.prototypes


def _check_choice(k: int, dimension: int) -> None:
    check.count(k=k, dimension=dimension)
    if k >= dimension:
        raise ParameterError(f"k must be below dimension, but {k} >= {dimension}")

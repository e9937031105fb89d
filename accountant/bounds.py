"""`Interval`: a two-sided enclosure. `ProvenBound`: what accounting proves about a release."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import check, gaussian
from .adjacency import Adjacency, Unit
from .errors import ParameterError


@dataclass(frozen=True)
class Interval:
    """lower <= true value <= upper. Either end may be infinite, neither NaN.

    >>> Interval(1.0, 2.0).width
    1.0
    """

    lower: float
    upper: float

    def __post_init__(self) -> None:
        if math.isnan(self.lower) or math.isnan(self.upper) or self.lower > self.upper:
            raise ParameterError(
                f"an interval needs lower <= upper and no NaN, but is [{self.lower}, {self.upper}]"
            )

    @property
    def width(self) -> float:
        """The difference upper - lower; 0 where both ends are the same infinity."""
        return 0.0 if self.lower == self.upper else self.upper - self.lower

    def __contains__(self, value: float) -> bool:
        return self.lower <= value <= self.upper


@dataclass(frozen=True, kw_only=True)
class ProvenBound:
    """What is provably leaked: the mechanism is mu-GDP, for a mu inside `mu`, and no smaller one.

    Everything is derived from mu in closed form, so any epsilon, delta or point of the trade-off
    curve can be asked. `mu.upper` is infinite where nothing is proven.

    Attributes:
        mu: Gaussian-DP parameter, no unit. Source: Dong, Roth & Su, arXiv:1905.02383.
        adjacency: what a neighbour is.
        unit: whose data is protected.
        group_size: how many records (of one unit each) the bound covers together.
        method: the engine that gave the number.
    """

    mu: Interval
    adjacency: Adjacency
    unit: Unit = "example"
    group_size: int = 1
    method: str = "gaussian"

    def epsilon(self, delta: float) -> Interval:
        """Smallest epsilon at `delta`, in nats; infinite at delta = 0 unless mu = 0."""
        return Interval(
            gaussian.epsilon_interval(delta, mu=self.mu.lower)[0],
            gaussian.epsilon_interval(delta, mu=self.mu.upper)[1],
        )

    def delta(self, epsilon: float) -> Interval:
        """Smallest delta at `epsilon` >= 0."""
        return Interval(
            gaussian.delta_interval(epsilon, mu=self.mu.lower)[0],
            gaussian.delta_interval(epsilon, mu=self.mu.upper)[1],
        )

    def tpr(self, fpr: float) -> Interval:
        """Best true-positive rate of any attack at false-positive rate `fpr`."""
        return Interval(
            gaussian.tpr_interval(fpr, mu=self.mu.lower)[0],
            gaussian.tpr_interval(fpr, mu=self.mu.upper)[1],
        )

    def advantage(self) -> Interval:
        """Best TPR - FPR of any attack."""
        return Interval(
            gaussian.advantage_interval(mu=self.mu.lower)[0],
            gaussian.advantage_interval(mu=self.mu.upper)[1],
        )

    def tradeoff(self, alphas: Any) -> NDArray[np.float64]:
        """Smallest false-negative rate of any attack at each false-positive rate in `alphas`.

        Rounded down: the truth is nowhere below the curve.
        """
        rates = np.atleast_1d(np.asarray(alphas, dtype=np.float64))
        for rate in rates:
            check.probability(alphas=float(rate))
        return np.array([max(0.0, 1.0 - self.tpr(float(rate)).upper) for rate in rates])

    def __repr__(self) -> str:
        return (
            f"ProvenBound(mu in [{self.mu.lower:.10g}, {self.mu.upper:.10g}], unit={self.unit}, "
            f"adjacency={self.adjacency}, group_size={self.group_size}, method={self.method})"
        )

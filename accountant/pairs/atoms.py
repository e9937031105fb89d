"""Dominating pairs with finitely many atoms, and the discrete Gaussian."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .. import check
from ..errors import ParameterError
from ..mills import UNIT
from .atom_table import AtomPair, Atoms, AtomTable, build
from .base import Progression, above, below

__all__ = ["Atoms", "DiscreteGaussian", "PureDp", "RandomizedResponse"]


@dataclass(frozen=True)
class RandomizedResponse(AtomPair):
    """k-ary randomised response, replace-one.

    With probability 1 - noise_parameter the true bucket, else a uniform one of `num_buckets`. The
    true bucket of P is the likeliest there, that of Q there; all others tell nothing.

    Attributes:
        noise_parameter: in [0, 1]; 0 reveals the bucket.
        num_buckets: >= 2.
    """

    noise_parameter: float
    num_buckets: int

    def __post_init__(self) -> None:
        check.probability(noise_parameter=self.noise_parameter)
        check.count(num_buckets=self.num_buckets)
        if self.num_buckets < 2:
            raise ParameterError("num_buckets must be at least 2: one bucket holds no information")
        if 0.0 < self.noise_parameter < 1e-290 * self.num_buckets:
            raise ParameterError(
                f"noise_parameter must be 0 or at least {1e-290 * self.num_buckets:g}, but is "
                f"{self.noise_parameter}; say 0, the true bucket is then revealed"
            )

    @property
    def epsilon(self) -> float:
        """The largest loss: ln(1 + k (1 - noise_parameter)/noise_parameter)."""
        noise = self.noise_parameter
        if noise == 0.0:
            return math.inf
        return math.log1p(self.num_buckets * ((1.0 - noise) / noise))

    @property
    def table(self) -> AtomTable:  # noqa: D102
        noise, k = self.noise_parameter, self.num_buckets
        if noise == 0.0:
            none = np.zeros(0)
            return build(none, none, none, infinite=1.0, missing=1.0)
        other = noise / k
        same = (1.0 - noise) + other
        eps = self.epsilon
        loss, p, q = [-eps, eps], [other, same], [same, other]
        if k > 2:
            loss, p, q = [*loss, 0.0], [*p, (k - 2) * other], [*q, (k - 2) * other]
        return build(
            np.array(loss), np.array(p), np.array(q), loss_error=UNIT * (12.0 * eps + 1e-300)
        )

    @property
    def progression(self) -> Progression | None:  # noqa: D102
        if not 0.0 < self.noise_parameter < 1.0:
            return None if self.noise_parameter == 0.0 else Progression(0.0, 1.0)
        return Progression(-self.epsilon, (1.0 if self.num_buckets > 2 else 2.0) * self.epsilon)


@dataclass(frozen=True)
class PureDp(AtomPair):
    """The worst pair of any epsilon-DP mechanism: binary randomised response.

    Source: Kairouz, Oh & Viswanath, arXiv:1311.0776.

    >>> [round(float(m), 6) for m in PureDp(1.0).table.p]
    [0.268941, 0.731059]
    """

    epsilon: float

    def __post_init__(self) -> None:
        check.positive(epsilon=self.epsilon)
        if self.epsilon > 690.0:
            raise ParameterError(
                f"epsilon must be at most 690, but is {self.epsilon}; account the release as "
                "revealing everything"
            )

    @property
    def highest(self) -> float:
        """The loss itself, not its rounded logarithm."""
        return self.epsilon

    @property
    def lowest(self) -> float:
        """Minus the highest."""
        return -self.epsilon

    @property
    def ends_error(self) -> float:
        """None: the ends are not rounded."""
        return 0.0

    @property
    def table(self) -> AtomTable:  # noqa: D102
        tail = math.exp(-self.epsilon)
        low, high = tail / (1.0 + tail), 1.0 / (1.0 + tail)
        return build(
            np.array([-self.epsilon, self.epsilon]), np.array([low, high]), np.array([high, low])
        )

    @property
    def progression(self) -> Progression | None:  # noqa: D102
        return Progression(-self.epsilon, 2.0 * self.epsilon)


@dataclass(frozen=True)
class DiscreteGaussian(AtomPair):
    """X + shift against X, X discrete Gaussian: mass at integer x proportional to e^(-x^2/(2 s^2)).

    Source: Canonne, Kamath & Steinke, arXiv:2004.00010.

    Attributes:
        sigma: s > 0, at most 20000.
        shift: integer >= 1.
    """

    sigma: float
    shift: int

    def __post_init__(self) -> None:
        check.positive(sigma=self.sigma)
        check.count(shift=self.shift)
        if self.sigma > 2e4 or self.shift > 1_000_000:
            raise ParameterError(
                f"sigma must be <= 20000 and shift <= 1000000, but are {self.sigma} and "
                f"{self.shift}; use zero-concentrated DP for such a wide one"
            )

    @property
    def table(self) -> AtomTable:  # noqa: D102
        return _discrete_gaussian(float(self.sigma), self.shift)

    @property
    def progression(self) -> Progression | None:
        """Loss (2 x shift - shift^2)/(2 s^2) at x."""
        s, variance = self.shift, self.sigma * self.sigma
        return Progression(-0.5 * s * s / variance, s / variance)

    def moment(self, power: float) -> tuple[float, float]:
        """With w = 1 + power: e^(w (w-1) s^2/(2 sigma^2)) sum_x e^(-(x - w s)^2/(2 sigma^2))/Z."""
        w, s = 1.0 + power, self.shift
        variance = self.sigma * self.sigma
        centre = w * s
        if abs(centre) > 2.0**40:
            theta, slack = 0.0, math.inf  # the sum is not computed: 0 < theta/Z <= 1
        else:
            offset = centre - round(centre)
            reach = math.ceil(12.0 * self.sigma) + 2
            x = np.arange(-reach, reach + 1, dtype=np.float64)
            # the term nearest to the centre taken out: it may underflow
            peak = -0.5 * offset * offset / variance
            total = float(np.exp(-0.5 * x * (x - 2.0 * offset) / variance).sum())
            theta = peak + math.log(total) - math.log(_normaliser(self.sigma))
            # rounding of w s, times the slope of the logarithm; what is cut off; the sums
            slack = 4.0 * UNIT * abs(centre) * (abs(offset) + 1.0) / variance
            slack += 1e-15 + UNIT * (100.0 + abs(theta) * 8.0)
            slack += 8.0 * UNIT * offset * offset / variance
        main = 0.5 * w * power * s * s / variance
        rounding = UNIT * 8.0 * (abs(main) + abs(theta))
        high = main + min(0.0, theta + slack) + rounding
        return below(main + theta - slack - rounding), above(high)


def _normaliser(sigma: float) -> float:
    # within 64 UNIT, relative: terms 2 x^2/(2 s^2) UNIT on average, sum of sorted positive terms
    reach = math.ceil(12.0 * sigma) + 2
    x = np.arange(1, reach + 1, dtype=np.float64)
    return 1.0 + 2.0 * math.fsum(np.exp(-0.5 * x * x / (sigma * sigma)))


@lru_cache(maxsize=8)
def _discrete_gaussian(sigma: float, s: int) -> AtomTable:
    variance = sigma * sigma
    # 38.7 standard deviations: a mass below 1e-320 is left out, each side, of P and of Q
    reach = math.ceil(38.7 * sigma) + 1
    x = np.arange(-reach, reach + s + 1, dtype=np.float64)
    total = _normaliser(sigma)
    q = np.exp(-0.5 * x * x / variance) / total
    p = np.exp(-0.5 * (x - s) ** 2 / variance) / total
    loss = (2.0 * x - s) * (0.5 * s) / variance
    size = float(np.abs(loss).max())
    return build(
        loss, p, q, lost=1e-312, loss_error=6.0 * UNIT * size, relative=UNIT * (100.0 + 4.0 * 760.0)
    )

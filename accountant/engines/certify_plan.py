"""Where to integrate for a certificate: a search in doubles that proves nothing.

It differs from `contour_plan` in that no window is cut off: cancellation costs a few more bits
here, not the result.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .contour_plan import Term
from .subsampled import Array

_MOST_POINTS = 40_000


class Tilted(NamedTuple):
    """ln E of one step at some lam; mean and variance of its loss under the tilted law."""

    log: float
    mean: float
    variance: float


class Place(NamedTuple):
    """A contour: its real part, its step, points to its right for the excess, ln cancellation."""

    lam: float
    step: float
    beyond: tuple[float, ...]
    waste: float
    log_delta: float


def tilted(term: Term, sign: int, lam: float) -> Tilted:
    """Moments of one step, accurate to about ten digits."""
    q, s = term.rate, term.noise
    power = 1.0 + lam if sign > 0 else -lam
    low = s * math.sqrt(80.0 + (0.0 if sign > 0 else -2.0 * lam * math.log1p(-q)))
    high = 9.0 * s + (power if sign > 0 else 0.0)
    count = min(_MOST_POINTS, math.ceil((low + high) / (s * min(0.1, 0.25 * s))))
    x = np.linspace(-low, high, count + 1)
    t = (x - 0.5) / s**2
    ratio = np.where(
        t < 30.0,
        np.log1p(q * np.expm1(np.minimum(t, 30.0))),
        t + np.log(q + (1.0 - q) * np.exp(-np.maximum(t, 30.0))),
    )
    exponent = power * ratio - 0.5 * (x / s) ** 2
    top = float(exponent.max())
    weight = np.exp(exponent - top)
    total = float(weight.sum())
    mean = float(weight @ ratio) / total
    variance = float(weight @ (ratio - mean) ** 2) / total
    log = top + math.log(total * (x[1] - x[0]) / (s * math.sqrt(2.0 * math.pi)))
    return Tilted(log, sign * mean, variance)


class Search:
    """K and K'' on a grid of lam, for one composition and direction."""

    def __init__(self, terms: Sequence[Term], squared_mu: float, sign: int) -> None:
        spread = math.sqrt(
            squared_mu + sum(t.number * tilted(t, sign, 0.0).variance for t in terms)
        )
        spread = max(spread, 1e-150)
        low = 1e-3 * min(1.0, 1.0 / spread)
        self.lam: Array = np.geomspace(low, 60.0 * (1.0 + 1.0 / spread), 80)
        k = 0.5 * squared_mu * self.lam * (self.lam + 1.0)
        curve = squared_mu + 0.0 * self.lam
        for term in terms:
            # to the right of this the far hump of every draw decides, and K explodes
            edge = 50.0 + 4.0 * term.noise**2 * -math.log(term.rate)
            for j, lam in enumerate(self.lam):
                if sign > 0 and lam > edge:
                    k[j] = math.inf
                    continue
                found = tilted(term, sign, float(lam))
                k[j] += term.number * found.log
                curve[j] += term.number * found.variance
        known = np.isfinite(k)
        self.lam, self._k, self._curve = self.lam[known], k[known], curve[known]
        wide = self._curve + self.lam**-2.0 + (1.0 + self.lam) ** -2.0
        self._saddle = self._k - np.log(self.lam) - np.log1p(self.lam)
        self._saddle = self._saddle - 0.5 * np.log(2.0 * math.pi * wide)

    def log_delta(self, epsilon: float) -> float:
        """A guess of ln delta."""
        return min(-1e-3, float(np.min(self._saddle - self.lam * epsilon)))

    def place(self, epsilon: float, log_delta: float, digits: float) -> Place:
        """The contour of which both excesses are below e^-digits of delta at the least cost."""
        lam, line = self.lam, self._k - self.lam * epsilon
        left = (digits - log_delta) / lam
        gap = lam[None, :] - lam[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            right = np.where(gap > 0.0, (line[None, :] - log_delta + digits) / gap, np.inf)
        right = np.maximum(right, 0.0)
        period = 1.05 * np.maximum(left, right.min(axis=1))
        waste = np.maximum(0.0, self._saddle - lam * epsilon - log_delta)
        cost = np.log(period) + 0.03 * waste
        index = int(np.argmin(np.where(np.isfinite(cost), cost, np.inf)))
        beyond = tuple(float(lam[j]) for j in np.argsort(right[index])[:2] if lam[j] > lam[index])
        excess = max(0.0, float(line[index]) - log_delta)
        return Place(
            _short(float(lam[index])),
            2.0 * math.pi / float(period[index]),
            beyond,
            excess,
            log_delta,
        )


def _short(value: float) -> float:
    # 20 binary digits, so that sums with other short numbers are exact
    mantissa, exponent = math.frexp(value)
    return math.ldexp(round(mantissa * 2.0**20), exponent - 20)

"""One draw of a subsampled Gaussian: masses beyond a point, quantiles, the draw of a loss."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import log_ndtr

from ..mills import UNIT
from .contour_plan import Term
from .subsampled import Array

Pair = tuple[float, float]


def draw_of(term: Term, level: float) -> float:
    """The draw x whose loss is about `level` > 0."""
    if level > 30.0:
        t = level - math.log(term.rate)
    else:
        t = math.log1p(math.expm1(level) / term.rate)
    return 0.5 + term.noise**2 * t


def log_mass(term: Term, x: float) -> Pair:
    """Limits of ln P(a draw is above x > 0); a rate of 0 is N(0, s^2)."""
    found, slack = log_masses(term, np.array([x]))
    return float(found[0] - slack[0]), float(found[0] + slack[0])


def log_masses(term: Term, x: Array) -> tuple[Array, Array]:
    """Logarithm of P(a draw is above x > 0), float[n], and the largest error of each."""
    rate, s, _ = term
    plain = log_ndtr(-x / s) + math.log1p(-rate)
    if rate > 0.0:
        plain = np.logaddexp(plain, log_ndtr(-(x - 1.0) / s) + math.log(rate))
    return plain, UNIT * (64.0 + 16.0 * ((x + 1.0) / s) ** 2 + 8.0 * np.abs(plain))


def quantile(term: Term, log_share: float, start: float) -> float:
    """About the x above `start` beyond which a draw has this mass."""
    low, step = start, term.noise
    while log_mass(term, low + step)[1] > log_share and step < 1e6 * term.noise:
        step *= 2.0
    high = low + step
    for _ in range(12):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if log_mass(term, middle)[1] > log_share else (low, middle)
    return high


def total_of(terms: Sequence[Term]) -> int:
    """Number of steps."""
    return sum(term.number for term in terms)


def log_or_less(value: float) -> float:
    """The logarithm; -inf for what has none."""
    return math.log(value) if value > 0.0 else -math.inf

"""Where to put the contour: a search that proves nothing and needs no error bounds.

Whatever comes out of here changes how wide the enclosure is, never whether it holds.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .subsampled import Array, Kernel

DIGITS = 34.0  # natural logarithm of the relative accuracy that is aimed at, with a margin


class Term(NamedTuple):
    """`count` steps with the same rate and noise; a rate of 1 is kept elsewhere."""

    rate: float
    noise: float
    count: int


class Plan(NamedTuple):
    """lam: real part of the contour. period: 2 pi / step. log_delta: the size expected."""

    lam: float
    period: float
    reach: float
    epsilon: float
    log_delta: float
    beyond: tuple[float, ...]


def reach_for(log_delta: float, total: int) -> float:
    """Standard deviations of the window such that leaving it costs e^-DIGITS of delta."""
    return math.sqrt(2.0 * (math.log(max(total, 1)) + DIGITS + max(0.0, -log_delta)))


class Scan:
    """K, K' and K'' on a grid of real lam."""

    def __init__(self, terms: Sequence[Term], squared_mu: float, sign: int, reach: float) -> None:
        self.terms, self.squared_mu, self.sign, self.reach = terms, squared_mu, sign, reach
        self._parts = []
        for rate, noise, count in terms:
            kernel = Kernel(rate, noise, sign=sign, reach=reach)
            width = min(1.5 * noise, 1.5 * noise**2 + 0.2 * noise)
            pieces = min(200, math.ceil((kernel.high - kernel.low) / width))
            rule = kernel.rule(np.linspace(kernel.low, kernel.high, pieces + 1))
            self._parts.append((count, rule.weight, rule.log_ratio))
        spread = math.sqrt(self._moments(np.zeros(1))[2][0])
        spread = max(spread, 1e-150)
        top = 60.0 + 2.0 * reach
        self.lam = np.geomspace(1e-4 * min(1.0, spread) / spread, top * (1.0 + 1.0 / spread), 110)
        self.k, self.k1, self.k2 = self._moments(self.lam)

    def _moments(self, lam: Array) -> tuple[Array, Array, Array]:
        mu2 = self.squared_mu
        k, k1, k2 = 0.5 * mu2 * lam * (lam + 1.0), mu2 * (lam + 0.5), mu2 + 0.0 * lam
        power = 1.0 + lam if self.sign > 0 else -lam
        for count, weight, ratio in self._parts:
            exponent = power[:, None] * ratio
            over = exponent.max(axis=1) > 690.0
            tilt = np.exp(np.minimum(exponent, 690.0))
            size = tilt @ weight
            with np.errstate(divide="ignore"):
                log = np.log1p(np.expm1(np.minimum(exponent, 690.0)) @ weight)
            first = tilt @ (weight * ratio) / size
            second = tilt @ (weight * ratio**2) / size
            k = k + count * np.where(over, np.inf, log)
            k1 = k1 + count * self.sign * first
            k2 = k2 + count * np.maximum(second - first**2, 0.0)
        return k, k1, k2

    def _saddle(self) -> Array:
        # ln delta + lam epsilon at the saddle, where the contour at lam is best
        lam = self.lam
        curve = self.k2 + lam**-2.0 + (lam + 1.0) ** -2.0
        return np.asarray(
            self.k - np.log(lam) - np.log1p(lam) - 0.5 * np.log(2.0 * math.pi * curve)
        )

    def epsilon(self, log_delta: float) -> float:
        """A guess of epsilon."""
        return float(np.min((self._saddle() - log_delta) / self.lam))

    def log_delta(self, epsilon: float) -> float:
        """A guess of ln delta."""
        return min(-1e-3, float(np.min(self._saddle() - self.lam * epsilon)))

    def plan(self, epsilon: float, log_delta: float, choice: int = 0) -> Plan:
        """The cheapest position that keeps cancellation small; `choice` > 0: the next ones."""
        lam, goal = self.lam, log_delta - DIGITS
        line = self.k - lam * epsilon
        left = (DIGITS - log_delta) / lam
        gap = lam[None, :] - lam[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            right = np.where(gap > 0.0, (line[None, :] - goal) / gap, np.inf)
        right = np.where(np.isfinite(right), np.maximum(right, 0.0), np.inf)
        best = right.min(axis=1)
        period = np.maximum(left, best)
        waste = self._saddle() - lam * epsilon - log_delta
        with np.errstate(invalid="ignore"):
            cost = np.log(period) + 0.3 * np.maximum(0.0, waste - 3.0)
        cost = np.where(np.isfinite(cost), cost, np.inf)
        order = np.argsort(cost)
        index = int(order[0]) if choice == 0 else int(order[min(3 * choice, len(order) - 1)])
        beyond = np.argsort(right[index])[:6:2]
        return Plan(
            float(lam[index]),
            float(1.2 * period[index]),
            self.reach,
            epsilon,
            log_delta,
            tuple(float(lam[j]) for j in beyond if math.isfinite(right[index, j])),
        )


def plan_for(
    terms: Sequence[Term],
    squared_mu: float,
    sign: int,
    *,
    epsilon: float | None,
    log_delta: float,
    choice: int = 0,
) -> Plan:
    """A plan for a target delta, or for a target epsilon where that is given."""
    total = sum(term.count for term in terms)
    if epsilon is None:
        scan = Scan(terms, squared_mu, sign, reach_for(log_delta, total))
        epsilon = max(0.0, scan.epsilon(log_delta))
        return scan.plan(epsilon, scan.log_delta(epsilon), choice)
    guess = log_delta
    for _ in range(4):
        scan = Scan(terms, squared_mu, sign, reach_for(guess, total))
        found = max(scan.log_delta(epsilon), -1e6)
        if abs(found - guess) < 3.0:
            break
        guess = found
    return scan.plan(epsilon, found, choice)

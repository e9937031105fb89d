"""Where to put the contour: a search that proves nothing and needs no error bounds.

Whatever comes out of here changes how wide the enclosure is, never whether it holds.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .. import gaussian
from ..mills import log_delta as log_delta_of
from .subsampled import Array, Kernel

# Natural logarithm of the relative accuracy of delta that may be aimed at. A heavy tail (one rare
# draw makes up most of delta) asks for less: a narrower window lets the contour go farther right,
# where less is cancelled.
_DIGITS = (34.0, 26.0, 19.0, 14.0, 10.0)
_ROUNDING = -27.0  # ln of the usual error of a table without cancellation


class Term(NamedTuple):
    """`number` steps with the same rate and noise; a rate of 1 is kept elsewhere."""

    rate: float
    noise: float
    number: int


class Plan(NamedTuple):
    """lam: real part of the contour. period: 2 pi / step. log_delta: the size expected."""

    lam: float
    period: float
    reach: float
    epsilon: float
    log_delta: float
    beyond: tuple[float, ...]
    digits: float


def reach_for(log_delta: float, total: int, digits: float) -> float:
    """Standard deviations of the window such that leaving it costs e^-digits of delta."""
    return math.sqrt(2.0 * (math.log(max(total, 1)) + digits + max(0.0, -log_delta)))


class Scan:
    """K, K' and K'' on a grid of real lam."""

    def __init__(
        self,
        terms: Sequence[Term],
        squared_mu: float,
        sign: int,
        reach: float,
        cuts: Sequence[float] = (),
    ) -> None:
        self.terms, self.squared_mu, self.sign, self.reach = terms, squared_mu, sign, reach
        self._parts = []
        cuts = cuts or (math.inf,) * len(terms)
        for (rate, noise, count), cut in zip(terms, cuts, strict=True):
            kernel = Kernel(rate, noise, sign=sign, reach=reach, cut=cut)
            width = min(1.5 * noise, 1.5 * noise**2 + 0.2 * noise)
            pieces = min(200, math.ceil((kernel.high - kernel.low) / width))
            rule = kernel.rule(np.linspace(kernel.low, kernel.high, pieces + 1))
            self._parts.append((count, rule.weight, rule.log_ratio, kernel.missing))
        spread = math.sqrt(self._moments(np.zeros(1))[2][0])
        spread = max(spread, 1e-150)
        top = 60.0 + 2.0 * reach
        self.lam = np.geomspace(1e-4 * min(1.0, spread) / spread, top * (1.0 + 1.0 / spread), 110)
        self.k, self.k1, self.k2 = self._moments(self.lam)

    def _moments(self, lam: Array) -> tuple[Array, Array, Array]:
        mu2 = self.squared_mu
        k, k1, k2 = 0.5 * mu2 * lam * (lam + 1.0), mu2 * (lam + 0.5), mu2 + 0.0 * lam
        power = 1.0 + lam if self.sign > 0 else -lam
        for count, weight, ratio, missing in self._parts:
            exponent = power[:, None] * ratio
            over = exponent.max(axis=1) > 690.0
            tilt = np.exp(np.minimum(exponent, 690.0))
            size = tilt @ weight
            with np.errstate(divide="ignore"):
                log = np.log1p(np.expm1(np.minimum(exponent, 690.0)) @ weight - missing)
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

    def plan(self, epsilon: float, log_delta: float, digits: float) -> tuple[float, Plan]:
        """The cheapest position that keeps cancellation small; with ln of its cancellation."""
        lam, goal = self.lam, log_delta - digits
        line = self.k - lam * epsilon
        left = (digits - log_delta) / lam
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
        index = int(np.argmin(cost))
        beyond = np.argsort(right[index])[:6:2]
        found = Plan(
            float(lam[index]),
            float(1.2 * period[index]),
            self.reach,
            epsilon,
            log_delta,
            tuple(float(lam[j]) for j in beyond if math.isfinite(right[index, j])),
            digits,
        )
        return float(waste[index]), found


def plan_for(
    terms: Sequence[Term],
    squared_mu: float,
    sign: int,
    *,
    epsilon: float | None,
    log_delta: float | None,
    choice: int = 0,
    cuts: Sequence[float] = (),
) -> Plan:
    """A plan for a target epsilon, a target delta, or, where both are known, better for both.

    `choice` 1, 2, ... are the next best ones. `cuts`: the largest draw of each
    term, if bounded.
    """
    total = sum(term.number for term in terms)
    found = []
    for digits in _DIGITS:
        at, size = epsilon, log_delta
        if at is not None and size is None:
            size = -30.0
            for _ in range(4):
                scan = Scan(terms, squared_mu, sign, reach_for(size, total, digits), cuts)
                guess, size = size, max(scan.log_delta(at), -1e6)
                if abs(guess - size) < 3.0:
                    break
        else:
            size = -30.0 if size is None else size
            scan = Scan(terms, squared_mu, sign, reach_for(size, total, digits), cuts)
            if at is None:
                at = max(0.0, scan.epsilon(size))
                size = scan.log_delta(at)
        waste, plan = scan.plan(at, size, digits)
        if waste > 8.0 and sign > 0 and not cuts and (epsilon is None or log_delta is None):
            at, size = one_jump(terms, epsilon, log_delta)
            scan = Scan(terms, squared_mu, sign, reach_for(size, total, digits), cuts)
            waste, plan = scan.plan(at, size, digits)
        score = max(2.0 - digits, waste + _ROUNDING)
        found.append((score if math.isfinite(score) else math.inf, -digits, plan))
        if choice == 0 and score <= _ROUNDING + 8.0:
            return plan
    found.sort(key=lambda entry: entry[:2])
    return found[min(choice, len(found) - 1)][2]


def one_jump(
    terms: Sequence[Term], epsilon: float | None, log_delta: float | None
) -> tuple[float, float]:
    """(epsilon, ln delta) where one large draw makes delta: T q G_mu(ln(1 + (e^eps - 1)/q))."""
    if epsilon is not None:
        found = -1e6
        for rate, noise, count in terms:
            t = math.log1p(math.expm1(min(max(epsilon, 0.0), 700.0)) / rate)
            at = log_delta_of(t, 1.0 / noise)
            found = max(found, math.log(count * rate) + at.rest - at.half_square)
        return epsilon, min(found, -1e-3)
    size = -30.0 if log_delta is None else log_delta
    largest = 0.0
    for rate, noise, count in terms:
        share = min(0.5, math.exp(max(-700.0, size - math.log(count * rate))))
        t = gaussian.epsilon(share, mu=1.0 / noise)
        largest = max(largest, math.log1p(rate * math.expm1(min(t, 700.0))))
    return largest, size

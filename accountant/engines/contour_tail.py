"""How much of the contour integral lies beyond the last node, proven.

phi(u) = E(lam + iu)/E(lam) of one step. Two bounds of |phi|.

- Everywhere beyond: move the path of x to x + ia, theta = a/s^2 <= pi/2. There
  |n| = n(x) e^(a^2/(2 s^2)), |r| <= r(x) (a charged factor for negative powers), and
  |r^(iu)| = e^(-u arg r), so |E(lam + iu)| <= e^(theta^2 s^2/2) int n r^w e^(-u arg r) dx plus the
  two short ends. This falls with u, so its value at u holds for all larger u.
- Between two points a distance g apart: chords. |d^2/du^2| of E(lam + iu) e^(-icu) is at most
  E_P[e^(lam L) (L-c)^2], so |phi| <= max of the ends + g^2 var/8.
"""

import math
from collections.abc import Sequence

import numpy as np

from .subsampled import NODES, Array, Kernel, Rule

_CELLS = 640
_THETAS = 0.5 * math.pi * 2.0 ** -np.arange(12.0)[:, None]
_MOST_WORK = 6_000_000  # points times nodes


class Decay:
    """The bound that holds everywhere beyond u, for one kernel on the line lam."""

    def __init__(self, kernel: Kernel, lam: float, log_size: float) -> None:
        """`log_size` is a lower bound of ln E(lam)."""
        s, power = kernel.noise, kernel.power(lam)
        edges = np.linspace(kernel.low, kernel.high, _CELLS + 1)
        centre, half = 0.5 * (edges[1:] + edges[:-1]), 0.5 * np.diff(edges)
        share = kernel.share(edges)
        curve = np.maximum(share[1:] * (1.0 - share[1:]), share[:-1] * (1.0 - share[:-1]))
        curve = np.where((share[:-1] <= 0.5) & (share[1:] >= 0.5), 0.25, curve)
        # ln n + w ln r lies below its tangent at the centre plus bend (x - c)^2/2
        bend = np.maximum(0.0, max(power, 0.0) * curve / s**2 - 1.0) / s**2
        slope = np.abs(power * kernel.share(centre) - centre) / s**2 * half
        log = power * kernel.log_ratio(centre) - 0.5 * (centre / s) ** 2 + 0.5 * bend * half**2
        # the integral of e^(slope x) over [-1, 1] is 2 sinh(slope)/slope
        stretch = np.log1p(-np.exp(-2.0 * slope)) - np.log(2.0 * np.maximum(slope, 1e-9)) + slope
        log = log + np.where(slope < 1e-3, slope**2, stretch)
        log = log + np.log(2.0 * half / (s * math.sqrt(2.0 * math.pi))) - log_size
        low = share[:-1]
        self._angle = np.arctan2(low * np.sin(_THETAS), 1.0 - low + low * np.cos(_THETAS))
        drop = np.log1p(-2.0 * curve * (1.0 - np.cos(_THETAS))) if power < 0.0 else 0.0
        lift = 0.5 * (_THETAS * s) ** 2 + 1e-11
        self._log = log + lift + 0.5 * min(power, 0.0) * drop
        ends = np.array([kernel.low, kernel.high])
        log = power * kernel.log_ratio(ends) - 0.5 * (ends / s) ** 2 - log_size
        log = log + lift + np.log(_THETAS * s / math.sqrt(2.0 * math.pi))
        if power < 0.0:
            share = kernel.share(ends)
            drop = 2.0 * share * (1.0 - share) * (1.0 - np.cos(_THETAS))
            log = log + 0.5 * power * np.log1p(-drop)
        self._ends = np.exp(np.minimum(log, 600.0)).sum(axis=1)

    def log_bound(self, u: float) -> float:
        """Upper bound of ln |phi| at u and everywhere beyond; at most 0."""
        found = np.exp(np.minimum(self._log - u * self._angle, 600.0)).sum(axis=1) + self._ends
        return min(0.0, float(np.log(found.min())))


class Line:
    """What the bounds need of one step kind: its kernel, its number, its rule at lam."""

    def __init__(self, kernel: Kernel, count: int, lam: float, log_size: float) -> None:
        self.kernel, self.count, self.lam, self.log_size = kernel, count, lam, log_size
        self.decay = Decay(kernel, lam, log_size)
        self._edges = np.zeros(0)
        self._rule: Rule | None = None
        self._top = -1.0
        self.variance = 0.0

    def cost(self, u: Array) -> int:
        """How many terms `moduli` sums."""
        self._prepare(float(u.max()))
        return len(u) * NODES * (len(self._edges) - 1)

    def moduli(self, u: Array) -> Array:
        """Upper bounds of |phi| at single u."""
        rule = self._prepare(float(u.max()))
        found = self.kernel.at(rule, self._edges, self.lam, u)
        return np.asarray((found.size + found.error) * math.exp(-self.log_size))

    def _prepare(self, top: float) -> Rule:
        power = self.kernel.power(self.lam)
        if self._rule is None or top > self._top:
            # the accuracy wanted is a small part of 1 - |phi|
            self._top = 1.01 * top
            budget = self.log_size - 24.0 - math.log(self.count)
            self._edges = self.kernel.panels(power, self._top, budget)
            self._rule = self.kernel.rule(self._edges)
            tilt = self._rule.weight * np.exp(power * self._rule.log_ratio)
            mean = float(tilt @ self._rule.log_ratio / tilt.sum())
            second = float(tilt @ (self._rule.log_ratio - mean) ** 2)
            # 1 % for rounding. The panels' error bound has a factor |ln r - mean|^2 more here: on
            # the ellipses ln |r| changes by 1/s^2 a unit and falls by 2.4 at most, |arg r| < 5.
            half = 0.5 * float(np.diff(self._edges).max())
            most = float(np.abs(self._rule.log_ratio).max())
            most = 2.0 * most + 8.0 + 6.1 * half / self.kernel.noise**2
            error = self.kernel.quadrature_error(self._edges, power, 0.0)
            noise = error * most**2 + 1e-15 * second
            self.variance = (1.01 * second + noise) * math.exp(-self.log_size)
        return self._rule


def tail(
    lines: Sequence[Line], squared_mu: float, *, start: float, step: float, log_goal: float
) -> float:
    """Upper bound of (1/pi) sum of step |phi(u)| / |z (z+1)| over the nodes u = k step >= start.

    phi is the product over all steps. The part of a range [a, b] is at most its largest |phi|
    times 1/(a - step) - 1/b, where |z (z+1)| >= u^2. Ranges are halved until their sum is below
    e^log_goal or the budget is used up; either way the result is a bound.
    """
    edges = start * 2.0 ** np.arange(0.0, 30.0, 0.5)
    found, total, end = [], 0.0, len(edges) - 1
    for index, u in enumerate(edges):
        # the bound falls with u: its value here holds for all that is left
        found.append(_beyond(lines, squared_mu, u))
        left = found[-1] - math.log(u - step) - math.log(math.pi)
        if left < log_goal or index == end:
            total, end = math.exp(left), index
            break
    if end == 0:
        return total
    logs = np.array(found)
    weight = 1.0 / (edges[:end] - step) - 1.0 / edges[1 : end + 1]
    parts = logs[:end] + np.log(weight) - math.log(math.pi)
    low, high, known = edges[:end], edges[1 : end + 1], logs[:end]
    spent, goal = 0, log_goal - math.log(4.0)
    rest = float(np.exp(parts).sum())
    while low.size:
        points, places = np.unique(np.concatenate([low, high]), return_inverse=True)
        spent += sum(line.cost(points) for line in lines)
        if spent > _MOST_WORK:
            break
        log = -0.5 * squared_mu * low**2
        gap = 0.125 * (high - low) ** 2
        for line in lines:
            size = line.moduli(points)[places]
            chord = np.maximum(size[: len(low)], size[len(low) :]) + gap * line.variance
            log = log + line.count * np.log(np.minimum(chord, 1.0))
        known = np.minimum(known, log)
        parts = known + np.log(1.0 / (low - step) - 1.0 / high) - math.log(math.pi)
        wanted = goal + np.log((high - low) / (edges[end] - edges[0]))
        fine = parts <= np.maximum(wanted, goal - math.log(64.0))
        total += float(np.exp(parts[fine]).sum())
        low, high, known, parts = low[~fine], high[~fine], known[~fine], parts[~fine]
        middle = 0.5 * (low + high)
        rest = float(np.exp(parts).sum())
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
        known = np.concatenate([known, known])
    return total + (rest if low.size else 0.0)


def _beyond(lines: Sequence[Line], squared_mu: float, u: float) -> float:
    return -0.5 * squared_mu * u * u + sum(
        line.count * line.decay.log_bound(u) for line in lines if line.count
    )

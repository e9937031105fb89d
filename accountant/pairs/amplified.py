"""Poisson sampling of any mechanism that has a dominating pair.

If (P, Q) dominates removing a record, then ((1-q) Q + q P, Q) dominates removing one from the
sampled mechanism and the exchanged pair adding one; exact if (P, Q) is attained. Source: Zhu, Dong
& Wang, arXiv:2106.08567. Replace-one needs another pair.
"""

import math
from dataclasses import dataclass

import numpy as np

from .. import check
from ..mills import UNIT
from .base import Array, Masses, Pair, Progression, above, below

_CELLS = 4000
_MOST_ORDER = 400.0


@dataclass(frozen=True)
class PoissonAmplified:
    """((1-q) Q + q P, Q) for a pair (P, Q) and the sampling rate q.

    The loss l becomes ln(1 - q + q e^l), whose slope is below 1.

    Attributes:
        pair: dominates removing one record.
        rate: q, in (0, 1].
    """

    pair: Pair
    rate: float

    def __post_init__(self) -> None:
        check.positive(rate=self.rate)
        check.probability(rate=self.rate)

    @property
    def edge(self) -> float:
        """ln(1 - q), the loss where P has no mass."""
        return math.log1p(-self.rate) if self.rate < 1.0 else -math.inf

    @property
    def lowest(self) -> float:  # noqa: D102
        at = -math.inf if self.pair.missing > 0.0 else self.pair.lowest
        value = float(self._forward(np.array([at]))[0])
        return below(value - 40.0 * UNIT * (1.0 + abs(value)) if value > -math.inf else value)

    @property
    def highest(self) -> float:  # noqa: D102
        value = float(self._forward(np.array([self.pair.highest]))[0])
        return above(value + 40.0 * UNIT * (1.0 + abs(value)) if value < math.inf else value)

    @property
    def ends_error(self) -> float:
        """Rounding of `_forward`, on both sides of it; a loss never moves by more than its own."""
        size = max(
            (abs(end) for end in (self.lowest, self.highest) if math.isfinite(end)), default=0
        )
        return 84.0 * UNIT * (1.0 + size) + self.pair.ends_error

    @property
    def infinite(self) -> float:  # noqa: D102
        return above(self.rate * self.pair.infinite) if self.pair.infinite > 0.0 else 0.0

    @property
    def missing(self) -> float:  # noqa: D102
        return self.pair.missing if self.rate == 1.0 else 0.0

    @property
    def progression(self) -> Progression | None:  # noqa: D102
        return self.pair.progression if self.rate == 1.0 else None

    @property
    def mu_upper(self) -> float:
        """The trade-off curve lies above that of (P, Q)."""
        return self.pair.mu_upper

    def _forward(self, loss: Array) -> Array:
        # within 40 UNIT (1 + |value|)
        q = self.rate
        if q == 1.0:
            return loss
        small = np.minimum(loss, 30.0)
        grown = q * np.expm1(small)
        # below 1/2 log1p would magnify the rounding of `grown`
        low = np.log((1.0 - q) + q * np.exp(small))
        near = np.where(grown < -0.5, low, np.log1p(np.maximum(grown, -0.5)))
        with np.errstate(over="ignore"):
            far = loss + np.log(q + (1.0 - q) * np.exp(-np.maximum(loss, 30.0)))
        return np.where(loss < 30.0, near, far)

    def _backward(self, loss: Array) -> Array:
        # losses above the edge; approximate, `masses` looks where each really leads
        q = self.rate
        if q == 1.0:
            return loss
        with np.errstate(all="ignore"):
            near = np.log((np.expm1(np.minimum(loss, 30.0)) + q) / q)
            far = loss - np.log(q) + np.log1p((q - 1.0) * np.exp(-loss))
            found = np.where(loss < 30.0, near, far)
        # nearer to the edge than rounding
        return np.maximum.accumulate(np.where(found > -745.0, found, -745.0))

    def masses(self, losses: Array) -> Masses:
        """The cells of (P, Q), mixed. Nothing lies below the edge."""
        cuts = np.asarray(losses, dtype=np.float64)
        under = int(np.searchsorted(cuts, self.edge, side="right"))
        inner = cuts[under:]
        base_cuts = self._backward(inner)
        found = self.pair.masses(base_cuts)
        reached = self._forward(base_cuts)
        off = np.abs(reached - inner) + 40.0 * UNIT * (1.0 + np.abs(reached))
        # the boundaries at or below the edge have an error only if they are at the edge
        error = float(off.max()) if len(off) else 0.0
        error = max(error + found.loss_error, 8.0 * UNIT) if self.rate < 1.0 else found.loss_error
        q = self.rate
        p_part = (1.0 - q) * found.q + q * found.p
        p_error = ((1.0 - q) * found.q_error + q * found.p_error) * (1.0 + 8.0 * UNIT)
        q_part, q_error = found.q.copy(), found.q_error.copy()
        if q < 1.0 and self.pair.missing > 0.0:
            # where P has nothing the loss is the edge itself; `missing` is rounded up, and what
            # Q's finite masses leave is the other estimate
            finite, doubt = float(found.q.sum()), float(found.q_error.sum())
            rest = min(max(0.0, 1.0 - finite), self.pair.missing)
            spread = self.pair.missing - rest + doubt + 16.0 * UNIT
            q_part[0] += rest
            p_part[0] += (1.0 - q) * rest
            q_error[0] += spread
            p_error[0] += spread
        zeros = np.zeros(under)
        p_all = np.concatenate([zeros, p_part])
        q_all = np.concatenate([zeros, q_part])
        p_errors = np.concatenate([zeros, p_error + 6.0 * UNIT * p_part + 1e-320])
        q_errors = np.concatenate([zeros, q_error + 2.0 * UNIT * q_part + 1e-320])
        if under and q < 1.0:
            # a cut within rounding of the edge: nothing below is sure
            p_errors[:under] += 1e-320
            q_errors[:under] += 1e-320
        return Masses(p_all, q_all, p_errors, q_errors, error)

    def moment(self, power: float) -> tuple[float, float]:
        """Between bounds from convexity; tight where all losses are finite and bounded.

        With w = 1 + power and r = dP/dQ the moment is E_Q (1 - q + q r)^w.

        - Whole w >= 0: the binomial sum of moments of (P, Q).
        - Else ln E is convex in w: the chord between whole numbers is above it,
          chords prolonged are below.
        - |power| <= 60: in a cell with masses p, q' and ends a < b, y = e^-L has the mean q'/p
          under P and y^-power is convex (power > 0 or < -1) or concave: Jensen on one side, the
          chord on the other. Above the last cut c, E_Q[r^w; L > c] <= e^((w-k) c) E_Q r^k, k > w.
        """
        w = 1.0 + power
        if w in (0.0, 1.0) and self.pair.infinite == 0.0:
            return 0.0, 0.0
        if self.rate == 1.0:
            return self.pair.moment(power)
        if self.pair.infinite > 0.0:
            return -math.inf, math.inf
        low, high = self._by_order(w)
        if w != math.floor(w) or not 0.0 <= w <= _MOST_ORDER:
            found = self._by_cells(power) if abs(power) <= 60.0 else (-math.inf, math.inf)
            low, high = max(low, found[0]), min(high, found[1])
        return low, high

    def _by_order(self, w: float) -> tuple[float, float]:
        if not 0.0 <= w <= _MOST_ORDER:
            # (1-q+qr)^w is convex in r for these w
            base = self.pair.moment(w - 1.0)[1]
            high = float(np.logaddexp(self.edge, math.log(self.rate) + base))
            if w < 0.0:
                high = min(high, w * self.edge)
            return 0.0, high + 64.0 * UNIT * (abs(high) + 1.0) if high < math.inf else math.inf
        k = math.floor(w)
        ends = [self._whole(j) for j in (k, k + 1)]
        if w == k:
            return ends[0]
        part = w - k
        high = (1.0 - part) * ends[0][1] + part * ends[1][1]
        after = self._whole(k + 2)
        low = ends[1][0] - (1.0 - part) * (after[1] - ends[1][0])
        if k >= 1:
            before = self._whole(k - 1)
            low = max(low, ends[0][0] + part * (ends[0][0] - before[1]), 0.0)
        else:
            high = min(high, 0.0)
        if not (math.isfinite(low) and math.isfinite(high)):
            return (0.0 if k else -math.inf), high if high == high else math.inf
        slack = 16.0 * UNIT * (abs(high) + abs(after[1]) + 1.0)
        return low - slack, high + slack

    def _whole(self, order: int) -> tuple[float, float]:
        """Ln E_Q (1 - q + q r)^order by the binomial theorem."""
        if order <= 1:
            return 0.0, 0.0
        logs: list[tuple[float, float]] = []
        for k in range(order + 1):
            log = (order - k) * self.edge + k * math.log(self.rate) + math.log(math.comb(order, k))
            low, high = self.pair.moment(k - 1.0) if k > 1 else (0.0, 0.0)
            slack = 16.0 * UNIT * (order * (abs(self.edge) + abs(math.log(self.rate))) + abs(log))
            logs.append((log + low - slack, log + high + slack))
        ends = []
        for side in (0, 1):
            values = [log[side] for log in logs]
            top = max(values)
            if not math.isfinite(top):
                ends.append(top)
                continue
            total = top + math.log(math.fsum(math.exp(value - top) for value in values))
            ends.append(total + (2 * side - 1) * 16.0 * UNIT * (abs(top) + abs(total) + 4.0))
        return ends[0], ends[1]

    def _by_cells(self, power: float) -> tuple[float, float]:
        w = 1.0 + power
        order = max(2, math.ceil(w) + 2)
        bounds = [(k, self._whole(k)[1]) for k in (order, order + 4, order + 10)]
        guess = max(0.0, self._whole(max(0, math.floor(w)))[0])
        if not bounds[0][1] < math.inf:
            return -math.inf, math.inf
        # equal steps of the loss before sampling: narrow where most of the mass is
        far = [(log - guess + 42.0) / (k - max(w, 0.0)) for k, log in bounds]
        last = min(self.highest, *far)
        ends = self._backward(np.array([self.edge + 1e-15, last]))
        grid = np.linspace(max(ends[0], self.pair.lowest, -60.0), ends[1], _CELLS)
        cuts = np.unique(self._forward(grid))
        cuts = cuts[cuts > self.lowest]
        found = self.masses(cuts)
        slack = found.loss_error + 4.0 * UNIT * float(np.abs(cuts).max())
        open_end = self.highest > cuts[-1] + 1.0
        left = np.concatenate([[self.lowest], cuts - slack])
        right = np.concatenate([cuts + slack, [cuts[-1] + 1.0 if open_end else self.highest]])
        right[-1] = max(right[-1], left[-1] + 2.0 * slack)
        # from here on logarithms; E of a cell is p E[e^(power L)], the mean of e^-L is q/p
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            log_low = np.log(np.maximum(found.p - found.p_error, 0.0))
            log_high = np.log(found.p + found.p_error)
            mean = np.clip(np.log(found.p / found.q), left, right)
            doubt = 1.1 * (found.p_error / found.p + found.q_error / found.q)
            doubt = doubt + 32.0 * UNIT * (1.0 + np.abs(left) + np.abs(right))
            use = (doubt < 1e-6) & (found.p > 0.0) & (found.q > 0.0)
            mean, doubt = np.where(use, mean, left), np.where(use, doubt, 0.0)
            at_ends = power * left, power * right
            jensen = power * mean
            # chord in y = e^-L; its share of the left end, and how far off that may be
            share = np.expm1(right - mean) / np.expm1(right - left)
            vary = doubt / -np.expm1(left - right)
            over = np.logaddexp(
                at_ends[0] + np.log(share + vary), at_ends[1] + np.log(1.0 - share + vary)
            )
            under = np.logaddexp(
                at_ends[0] + np.log(np.maximum(share - vary, 0.0)),
                at_ends[1] + np.log(np.maximum(1.0 - share - vary, 0.0)),
            )
        if power > 0.0 or power < -1.0:
            under, over = jensen - abs(power) * doubt, over
        else:
            over = jensen + abs(power) * doubt
        lower = log_low + np.where(
            use, np.maximum(under, np.minimum(*at_ends)), np.minimum(*at_ends)
        )
        upper = log_high + np.where(
            use, np.minimum(over, np.maximum(*at_ends)), np.maximum(*at_ends)
        )
        if open_end and power > 0.0:
            lower[-1] = log_low[-1] + power * left[-1]
            upper[-1] = min(log - (k - w) * float(left[-1]) for k, log in bounds) + 1e-9
        elif open_end:
            lower[-1], upper[-1] = -math.inf, log_high[-1] + power * left[-1]
        top = float(upper.max())
        sums = [float(np.exp(np.maximum(side - top, -1e4)).sum()) for side in (lower, upper)]
        size = abs(top) + abs(power) * float(np.abs(cuts).max()) + 800.0
        # most terms are near the top: exponents below it by x count e^-x
        rounding = UNIT * (len(cuts) + 8.0 * min(size, 1000.0 + abs(power) + abs(top)) + 64.0)
        start = top + math.log(sums[0]) - rounding if sums[0] > 0.0 else -math.inf
        return below(start), above(top + math.log(sums[1]) + rounding)

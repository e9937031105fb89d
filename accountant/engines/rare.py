"""Compositions of Poisson-subsampled Gaussians whose delta is one rare large draw ("remove").

Where q and delta are tiny the vertical contour cancels catastrophically and a lattice drowns in its
rounding errors. So every draw is cut: a step of kind i is large if x > c_i. With J the number of
large steps, p_i their density, and D the curve on the event that nothing is large,

    delta(eps) = D(eps) + sum_i T_i int_{x > c_i} p_i(x) D_i(eps - ln r_i(x)) dx + R,
    0 <= R <= P(J >= 2) <= (sum_i T_i P(x > c_i))^2 / 2,

D_i being D with one step of kind i fewer. D and D_i come from measures with light tails, which the
contour integral likes (`contour_table`, with cuts). All of this is an identity, so whatever the
cuts, both ends are proven; only the width depends on them.

D_i is convex and decreasing in y = e^e: it is E_P (1 - y e^-L)_+. Over a cell [a, b] of x with
masses P and Q of p and n the mean of y = e^eps / r(x) under p is e^eps Q/P. By Jensen the cell is
at least P D_i there, and at most P times the chord of D_i over the cell, there: second order.

Beyond all that, where many draws are needed, ln delta has the Chernoff bound with integer moments,
which are finite sums (Mironov, Talwar & Zhang, arXiv:1908.10530, section 3.3).
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from .. import check
from ..mills import UNIT
from ..solve import push
from .contour import SubsampledStep
from .contour_plan import Term, one_jump
from .contour_table import Composition, Direction
from .rare_draws import draw_of, log_mass
from .rare_jump import Jump
from .rare_small import Moments, SmallPart
from .subsampled import Array

_ACCURACY = 2e-7  # width of ln delta aimed at
_ROUGH = 1e-3  # where the width is larger, no more is asked than
_COARSE = 0.03  # which also serves while searching
_MOST_TERMS = 8  # with a draw that matters
_MOST_TABLES = 4  # for each curve
_LOG_SHARE = math.log(1e-9)  # of delta that two large draws may have
_FARTHEST = -700.0  # ln delta below which only the Chernoff bound answers
_MAX = 1e300
Pair = tuple[float, float]


class RareTable:
    """The privacy curve of one composition in the "remove" direction, made for one target.

    Every question gets a valid enclosure; it is narrow around the target, if delta is small and a
    single draw can make it. For "add", whose loss is bounded, nothing is proven.

    >>> table = RareTable([SubsampledStep(6.37e-6, 1.07, 16)], direction="remove", delta=5.4e-23)
    >>> low, high = table.epsilon_interval(5.4e-23)
    >>> low < high < low * (1.0 + 1e-6)
    True
    """

    def __init__(
        self,
        steps: Sequence[SubsampledStep],
        *,
        direction: Direction,
        epsilon: float | None = None,
        delta: float | None = None,
        log_delta: float | None = None,
    ) -> None:
        """Give one target: `epsilon` >= 0, or `delta`, or `log_delta` < 0."""
        check.one_of(("remove", "add"), direction=direction)
        if delta is not None:
            check.open_probability(delta=delta)
            log_delta = math.log(delta)
        counts: dict[Pair, int] = {}
        for step in steps:
            key = (float(step.sampling_rate), float(step.noise_multiplier))
            counts[key] = counts.get(key, 0) + step.count
        self._terms = tuple(Term(*key, count) for key, count in counts.items() if key[0] < 1.0)
        self._squared = sum(
            (count / Fraction(noise) ** 2 for (rate, noise), count in counts.items() if rate == 1),
            Fraction(0),
        )
        self._proves = bool(self._terms) and direction == "remove"
        self._jumps: list[Jump] = []
        self._none: SmallPart | None = None
        self._log_rest = math.inf
        self._moments = Moments(self._terms, float(self._squared))
        if self._proves:
            with np.errstate(all="ignore"):  # what overflows ends as NaN or inf, hence as no bound
                self._build(epsilon, log_delta)

    def _build(self, epsilon: float | None, log_delta: float | None) -> None:
        size = log_delta if log_delta is not None else self._one_draw(epsilon or 0.0)
        size = min(size, -1e-3)
        for _ in range(3):
            self._jumps, self._none = [], None
            if not _FARTHEST <= size < 0.0 or not self._cut(size):
                return
            at = self._root(size) if log_delta is not None else epsilon
            self._sharpen(at or 0.0)
            if log_delta is not None:
                at = self._root(size)
                break
            found = self._rough(at or 0.0)
            if not abs(found - size) > 4.0:
                break
            size = min(found, -1e-3)
        assert self._none is not None
        at = max(at or 0.0, 0.0)
        self._none.bound(size)
        if self._none.log_interval(np.array([at]))[1][0] > size + _LOG_SHARE:
            self._none.add(at)

    def _cut(self, size: float) -> bool:
        # the loss level above which a draw is large; one for all terms
        goal = 0.5 * (math.log(2.0) + _LOG_SHARE + size)

        def total(level: float) -> float:
            logs = [math.log(t.number) + log_mass(t, draw_of(t, level))[1] for t in self._terms]
            return float(np.logaddexp.reduce(logs))

        low, high = math.log(1e-40), math.log(600.0)
        if total(math.exp(high)) > goal or total(math.exp(low)) < goal:
            return False
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if total(math.exp(middle)) > goal else (low, middle)
        cuts = [draw_of(term, math.exp(high)) for term in self._terms]
        masses = [
            math.log(term.number) + log_mass(term, cut)[1]
            for term, cut in zip(self._terms, cuts, strict=True)
        ]
        # more than one large draw, and any large draw of a term that is not looked at
        self._log_rest = 2.0 * float(np.logaddexp.reduce(masses)) - math.log(2.0) + 1e-9
        order = sorted(range(len(cuts)), key=lambda k: -masses[k])
        taken = [k for k in order[:_MOST_TERMS] if masses[k] > size - 35.0]
        left = [masses[k] for k in order if k not in taken]
        self._log_rest = float(np.logaddexp.reduce([self._log_rest, *left])) + 1e-9
        self._none = SmallPart(Composition(self._terms, self._squared, tuple(cuts)))
        for k in taken:
            fewer = [
                (t._replace(number=t.number - (j == k)), cut)
                for j, (t, cut) in enumerate(zip(self._terms, cuts, strict=True))
                if t.number > (j == k)
            ]
            terms, rest = tuple(t for t, _ in fewer), tuple(c for _, c in fewer)
            small = SmallPart(Composition(terms, self._squared, rest))
            small.add(0.0)
            self._jumps.append(Jump(self._terms[k], cuts[k], small))
        return True

    def _sharpen(self, epsilon: float) -> None:
        # more tables where those at hand are not accurate enough
        for jump in self._jumps:
            before = math.inf
            for _ in range(_MOST_TABLES - 1):
                found = jump.integral(epsilon, 1e-2, self._farthest(epsilon))
                enough = found.doubt <= 0.05 * _ACCURACY * found.high
                if enough or not found.doubt < 0.5 * before:
                    break
                before = found.doubt
                jump.small.add(found.where)

    def _farthest(self, epsilon: float) -> float:
        # ln of the mass of the largest draws, which are not looked at
        return self._one_draw(epsilon) - 36.0 + min(0.0, math.log(max(epsilon, 1e-12)))

    def _one_draw(self, epsilon: float) -> float:
        # about ln P(a draw has more loss than epsilon)
        level = max(epsilon, 1e-12)
        return max(math.log(t.number) + log_mass(t, draw_of(t, level))[1] for t in self._terms)

    def _jump_sum(self, epsilon: float, accuracy: float) -> Pair:
        """Limits of the logarithm of the one-draw sum."""
        low, high = -math.inf, -math.inf
        for jump in self._jumps:
            found = jump.integral(epsilon, accuracy, self._farthest(epsilon))
            low = float(np.logaddexp(low, found.log_low))
            high = float(np.logaddexp(high, found.log_high))
        return low - 64.0 * UNIT, high + 64.0 * UNIT

    def _rough(self, epsilon: float) -> float:
        low, high = self._jump_sum(epsilon, _COARSE)
        return low if low > -math.inf else high

    def _at(self, epsilon: float, accuracy: float) -> Pair:
        if not self._proves or epsilon == math.inf:
            return -math.inf, 0.0
        with np.errstate(all="ignore"):
            high = self._moments.log_delta(epsilon)
            if self._none is None or not epsilon > -math.inf:
                return -math.inf, high
            found = self._jump_sum(epsilon, accuracy)
            base = self._none.log_interval(np.array([epsilon]))
            low = float(np.logaddexp(found[0], base[0][0]))
            parts = [found[1], float(base[1][0]), self._log_rest]
            high = float(np.fmin(high, np.logaddexp.reduce(parts)))
        low = low - 8.0 * UNIT * (1.0 + abs(low)) if low > -math.inf else -math.inf
        return low, min(0.0, high + 8.0 * UNIT * (1.0 + abs(high)))

    def log_delta_interval(self, epsilon: Sequence[float] | Array) -> tuple[Array, Array]:
        """Lower and upper limits of ln delta at each epsilon, any real numbers, float[n]."""
        found = [self._at(float(e), _ACCURACY) for e in np.asarray(epsilon, dtype=np.float64)]
        return np.array([low for low, _ in found]), np.array([high for _, high in found])

    def epsilon_interval(
        self, delta: float | None = None, *, log_delta: float | None = None
    ) -> Pair:
        """Enclosure of the smallest epsilon >= 0 at `delta`, or at e^log_delta."""
        if log_delta is None:
            check.open_probability(delta=delta)
            value = math.log(delta) if delta is not None else 0.0
            goal = value * (1.0 + 4.0 * UNIT), value * (1.0 - 4.0 * UNIT)
        else:
            goal = log_delta, log_delta
        if not self._proves:
            return 0.0, math.inf
        if self._none is None:
            return 0.0, self._chernoff_epsilon(goal[0])
        with np.errstate(all="ignore"):
            point = self._root(goal[0])
            slope = (self._middle(point) - self._middle(point * 1.01)) / (1e-2 * point)
        slope = slope if 1e-200 < slope < 1e200 else 1.0
        for _ in range(3):
            low, high = self._at(point, _ACCURACY)
            miss = 0.5 * (low + high) - 0.5 * (goal[0] + goal[1])
            if not 0.1 * (high - low) < abs(miss) < 1.0 or point + miss / slope <= 0.0:
                break
            point += miss / slope
        gap = high - low if low > -math.inf else 1.0
        accuracy = _ACCURACY if gap < _ROUGH else _COARSE
        step = (0.6 * gap + min(1.0, abs(miss))) / slope + 4.0 * UNIT * point
        first = push(point, -step, lambda e: e <= 0.0 or self._at(e, accuracy)[0] >= goal[1])
        last = push(point, step, lambda e: e > 1e6 or self._at(e, accuracy)[1] <= goal[0])
        return max(0.0, first), math.inf if last > 1e6 else max(0.0, last)

    def _chernoff_epsilon(self, log_delta: float) -> float:
        def bound(epsilon: float) -> float:
            return self._moments.log_delta(epsilon)

        high = 1.0
        while high < _MAX and bound(high) > log_delta:
            high *= 2.0
        low = 0.0
        for _ in range(20):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if bound(middle) > log_delta else (low, middle)
        return high if high < _MAX else math.inf

    def _middle(self, epsilon: float) -> float:
        # about ln delta
        if self._none is None or not self._jumps:
            return self._moments.log_delta(epsilon)
        low = self._rough(epsilon)
        base = float(self._none.guess(epsilon))
        return float(np.logaddexp(low, base))

    def _root(self, log_delta: float) -> float:
        # about epsilon at this delta
        low = high = max(1e-12, one_jump(self._terms, None, log_delta)[0])
        while low > 1e-12 and self._middle(low) < log_delta:
            low *= 0.7
        while high < 1e5 and self._middle(high) > log_delta:
            low, high = high, high * 1.4
        for _ in range(12):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self._middle(middle) > log_delta else (low, middle)
        # the last digits by the secant
        ends = self._middle(low), self._middle(high)
        for _ in range(3):
            if not ends[0] > ends[1] > -math.inf:
                break
            at = low + (high - low) * (ends[0] - log_delta) / (ends[0] - ends[1])
            if not low < at < high:
                break
            value = self._middle(at)
            if value > log_delta:
                low, ends = at, (value, ends[1])
            else:
                high, ends = at, (ends[0], value)
        return low if abs(ends[0] - log_delta) < abs(ends[1] - log_delta) else high

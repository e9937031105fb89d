"""delta and epsilon of compositions of any dominating pairs, enclosed, on a lattice of losses.

For each direction two discrete laws on a lattice are composed by FFT: one that dominates the steps
(`lattice_upper`) and one that they dominate (`lattice_lower`). Both ends are proven; they meet as
the square of the spacing, which is chosen for the target (`lattice_plan`). Where all losses lie on
one progression, as for randomised response, nothing is discretised.

Charged: errors of the masses and of the boundaries, mass above the knots, mass that wraps around in
the circular convolution (Chernoff bounds on the very weights used), and rounding (`lattice_fft`).
Sources: Koskela et al., arXiv:1906.03049 (FFT); Doroshenko et al., arXiv:2207.04380 (connect the
dots); the tilt is that of importance sampling.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from .. import check
from ..errors import ParameterError
from ..mills import UNIT
from ..pairs.base import Progression, Step
from .lattice_curve import Side, Window
from .lattice_fft import Law, compose, log_moment, log_tail
from .lattice_lower import exact_couple, lower_couple, mean_residual
from .lattice_plan import (
    MOST_POINTS,
    Array,
    Coarse,
    Plan,
    Target,
    coarse,
    first_target,
    make_plan,
    slope_at,
)
from .lattice_upper import upper_law

_LOOSE = 30.0  # how much wider than asked for a pilot may be
_PILOTS = 12
_ENOUGH = -40.0  # ln of a weight outside the window that needs no better bound
_FACTORS = (1.0, 0.6, 1.5, 0.3, 2.5, 0.1, 0.03, 0.01, 0.001)
Interval = tuple[float, float]


class LatticeTable:
    """The privacy curve of one composition in one direction, made for one target.

    Every question gets a valid enclosure; it is narrow around the target.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        *,
        epsilon: float | None = None,
        delta: float | None = None,
        log_delta: float | None = None,
        tolerance: float = 1e-5,
        upper_only: bool = False,
    ) -> None:
        """Give one target: `epsilon`, any real number, or `delta`, or `log_delta` < 0.

        Args:
            steps: what was released, as pairs in the direction asked for.
            epsilon: target.
            delta: target, in (0, 1).
            log_delta: target.
            tolerance: about what the upper end of epsilon may lose by discretisation, > 0.
            upper_only: the pairs dominate something else, whose lower ends these are not.

        Raises:
            ParameterError: not exactly one target, or a number outside its range.
        """
        if sum(target is not None for target in (epsilon, delta, log_delta)) != 1:
            raise ParameterError("give exactly one of epsilon, delta and log_delta")
        check.positive(tolerance=tolerance)
        if epsilon is not None and not math.isfinite(epsilon):
            raise ParameterError(f"epsilon must be a finite number, but is {epsilon!r}")
        if delta is not None:
            check.open_probability(delta=delta)
            log_delta = math.log(delta)
        if log_delta is not None and not -math.inf < log_delta < 0.0:
            raise ParameterError(f"log_delta must be finite and < 0, but is {log_delta!r}")
        self._upper_only = upper_only
        counts: dict[object, int] = {}
        merged: dict[object, Step] = {}
        for step in steps:
            check.count(count=step.count)
            counts[step.pair] = counts.get(step.pair, 0) + step.count
            merged[step.pair] = Step(step.pair, counts[step.pair])
        self._steps = list(merged.values())
        self._counts = [step.count for step in self._steps]
        self._upper: list[Side] = []
        self._lower: list[Side] = []
        self._shift = 0.0
        # ln P(some loss is infinite), and its lower limit
        self._infinite = (-math.inf, -math.inf)
        self._most = self._sum([step.pair.highest for step in self._steps])
        self._least = -self._sum([-step.pair.lowest for step in self._steps])
        self._missing = self._log_any([step.pair.missing for step in self._steps])
        self._guess = 0.0
        if self._steps:
            self._build(epsilon, log_delta, tolerance)

    def _sum(self, ends: Sequence[float]) -> float:
        # rounded up
        total = sum(count * end for count, end in zip(self._counts, ends, strict=True))
        size = sum(abs(count * end) for count, end in zip(self._counts, ends, strict=True))
        return total + 4.0 * UNIT * (len(ends) + 1) * size if math.isfinite(total) else total

    def _log_any(self, masses: Sequence[float]) -> float:
        # ln(1 - prod (1 - mass)^count), to within 1e-12 or so, relative
        if any(mass >= 1.0 for mass in masses):
            return 0.0
        log = sum(c * math.log1p(-mass) for c, mass in zip(self._counts, masses, strict=True))
        return math.log(-math.expm1(log)) if log < 0.0 else -math.inf

    def _build(self, epsilon: float | None, log_delta: float | None, tolerance: float) -> None:
        if any(step.pair.infinite >= 1.0 for step in self._steps):
            self._infinite = (-1e-8, 0.0)
            return
        terms = [coarse(step) for step in self._steps]
        common = self._common()
        target = first_target(terms, tolerance, epsilon, log_delta)
        if common is not None:
            plan = make_plan(terms, tolerance, target, spacing=common.spacing)
            if self._fits(plan):
                self._guess = target.epsilon
                self._build_exact(plan)
                return
        target = self._pilot(terms, target, epsilon, log_delta, tolerance)
        plan = make_plan(terms, _precision(tolerance, target), target)
        self._guess = target.epsilon
        self._build_lattice(plan)

    def _pilot(
        self,
        terms: Sequence[Coarse],
        target: Target,
        epsilon: float | None,
        log_delta: float | None,
        tolerance: float,
    ) -> Target:
        """The target as a coarse upper curve sees it: the saddle-point method may be far off."""
        most = math.inf  # epsilon is below it
        for _ in range(_PILOTS):
            plan = make_plan(terms, _LOOSE * _precision(tolerance, target), target)
            self._build_lattice(plan, is_pilot=True)
            self._guess = target.epsilon
            start = max(0.0, self._upper[0].start) * (1.0 + 1e-9) + 1e-300
            at = epsilon
            if at is None:
                goal = log_delta or 0.0
                if start < target.epsilon and self._log(start)[1] <= goal and start > 1e-12:
                    most = min(most, start)
                    at = 0.3 * most
                    target = Target(at, goal, slope_at(terms, at, goal))
                    continue
                at = min(most, self._search(lambda e: self._log(e)[1] <= goal))  # noqa: B023
            if at == math.inf:
                break
            step = 0.1 / target.slope
            first, second = (float(log) for log in self.log_delta_interval([at, at + step])[1])
            if first == -math.inf and log_delta is None:
                break
            # where the curve ends, it is steep
            slope = (first - second) / step if first > second > -math.inf else math.inf
            slope = min(slope, 10.0 * target.slope, 1e7)
            log = first if log_delta is None else log_delta
            found = Target(at, log, max(slope, 0.1 * target.slope, 0.02))
            is_near = abs(at - target.epsilon) * found.slope < 3.0
            is_near &= abs(log - target.log_delta) < 3.0
            target = found
            if is_near:
                break
        return target

    def _common(self) -> Progression | None:
        """A progression of the same spacing for all, if there is one."""
        found = [step.pair.progression for step in self._steps]
        spacings = {progression.spacing if progression else None for progression in found}
        return found[0] if len(spacings) == 1 else None

    def _fits(self, plan: Plan) -> bool:
        points = (plan.window[1] - plan.window[0]) / plan.spacing
        losses = sum(float(knots[-1] - knots[0]) for knots in plan.knots)
        return points < 0.9 * MOST_POINTS and losses < 4.0 * MOST_POINTS

    def _build_lattice(self, plan: Plan, *, is_pilot: bool = False) -> None:
        spacing, tilt = plan.spacing, plan.tilt * plan.spacing
        window = _window(plan, 0.0)
        upper = [
            upper_law(step.pair, knots, spacing, tilt)
            for step, knots in zip(self._steps, plan.knots, strict=True)
        ]
        shifts = zip(self._counts, upper, strict=True)
        self._shift = sum(count * found.shift for count, found in shifts) * (1.0 + 1e-12)
        laws = [found.law for found in upper]
        composed = compose(laws, self._counts, first=window.first, size=window.size)
        outside = self._tails(laws, window, plan)
        self._set_chernoff(laws, plan.tilt, 0.0)
        self._upper = [Side(composed, None, window, outside=outside, up=True)]
        self._lower = []
        self._infinite = (-math.inf, self._log_any([found.infinite for found in upper]) + 1e-12)
        if is_pilot:
            return
        lower = [
            lower_couple(step.pair, knots, spacing, tilt)
            for step, knots in zip(self._steps, plan.knots, strict=True)
        ]
        p, q = [couple.p for couple in lower], [couple.q for couple in lower]
        # the numbers of the cells are off the losses, on average
        drift = sum(
            count * mean_residual(couple) for count, couple in zip(self._counts, lower, strict=True)
        )
        start = window.first - round(drift / spacing)
        least = sum(count * law.first for count, law in zip(self._counts, p, strict=True))
        if window.first <= least:
            start = min(start, least)
        window = window._replace(first=start, offset=window.offset + drift)
        first = compose(p, self._counts, first=window.first, size=window.size)
        outside = self._tails(p, window, plan)
        second = compose(q, self._counts, first=window.first, size=window.size)
        self._lower = [Side(first, second, window, outside=outside, up=False)]
        self._infinite = (
            self._log_any([couple.infinite for couple in lower]) - 1e-12,
            self._infinite[1],
        )

    def _build_exact(self, plan: Plan) -> None:
        tilt = plan.tilt * plan.spacing
        progressions = [step.pair.progression for step in self._steps]
        known = [progression for progression in progressions if progression is not None]
        offset = math.fsum(
            count * progression.offset
            for count, progression in zip(self._counts, known, strict=True)
        )
        window = _window(plan, offset)
        infinite = []
        for up in (False, True):
            couples = []
            for step, knots, progression in zip(self._steps, plan.knots, known, strict=True):
                steps = progression.offset / progression.spacing
                ends = math.floor(knots[0] - steps) - 1, math.ceil(knots[-1] - steps) + 1
                couples.append(exact_couple(step.pair, progression, ends, tilt, up=up))
            p, q = [couple.p for couple in couples], [couple.q for couple in couples]
            first = compose(p, self._counts, first=window.first, size=window.size)
            second = compose(q, self._counts, first=window.first, size=window.size)
            side = Side(
                first,
                second,
                window,
                outside=self._tails(p, window, plan),
                q_outside=self._tails(q, window, plan),
                up=up,
            )
            (self._upper if up else self._lower).append(side)
            infinite.append(self._log_any([couple.infinite for couple in couples]))
            self._set_chernoff(p, plan.tilt, offset)
        if len(self._steps) > 1:
            # their spacings are equal as numbers, but perhaps not before rounding
            sizes = [float(np.abs(knots[[0, -1]]).max()) + 2.0 for knots in plan.knots]
            total = sum(count * size for count, size in zip(self._counts, sizes, strict=True))
            self._shift = 32.0 * UNIT * total * plan.spacing
        self._infinite = infinite[0] - 1e-12, infinite[1] + 1e-12

    def _tails(self, laws: Sequence[Law], window: Window, plan: Plan) -> Interval:
        """Upper bounds of ln of the weight below and above the window."""
        found = []
        for power, index in zip(
            plan.tail_powers, (window.first - 1, window.first + window.size), strict=True
        ):
            best = math.inf
            for factor in _FACTORS:
                scaled = power * plan.spacing * factor
                best = min(best, log_tail(laws, self._counts, scaled, index))
                if best < _ENOUGH:
                    break
            found.append(best)
        return found[0], found[1]

    def log_delta_interval(self, epsilon: Sequence[float] | Array) -> tuple[Array, Array]:
        """Lower and upper limits of ln delta at each epsilon, any real numbers, float[n]."""
        at = np.asarray(epsilon, dtype=np.float64)
        with np.errstate(all="ignore"):
            plain = np.where(at < 0.0, np.log(-np.expm1(np.minimum(at, 0.0))), -math.inf)
            slack = 8.0 * UNIT * (1.0 + np.where(np.isfinite(plain), np.abs(plain), 0.0))
            low, high = plain - slack, np.zeros_like(at)
            if not self._steps:
                high = np.where(at < 0.0, np.minimum(0.0, plain + slack), -math.inf)
            low = np.fmax(low, self._infinite[0])
            for side in self._lower:
                # at the target it is best, and delta falls with epsilon
                found = side.log_delta(at)
                found = np.where(
                    at < self._guess, np.fmax(found, side.log_delta(self._guess)), found
                )
                low = np.fmax(low, np.logaddexp(found, self._infinite[0]) - slack)
            for side in self._upper:
                shifted = at - self._shift - 4.0 * UNIT * np.abs(at)
                found = np.fmin(side.log_delta(shifted), self._chernoff(shifted))
                high = np.fmin(high, np.logaddexp(found, self._infinite[1]) + slack)
            known = at >= self._most
            low = np.where(known, np.minimum(low, self._infinite[0]), low)
            high = np.where(known, np.minimum(high, self._infinite[1]), high)
            known = at <= self._least
            full = np.logaddexp(plain, at + self._missing) + slack
            high = np.where(known, np.fmin(high, full), high)
        high = np.minimum(high, 0.0)
        if self._upper_only:  # then low only says how wide; `infinite` may be rounded up by much
            low = np.minimum(low, high)
        if (low > high + 1e-9 * (1.0 + np.where(np.isfinite(high), np.abs(high), 0.0))).any():
            raise ArithmeticError("two enclosures of delta exclude each other; please report this")
        return np.minimum(low, high), high

    def _set_chernoff(self, laws: Sequence[Law], tilt: float, offset: float) -> None:
        # ln of E_P[e^(tilt loss)], where loss = offset + index spacing; and what it may be off by
        parts = [
            count * part
            for count, law in zip(self._counts, laws, strict=True)
            for part in (log_moment(law, 0.0), law.scale)
        ]
        parts.append(tilt * offset)
        slack = 32.0 * UNIT * sum(map(abs, parts))
        self._tilt, self._log_total = tilt, math.fsum(parts) + slack

    def _chernoff(self, epsilon: Array) -> Array:
        # 1 - e^-x <= c e^(tilt x)
        tilt = self._tilt
        constant = tilt * math.log(tilt) - (1.0 + tilt) * math.log1p(tilt)
        size = abs(self._log_total) + np.abs(tilt * epsilon) + 2.0 * tilt + 2.0
        return np.asarray(self._log_total - tilt * epsilon + constant + 32.0 * UNIT * size)

    def delta_interval(self, epsilon: float) -> Interval:
        """Enclosure of delta at any real epsilon."""
        if math.isnan(epsilon):
            raise ParameterError("epsilon must be a number, but is NaN")
        if abs(epsilon) == math.inf:
            ends = [math.exp(end) for end in self._infinite]
            return (ends[0] * (1.0 - 8.0 * UNIT), ends[1]) if epsilon > 0.0 else (1.0, 1.0)
        low, high = self.log_delta_interval([epsilon])
        return _exp(float(low[0]), down=True), _exp(float(high[0]), down=False)

    def epsilon_interval(
        self, delta: float | None = None, *, log_delta: float | None = None
    ) -> Interval:
        """Enclosure of the smallest epsilon >= 0 at `delta`, or at e^log_delta."""
        if (delta is None) == (log_delta is None):
            raise ParameterError("give exactly one of delta and log_delta")
        if log_delta is None:
            check.probability(delta=delta)
            value = math.log(delta) if delta else -math.inf
            goal = value * (1.0 + 4.0 * UNIT), value * (1.0 - 4.0 * UNIT)
        else:
            goal = float(log_delta), float(log_delta)
        if goal[1] >= 0.0 or not self._steps or self._log(0.0)[1] <= goal[0]:
            return 0.0, 0.0
        upper = self._search(lambda e: self._log(e)[1] <= goal[0])
        lower = self._lower_end(min(upper, 1e300), goal[1])
        most = max(0.0, self._most) if self._infinite[1] <= goal[0] else math.inf
        return min(lower, upper, most), min(upper, most)

    def _search(self, is_done: Callable[[float], bool]) -> float:
        """A point beyond which `is_done` holds, hardly to the right of where it starts to."""
        low, high = 0.0, max(1e-3, 2.0 * self._guess)
        while not is_done(high):
            low, high = high, high * 2.0
            if high > 1e6 and high > 4.0 * self._guess:
                return math.inf
        for _ in range(200):
            middle = 0.5 * (low + high)
            if not low < middle < high or high - low <= 1e-14 * high:
                break
            low, high = (low, middle) if is_done(middle) else (middle, high)
        return high

    def _lower_end(self, upper: float, goal: float) -> float:
        # back from the upper end in growing steps, as the lower curve is good near the target only
        start = min(upper, 4.0 * self._guess + 1.0)
        step, high = 1e-9 * start + 1e-15, start
        while high > 0.0:
            low = max(0.0, start - step)
            if self._log(low)[0] > goal:
                break
            high, step = low, 4.0 * step
        else:
            return 0.0
        for _ in range(60):
            middle = 0.5 * (low + high)
            if not low < middle < high or high - low <= 1e-3 * (upper - low):
                break
            low, high = (middle, high) if self._log(middle)[0] > goal else (low, middle)
        return low

    def _log(self, epsilon: float) -> Interval:
        low, high = self.log_delta_interval([epsilon])
        return float(low[0]), float(high[0])


def _precision(tolerance: float, target: Target) -> float:
    """Relative, where epsilon and the range in which delta falls to 1/e are small."""
    return tolerance * min(1.0, 10.0 * max(target.epsilon, 1.0 / target.slope))


def _window(plan: Plan, offset: float) -> Window:
    first = math.floor((plan.window[0] - offset) / plan.spacing) - 4
    last = math.ceil((plan.window[1] - offset) / plan.spacing) + 4
    last = min(last, first + 2 * MOST_POINTS - 1)  # what is outside is charged
    size = 256
    while size < last - first + 1:
        size = size * 3 // 2 if size & (size - 1) == 0 else size // 3 * 4
    return Window(first, size, offset, plan.spacing, plan.epsilon)


def _exp(log: float, *, down: bool) -> float:
    if log == -math.inf:
        return 0.0
    value = math.exp(log)
    if down:
        return max(0.0, value * (1.0 - 4.0 * UNIT) - 5e-324)
    return min(1.0, value * (1.0 + 4.0 * UNIT) + 5e-324)

"""The privacy curve of a composition: delta at any epsilon and back, both directions, enclosed.

Two engines answer: the contour integral (`engines.contour`) where everything is a Gaussian, sampled
or not, and the lattice (`engines.lattice`) for everything else and wherever the contour's answer is
wide. What both prove is intersected; enclosures that exclude each other raise.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from . import check
from .bounds import Interval
from .engines.contour import ContourTable, SubsampledStep
from .engines.rare import RareTable
from .engines.tpr import tpr_interval
from .flatten import Parts
from .geometry import root_interval
from .mills import UNIT

Array = NDArray[np.float64]
Direction = Literal["remove", "add"]
End = Literal["lower", "upper"]
DIRECTIONS: tuple[Direction, Direction] = ("remove", "add")
_WIDE = 5e-7  # in ln delta: wider than this and another table is made
_USEFUL = 1e-3  # in ln delta: only where the contour is wider, the lattice is asked too
_LATTICE_WIDE = 0.05  # the same where only the lattice answers, which is never so narrow
_LEAST_NOISE = 0.55  # below it a taken draw is seen at once, and the lattice does as well
_LEAST_STEPS = 12  # fewer are as well on the lattice
_SHARPEST = 1e6  # mu that the lattice takes
_DEEP = -85.0  # ln delta below which a curve of many epsilons is only bounded
_DEEPEST = -200.0  # the same for a single one
_MOST_TABLES = 6
_MOST_LATTICES = 4


class Table(Protocol):
    """What an engine makes for one target."""

    def log_delta_interval(self, epsilon: Array) -> tuple[Array, Array]:
        """Lower and upper limits of ln delta."""

    def epsilon_interval(
        self, delta: float | None = None, *, log_delta: float | None = None
    ) -> tuple[float, float]:
        """Enclosure of the smallest epsilon >= 0."""


class OneWay:
    """One direction of one composition; tables are made where they are needed, and kept."""

    def __init__(self, parts: Parts, direction: Direction, end: End, *, both: bool) -> None:
        # what has no noise, or more than an engine takes, has no upper bound
        squared = parts.squared_mu[1] if end == "upper" else Fraction(0)
        self._sharp = squared > _SHARPEST**2
        self._nothing = squared == math.inf or (self._sharp and bool(parts.pairs))
        self._exact = _is_exact(parts)
        if self._nothing:
            return
        self._steps = gaussian_steps(parts, end) if not parts.pairs else None
        self._parts, self._direction, self._end, self._both = parts, direction, end, both
        self._tables: list[Table] = []
        self._tried: set[tuple[tuple[str, float], ...]] = set()
        self._single = self._steps is None and _is_single(parts)
        if self._single:
            from .pairs.base import Exchanged
            from .pairs.one_step import OneStepTable

            pair = next((step.pair for step in pair_steps(parts, end)), None)
            if pair is None:
                self._single = False
            else:
                way = pair if direction == "remove" else Exchanged(pair)
                self._tables = [_Searched(OneStepTable(way), way)]

    def _add(self, **goal: float) -> bool:
        """New tables for one target; False if there are enough."""
        if self._single or len(self._tables) >= (
            _MOST_TABLES if self._steps is not None else _MOST_LATTICES
        ):
            return False
        if (target := tuple(goal.items())) in self._tried:
            return False
        self._tried.add(target)
        before = len(self._tables)
        if self._steps is not None:
            self._tables.append(ContourTable(self._steps, direction=self._direction, **goal))
        if self._steps is not None and self._is_wide(goal) and self._is_rare(self._steps):
            with np.errstate(all="ignore"):
                self._tables.append(RareTable(self._steps, direction="remove", **goal))
        if self._steps is None or (not self._sharp and (self._both or self._is_wide(goal))):
            self._tables.append(self._lattice(**goal))
        return len(self._tables) > before

    def _first(self, epsilon: Array) -> float:
        """Where the first table of a curve goes: its middle, if delta is not yet tiny there."""
        squared = float(min(self._parts.squared_mu[1], 1e12))
        for (rate, noise, _), count in self._parts.sampled.items():
            squared += count * rate**2 * math.expm1(min(1.0 / noise**2, 600.0))
        # the central limit is no bound, and good enough for a place
        near = np.sort(epsilon[np.abs(epsilon) <= 12.0 * math.sqrt(squared) + squared])
        if self._parts.pairs or len(near) == len(epsilon):
            return float(np.median(epsilon))
        return float(np.median(near)) if len(near) else float(epsilon[np.argmin(np.abs(epsilon))])

    def _is_wide(self, goal: dict[str, float]) -> bool:
        """Whether the latest table says too little about its own target."""
        at = goal.get("epsilon")
        with np.errstate(all="ignore"):
            if at is None:
                low, high = self._tables[-1].epsilon_interval(goal["delta"])
                return high - low > _USEFUL * (1e-3 + high)
            low, high = (end[0] for end in self._tables[-1].log_delta_interval(np.array([at])))
        return bool(high > _DEEPEST and high - low > _USEFUL)

    def _is_rare(self, steps: Sequence[SubsampledStep]) -> bool:
        """Whether one rare draw may be behind a wide answer: not where few draws already do it."""
        drawn = [step for step in steps if step.sampling_rate < 1.0]
        return (
            self._direction == "remove"
            and min((step.noise_multiplier for step in drawn), default=0.0) >= _LEAST_NOISE
            and sum(step.count for step in drawn) >= _LEAST_STEPS
        )

    def _lattice(self, **goal: float) -> Table:
        from .engines.lattice import LatticeTable
        from .pairs.base import exchanged

        steps = pair_steps(self._parts, self._end)
        if self._direction == "add":
            steps = exchanged(steps)
        with np.errstate(all="ignore"):  # what overflows ends as NaN or inf, hence as no bound
            only = self._end == "upper" and not self._exact
            table: Table = LatticeTable(steps, upper_only=only, **goal)
        return table

    def log_delta(self, epsilon: Array, floor: Array | None = None) -> tuple[Array, Array]:
        """Limits of ln delta at any real epsilon, float[n] each.

        Where the upper limit is below `floor`, nobody asks how far.
        """
        if self._nothing:
            return np.full(len(epsilon), -math.inf), np.zeros(len(epsilon))
        before = math.inf
        while True:
            low = np.full(len(epsilon), -math.inf)
            high = np.zeros(len(epsilon))
            for table in self._tables:
                with np.errstate(all="ignore"):
                    found = table.log_delta_interval(epsilon)
                low, high = np.fmax(low, found[0]), np.fmin(high, found[1])
            if self._exact:  # else the ends belong to two compositions, and only one is used
                _agree(low, high)
            asked = high > (-math.inf if floor is None else floor)
            asked &= high > (_DEEP if len(epsilon) > 1 else _DEEPEST)
            gap = np.zeros(len(high))
            np.subtract(high, low, out=gap, where=asked & (high > -math.inf))
            worst = int(np.argmax(gap)) if len(gap) else 0
            enough = _WIDE if self._steps is not None else _LATTICE_WIDE
            if not len(gap) or gap[worst] <= enough or gap[worst] > 0.9 * before:
                return np.minimum(low, high), high
            if self._tables:
                before = float(gap[worst])
            if self._tables:
                at = epsilon[worst]
            elif floor is None:
                at = self._first(epsilon)
            else:  # the directions are alike near 0, and soon one falls faster
                at = epsilon[np.argmin(np.abs(epsilon))]
            if not self._add(epsilon=float(at)):
                return np.minimum(low, high), high

    def epsilon(self, delta: float) -> tuple[float, float]:
        """Enclosure of the smallest epsilon >= 0 at `delta` in (0, 1)."""
        if self._nothing:
            return 0.0, math.inf
        if delta >= self._any_draw():
            return 0.0, 0.0
        low, high = 0.0, math.inf
        for fresh in (False, True):
            if fresh and not self._add(delta=delta):
                break
            for table in self._tables:
                with np.errstate(all="ignore"):
                    ends = table.epsilon_interval(delta)
                low, high = max(low, ends[0]), min(high, ends[1])
            if low > high * (1.0 + 1e-12) and self._exact:
                raise ArithmeticError("two enclosures of epsilon exclude each other; report this")
            if high < math.inf and high - low <= 1e-8 * (1.0 + high):
                break
        return min(low, high), high

    def _any_draw(self) -> float:
        """Upper bound of the total variation: the chance that the record is drawn at all."""
        if self._parts.pairs or self._parts.squared_mu[1] > 0:
            return 1.0
        logs = [count * math.log1p(-rate) for (rate, _, _), count in self._parts.sampled.items()]
        return min(1.0, -math.expm1(math.fsum(logs)) * (1.0 + 1e-12))

    def at_zero_delta(self) -> tuple[float, float]:
        """Enclosure of the smallest epsilon at delta = 0."""
        if self._nothing:
            return 0.0, math.inf
        if self._steps is not None:
            return ContourTable(
                self._steps, direction=self._direction, delta=1e-5
            ).epsilon_interval(0.0)
        steps = pair_steps(self._parts, self._end)
        if any(
            step.pair.infinite if self._direction == "remove" else step.pair.missing
            for step in steps
        ):
            return math.inf, math.inf
        ends = [
            (s.count, s.pair.highest if self._direction == "remove" else -s.pair.lowest)
            for s in steps
        ]
        if any(math.isinf(end) for _, end in ends):
            return 0.0, math.inf
        # a largest loss is rounded up, if it is rounded at all
        exact = sum((count * Fraction(end) for count, end in ends), Fraction(0))
        most = float(exact)
        if Fraction(most) < exact:
            most = math.nextafter(most, math.inf)
        return max(0.0, most * (1.0 - 1e-12)), max(0.0, most)


class _Searched:
    """The exact curve of a single release; epsilon by bisection of it."""

    def __init__(self, curve: Any, pair: Any) -> None:
        self.log_delta_interval = curve.log_delta_interval
        self._most = pair.highest

    def epsilon_interval(
        self, delta: float | None = None, *, log_delta: float | None = None
    ) -> tuple[float, float]:
        """Enclosure of the smallest epsilon >= 0."""
        goal = math.log(delta) if delta is not None else float(log_delta or 0.0)
        slack = 4.0 * UNIT * abs(goal)
        upper = self._last(1, goal - slack, up=True)
        lower = self._last(0, goal + slack, up=False)
        return min(lower, upper), upper

    def _last(self, end: int, goal: float, *, up: bool) -> float:
        """Where one end of delta falls below the goal; the side on which it has (up) or has not.

        Many points at once: a pair of many atoms is as quickly asked about 64 points as about one.
        """
        at = np.concatenate([[0.0], 2.0 ** np.arange(21.0)])
        while True:
            leaks = self.log_delta_interval(at)[end] > goal
            first = int(np.argmin(leaks)) if not leaks.all() else len(at)
            if first == len(at):
                # beyond the largest finite loss only infinite ones are left
                return math.inf if up or at[-1] > self._most else float(at[-1])
            if first == 0:
                return float(at[0])
            low, high = float(at[first - 1]), float(at[first])
            between = np.linspace(low, high, 66)
            inside = (between[1:-1] > low) & (between[1:-1] < high)
            if high - low <= 1e-14 * high or not inside.any():
                return high if up else low
            at = np.concatenate([[low], between[1:-1][inside], [high]])


class EngineCurve:
    """Both directions; the worse one counts.

    Args:
        parts: what was released.
        both_engines: ask the lattice everywhere, not only where the contour is wide.
    """

    def __init__(self, parts: Parts, *, both_engines: bool = False) -> None:
        self.parts = parts
        # one composition dominates, the other is dominated; mostly they are the same
        self._high = [OneWay(parts, d, "upper", both=both_engines) for d in DIRECTIONS]
        self._low = (
            self._high
            if _is_exact(parts)
            else [OneWay(parts, d, "lower", both=both_engines) for d in DIRECTIONS]
        )

    def log_delta(self, epsilon: Array) -> tuple[Array, Array]:
        """Limits of ln delta in the worse direction, float[n] each."""
        low, high = self._high[0].log_delta(epsilon)
        other = self._high[1].log_delta(epsilon, low)
        high = np.maximum(high, other[1])
        if self._low is self._high:
            low = np.maximum(low, other[0])
        else:
            low = np.maximum(*[way.log_delta(epsilon, other[1])[0] for way in self._low])
        return np.minimum(low, high), high

    def infinite(self) -> float:
        """Upper bound of delta at infinite epsilon: the mass at infinite loss."""
        if self.parts.squared_mu[1] == math.inf:
            return 1.0
        log, worst = 0.0, 0.0
        for (upper, _), count in self.parts.pairs.items():
            worst = max(upper.infinite, upper.missing)
            if worst >= 1.0:
                return 1.0
            log += count * math.log1p(-worst)
        return min(1.0, -math.expm1(log) * (1.0 + 1e-9))

    def epsilon(self, delta: float) -> Interval:
        """Smallest epsilon at `delta` in [0, 1]."""
        check.probability(delta=delta)
        if delta == 1.0:
            return Interval(0.0, 0.0)
        if delta == 0.0:
            high = max(way.at_zero_delta()[1] for way in self._high)
            low = max(way.at_zero_delta()[0] for way in self._low)
        else:
            high = max(way.epsilon(delta)[1] for way in self._high)
            low = max(way.epsilon(delta)[0] for way in self._low)
        return Interval(min(low, high), high)

    def by_direction(self, delta: float) -> dict[str, Interval]:
        """Epsilon at `delta` in (0, 1), one interval per direction."""
        found: dict[str, Interval] = {}
        for name, high, low in zip(DIRECTIONS, self._high, self._low, strict=True):
            ends = low.epsilon(delta)[0], high.epsilon(delta)[1]
            found[name] = Interval(min(ends), ends[1])
        return found

    def tpr(self, fpr: float) -> Interval:
        """Best true-positive rate at `fpr`, of the better of the two tests."""
        highs = [tpr_interval(way.log_delta, fpr)[1] for way in self._high]
        lows = [tpr_interval(way.log_delta, fpr)[0] for way in self._low]
        return Interval(min(max(lows), max(highs)), max(highs))


def _agree(low: Array, high: Array) -> None:
    room = 1e-10 + 1e-12 * np.abs(np.where(np.isfinite(high), high, 0.0))
    if np.any(low > high + room):
        raise ArithmeticError("two enclosures of delta exclude each other; please report this")


def _is_single(parts: Parts) -> bool:
    return not parts.sampled and parts.squared_mu[1] == 0 and list(parts.pairs.values()) == [1]


def _is_exact(parts: Parts) -> bool:
    return (
        parts.squared_mu[0] == parts.squared_mu[1]
        and all(low == high for _, low, high in parts.sampled)
        and all(upper == lower for upper, lower in parts.pairs)
    )


def gaussian_steps(parts: Parts, end: End) -> Sequence[SubsampledStep]:
    """The composition for the contour engine; noise rounded to the side of `end`."""
    steps = []
    squared = parts.squared_mu[1] if end == "upper" else parts.squared_mu[0]
    if squared == math.inf:
        raise ArithmeticError("a release without noise reached the contour; please report this")
    if squared > 0:
        noise = root_interval(1 / Fraction(squared))
        steps.append(SubsampledStep(1.0, noise[0] if end == "upper" else noise[1]))
    for (rate, low, high), count in parts.sampled.items():
        noise_multiplier = low if end == "upper" else high
        if noise_multiplier < math.inf:
            steps.append(SubsampledStep(rate, noise_multiplier, count))
    return steps


def pair_steps(parts: Parts, end: End) -> list[Any]:
    """The composition as pairs, for the lattice."""
    from .pairs import mixtures
    from .pairs.base import Step

    def side(pair: tuple[float, float]) -> float:
        return pair[1] if end == "upper" else pair[0]

    steps = []
    squared = parts.squared_mu[1] if end == "upper" else parts.squared_mu[0]
    if squared == math.inf:
        raise ArithmeticError("a release without noise reached the lattice; please report this")
    if squared > 0:
        whole = side(root_interval(squared))
        if whole > _SHARPEST and end == "upper":
            raise ArithmeticError(f"mu = {whole:g} is more than the lattice takes")
        steps.append(Step(mixtures.gaussian(min(whole, _SHARPEST)), 1))
    for (rate, low, high), count in parts.sampled.items():
        noise = low if end == "upper" else high
        if noise < math.inf:
            mu = root_interval(1 / Fraction(noise) ** 2)
            steps.append(Step(mixtures.poisson(rate, side(mu)), count))
    for (upper, lower), count in parts.pairs.items():
        pair = upper if end == "upper" else lower
        if pair is not None:
            steps.append(Step(pair, count))
    return steps


class Capped:
    """A curve whose upper ends are also those of another that is known to lie above."""

    def __init__(self, curve: Any, cap: Any) -> None:
        self.curve, self.cap = curve, cap

    def infinite(self) -> float:
        """Upper bound of delta at infinite epsilon."""
        return float(min(self.curve.infinite(), self.cap.infinite()))

    def log_delta(self, epsilon: Array) -> tuple[Array, Array]:
        """Limits of ln delta, float[n] each."""
        low, high = self.curve.log_delta(epsilon)
        high = np.minimum(high, self.cap.log_delta(epsilon)[1])
        return np.minimum(low, high), high

    def epsilon(self, delta: float) -> Interval:
        """Smallest epsilon at `delta`."""
        return _capped(self.curve.epsilon(delta), self.cap.epsilon(delta))

    def tpr(self, fpr: float) -> Interval:
        """Best true-positive rate at `fpr`."""
        return _capped(self.curve.tpr(fpr), self.cap.tpr(fpr))

    def by_direction(self, delta: float) -> dict[str, Interval]:
        """Epsilon at `delta`, one interval per direction."""
        found, caps = self.curve.by_direction(delta), self.cap.by_direction(delta)
        return {name: _capped(found[name], caps[name]) for name in DIRECTIONS}


def _capped(found: Interval, cap: Interval) -> Interval:
    high = min(found.upper, cap.upper)
    return Interval(min(found.lower, high), high)


class WorstOf:
    """The pointwise worst of several curves: parallel composition of different events."""

    def __init__(self, curves: Sequence[Any]) -> None:
        self.curves = tuple(curves)

    def _most(self, ask: Callable[[Any], Interval]) -> Interval:
        found = [ask(curve) for curve in self.curves]
        return Interval(max(f.lower for f in found), max(f.upper for f in found))

    def log_delta(self, epsilon: Array) -> tuple[Array, Array]:
        """Limits of ln delta, float[n] each."""
        found = [curve.log_delta(epsilon) for curve in self.curves]
        return (
            np.max([low for low, _ in found], axis=0),
            np.max([high for _, high in found], axis=0),
        )

    def epsilon(self, delta: float) -> Interval:
        """Smallest epsilon at `delta`."""
        return self._most(lambda curve: curve.epsilon(delta))

    def tpr(self, fpr: float) -> Interval:
        """Best true-positive rate at `fpr`."""
        return self._most(lambda curve: curve.tpr(fpr))

    def by_direction(self, delta: float) -> dict[str, Interval]:
        """Epsilon at `delta`, one interval per direction."""
        found = [curve.by_direction(delta) for curve in self.curves]
        return {
            name: Interval(max(f[name].lower for f in found), max(f[name].upper for f in found))
            for name in DIRECTIONS
        }

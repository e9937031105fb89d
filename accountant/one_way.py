"""One direction of a privacy curve: tables of the engines, made where they are needed."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from .engine_steps import SHARPEST, End, gaussian_steps, is_exact, pair_steps
from .engines.contour import ContourTable, SubsampledStep
from .engines.rare import RareTable
from .flatten import Parts
from .mills import UNIT

Array = NDArray[np.float64]
Direction = Literal["remove", "add"]
DIRECTIONS: tuple[Direction, Direction] = ("remove", "add")
_WIDE = 5e-7  # in ln delta: wider than this and another table is made
_USEFUL = 1e-3  # in ln delta: only where the contour is wider, the lattice is asked too
_LATTICE_WIDE = 0.05  # the same where only the lattice answers, which is never so narrow
_LEAST_NOISE = 0.55  # below it a taken draw is seen at once, and the lattice does as well
_LEAST_STEPS = 12  # fewer are as well on the lattice
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
        self._sharp = squared > SHARPEST**2
        self._nothing = squared == math.inf or (self._sharp and bool(parts.pairs))
        self._exact = is_exact(parts)
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
        doubt = sum((step.count * Fraction(step.pair.ends_error) for step in steps), Fraction(0))
        most = float(exact)
        if Fraction(most) < exact:
            most = math.nextafter(most, math.inf)
        return max(0.0, float(exact - doubt) * (1.0 - 1e-12)), max(0.0, most)


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
        if 0.0 < self._most < math.inf:  # a pure event: nothing is beyond it
            at = np.unique(np.append(at, self._most))
        zoomed = False
        while True:
            leaks = self.log_delta_interval(at)[end] > goal
            first = int(np.argmin(leaks)) if not leaks.all() else len(at)
            if first == len(at):
                if zoomed:
                    # What is known of a point depends in its last digit on the points asked with
                    # it. The last one did not leak before; if that is asked, it still holds.
                    return float(at[-1])
                # beyond the largest finite loss only infinite ones are left
                return math.inf if up or at[-1] > self._most else float(at[-1])
            zoomed = True
            if first == 0:
                return float(at[0])
            low, high = float(at[first - 1]), float(at[first])
            between = np.linspace(low, high, 66)
            inside = (between[1:-1] > low) & (between[1:-1] < high)
            if high - low <= 1e-14 * high or not inside.any():
                return high if up else low
            at = np.concatenate([[low], between[1:-1][inside], [high]])


def _agree(low: Array, high: Array) -> None:
    room = 1e-10 + 1e-12 * np.abs(np.where(np.isfinite(high), high, 0.0))
    if np.any(low > high + room):
        raise ArithmeticError("two enclosures of delta exclude each other; please report this")


def _is_single(parts: Parts) -> bool:
    return not parts.sampled and parts.squared_mu[1] == 0 and list(parts.pairs.values()) == [1]

"""delta and epsilon of compositions of Poisson-subsampled and plain Gaussians, enclosed.

Exact accounting, not a bound of Renyi type: the two ends returned differ by rounding and by proven
discretisation errors only. One neighbouring record is added ("add": the record is absent under P)
or removed ("remove": present under P); add-remove privacy needs the worse of the two.

Which method answers: no steps; a single step or Gaussians only (`onestep`, closed form); anything
else (`contour_table`, a contour integral). Each proves its own error bounds.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from .. import check
from ..geometry import root_interval
from ..mills import UNIT
from ..solve import push
from .contour_plan import Term
from .contour_table import Composition, Direction, LineTable, root, table_for
from .onestep import OneStep
from .subsampled import Array

Pair = tuple[float, float]
_DIRECTIONS = ("remove", "add")
_WIDE = 1e-6  # in ln delta, and in epsilon: above this another position of the contour is tried
_MOST_WORK = 60_000_000  # no other position is tried after that many terms


@dataclass(frozen=True)
class SubsampledStep:
    """`count` releases, each from a Poisson sample, with Gaussian noise.

    Attributes:
        sampling_rate: chance q of a record to take part, in (0, 1].
        noise_multiplier: noise std / sensitivity, > 0, no unit.
        count: number of such releases, >= 1.
    """

    sampling_rate: float
    noise_multiplier: float
    count: int = 1

    def __post_init__(self) -> None:
        check.positive(sampling_rate=self.sampling_rate, noise_multiplier=self.noise_multiplier)
        check.probability(sampling_rate=self.sampling_rate)
        check.count(count=self.count)


class ContourTable:
    """The privacy curve of one composition in one direction, made for one target.

    Every question gets a valid enclosure; it is narrow around the target. A table at
    delta = 1e-5 serves the epsilons of a few decades of delta well.

    >>> table = ContourTable([SubsampledStep(0.01, 0.8, 1000)], direction="remove", delta=1e-5)
    >>> [round(end, 9) for end in table.epsilon_interval(1e-5)]
    [3.141014139, 3.14101414]
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
        """Give one target: `epsilon`, any real number, or `delta`, or `log_delta` < 0."""
        check.one_of(_DIRECTIONS, direction=direction)
        if delta is not None:
            check.open_probability(delta=delta)
            log_delta = math.log(delta)
        self._goal = {"epsilon": epsilon, "log_delta": log_delta}
        self._direction: Direction = direction
        sign = 1 if direction == "remove" else -1
        counts: dict[tuple[float, float], int] = {}
        for step in steps:
            key = (float(step.sampling_rate), float(step.noise_multiplier))
            counts[key] = counts.get(key, 0) + step.count
        terms = tuple(Term(*key, count) for key, count in counts.items() if key[0] < 1.0)
        squared = sum(
            (count / Fraction(noise) ** 2 for (rate, noise), count in counts.items() if rate == 1),
            Fraction(0),
        )
        self._composition = Composition(terms, squared)
        self._engines: list[OneStep | LineTable] = []
        if not terms and squared:
            self._engines = [OneStep(1.0, root_interval(squared)[:2], sign=sign)]
        elif not squared and sum(term.number for term in terms) == 1:
            rate, noise, _ = terms[0]
            mu = root_interval(1 / Fraction(noise) ** 2)
            self._engines = [OneStep(rate, mu[:2], sign=sign)]
        elif terms:
            self._engines = [self._table(0)]
        # Largest or smallest loss. For remove: L >= sum T ln(1-q), for add: L <= -that.
        edge = math.inf if squared else -math.fsum(t.number * math.log1p(-t.rate) for t in terms)
        self._most = edge * (1.0 + 4.0 * UNIT) if sign < 0 or not counts else math.inf
        self._least = -edge * (1.0 + 4.0 * UNIT) if sign > 0 else -math.inf

    def _table(self, choice: int) -> LineTable:
        with np.errstate(all="ignore"):  # what overflows ends as NaN or inf, hence as no bound
            return table_for(self._composition, self._direction, choice=choice, **self._goal)

    @property
    def is_exact(self) -> bool:
        """Whether a closed form answers."""
        return not any(isinstance(engine, LineTable) for engine in self._engines)

    def log_delta_interval(self, epsilon: Sequence[float] | Array) -> tuple[Array, Array]:
        """Lower and upper limits of ln delta at each epsilon, any real numbers, float[n]."""
        at = np.asarray(epsilon, dtype=np.float64)
        with np.errstate(all="ignore"):
            plain = np.where(at < 0.0, np.log(-np.expm1(np.minimum(at, 0.0))), -math.inf)
            slack = 8.0 * UNIT * (1.0 + np.where(np.isfinite(plain), np.abs(plain), 0.0))
            low, high = plain - slack, np.zeros_like(at)
            for engine in self._engines:
                found = engine.log_delta_interval(at)
                low = np.fmax(low, found[0])
                high = np.fmin(high, found[1])
            known = at >= self._most
            low, high = np.where(known, -math.inf, low), np.where(known, -math.inf, high)
            known = at <= self._least
            high = np.where(known, np.minimum(high, plain + slack), high)
            high = np.minimum(high, 0.0)
            excluded = low > np.where(np.isfinite(high), high + 1e-12 * np.abs(high), high)
        if excluded.any():
            raise ArithmeticError("two enclosures of delta exclude each other; please report this")
        return np.minimum(low, high), high

    def delta_interval(self, epsilon: float) -> Pair:
        """Enclosure of delta at any real epsilon."""
        low, high = self.log_delta_interval([epsilon])
        return _exp(float(low[0]), down=True), _exp(float(high[0]), down=False)

    def epsilon_interval(
        self, delta: float | None = None, *, log_delta: float | None = None
    ) -> Pair:
        """Enclosure of the smallest epsilon >= 0 at `delta`, or at e^log_delta."""
        if log_delta is None:
            check.probability(delta=delta)
            if delta == 0.0:
                return self._pure()
            value = math.log(delta) if delta is not None else 0.0
            goal = value * (1.0 + 4.0 * UNIT), value * (1.0 - 4.0 * UNIT)
        else:
            goal = log_delta, log_delta
        if goal[1] >= 0.0 or not self._engines or self._log(0.0)[1] <= goal[0]:
            return 0.0, 0.0
        point = self._guess(goal[0])
        low, high = self._log(point)
        gap = high - low if low > -math.inf else 1e-3
        slope = self._slope(point)
        step = 2.0 * (gap + 1e-14 * (1.0 - goal[0])) / slope + 4.0 * UNIT * point
        lower = _end(point, -step, lambda e: e <= 0.0 or self._log(e)[0] >= goal[1])
        upper = _end(point, step, lambda e: e >= 1e300 or self._log(e)[1] <= goal[0])
        upper = math.inf if upper >= 1e300 else upper
        return max(0.0, lower), max(0.0, min(upper, self._most))

    def _slope(self, epsilon: float) -> float:
        # size of the derivative of ln delta, a guess
        engine, step = self._engines[0], 1e-4 * epsilon + 1e-200
        if isinstance(engine, LineTable):
            with np.errstate(all="ignore"):
                found = -engine.guess(epsilon)[1]
        else:
            ends = self._log(epsilon)[1], self._log(epsilon + step)[1]
            found = (ends[0] - ends[1]) / step if ends[0] > ends[1] else math.nan
        return found if 1e-200 < found < 1e200 else 1.0

    def _pure(self) -> Pair:
        if not self._engines:
            return 0.0, 0.0
        return max(0.0, self._most * (1.0 - 16.0 * UNIT)), self._most

    def _log(self, epsilon: float) -> Pair:
        low, high = self.log_delta_interval([epsilon])
        return float(low[0]), float(high[0])

    def _guess(self, log_delta: float) -> float:
        engine = self._engines[0]
        if isinstance(engine, LineTable):
            with np.errstate(all="ignore"):
                found = root(engine, log_delta)
            return min(found, self._most) if 0.0 < found < math.inf else 0.0
        high = 1.0
        while self._log(high)[1] > log_delta and high < 1e300:
            high *= 2.0
        low = 0.0 if high == 1.0 else 0.5 * high
        for _ in range(1100):
            middle = 0.5 * (low + high)
            if not low < middle < high:
                break
            low, high = (middle, high) if self._log(middle)[1] > log_delta else (low, middle)
        return high

    def refine(self) -> bool:
        """Add another position of the contour; enclosures are intersected. False: no more."""
        spent = sum(table.work for table in self._engines if isinstance(table, LineTable))
        if self.is_exact or len(self._engines) >= 3 or spent > _MOST_WORK:
            return False
        self._engines.append(self._table(len(self._engines)))
        return True


def delta_interval(
    steps: Sequence[SubsampledStep], epsilon: float, *, direction: Direction
) -> Pair:
    """Enclosure of the smallest delta such that the composition is (epsilon, delta)-DP, one way.

    Args:
        steps: what was released.
        epsilon: any real number.
        direction: "remove" (P has the record) or "add".

    Raises:
        ParameterError: a number outside its range.

    >>> low, high = delta_interval([SubsampledStep(0.1, 1.2)], 0.15, direction="remove")
    >>> round(low, 11), round(high, 11)
    (0.0078255602, 0.0078255602)
    """
    check.non_negative(epsilon=abs(epsilon))
    if abs(epsilon) == math.inf:
        return (0.0, 0.0) if epsilon > 0.0 else (1.0, 1.0)
    table = ContourTable(steps, direction=direction, epsilon=float(epsilon))
    while True:
        low, high = table.log_delta_interval([epsilon])
        if high[0] == -math.inf or high[0] - low[0] <= _WIDE or not table.refine():
            return table.delta_interval(epsilon)


def epsilon_interval(
    steps: Sequence[SubsampledStep], delta: float, *, direction: Direction
) -> Pair:
    """Enclosure of the smallest epsilon >= 0 such that the composition is (epsilon, delta)-DP.

    Args:
        steps: what was released.
        delta: in [0, 1].
        direction: "remove" (P has the record) or "add".

    Raises:
        ParameterError: a number outside its range.

    >>> low, high = epsilon_interval([SubsampledStep(1.0, 4.0, 100)], 1e-5, direction="add")
    >>> round(low, 9), round(high, 9)
    (13.20671224, 13.20671224)
    """
    check.probability(delta=delta)
    # at delta 0 or 1 nothing is integrated; any target will do
    goal = {"delta": delta} if 0.0 < delta < 1.0 else {"delta": 1e-5}
    table = ContourTable(steps, direction=direction, **goal)
    while True:
        found = table.epsilon_interval(delta)
        if found[1] - found[0] <= _WIDE * (1.0 + found[0]) or not table.refine():
            return found


def _end(point: float, step: float, is_safe: Callable[[float], bool]) -> float:
    """A safe point beyond `point`: first in growing steps, then halving back."""
    inner, outer = point, push(point, step, is_safe)
    while abs(outer - point) > 1.5 * abs(step) and abs(outer) < 1e300:
        middle = 0.5 * (inner + outer)
        if abs(outer - inner) <= 0.05 * abs(outer - point) or middle in (inner, outer):
            break
        inner, outer = (inner, middle) if is_safe(middle) else (middle, outer)
    return outer


def _exp(log: float, *, down: bool) -> float:
    if log == -math.inf:
        return 0.0
    value = math.exp(log)
    if down:
        return max(0.0, value * (1.0 - 4.0 * UNIT) - 5e-324)
    return min(1.0, value * (1.0 + 4.0 * UNIT) + 5e-324)

"""delta and epsilon of subsampled Gaussians as theorems: ball arithmetic throughout.

`contour` bounds its errors too, but takes elementary functions in doubles to be within a few units
in the last place. Here each number is a ball that arb (python-flint) rounds outwards, from the
parameters, which are taken as exact doubles, to the two doubles returned.

A doubt about one of the two is settled by the other: they share the formulas of `contour_table`,
not the quadrature, the window or the arithmetic.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from .. import check
from . import contour
from .certify_exact import gaussian, one_step, to_double
from .certify_line import CertifiedLine
from .certify_moments import Ball, balls
from .certify_plan import Search
from .contour import Pair, SubsampledStep
from .contour_plan import Term
from .contour_table import Direction

_DIGITS = 25.0  # -ln of the relative error of delta that is aimed at
_WIDE = 1e-9  # relative width of delta above which it is tried again
_MOST_BITS = 1 << 14
_FAR = 1e9
_PLAIN = -45.0  # below it 1 - e^eps <= delta <= 1 is all that doubles can tell


class Certificate:
    """The privacy curve of one composition in one direction, for one target.

    Any epsilon gets a valid enclosure; it is narrow around the target.

    >>> steps = [SubsampledStep(0.01, 0.8, 1000)]
    >>> found = Certificate(steps, direction="remove", epsilon=3.141014139455)
    >>> [round(end * 1e5, 9) for end in found.delta(3.141014139455)]
    [1.0, 1.0]
    """

    def __init__(
        self,
        steps: Sequence[SubsampledStep],
        *,
        direction: Direction,
        epsilon: float,
        log_delta: float | None = None,
    ) -> None:
        """`epsilon` is the target; `log_delta`, if given, a guess of ln delta there."""
        check.one_of(("remove", "add"), direction=direction)
        self._flint, self._sign = balls(), 1 if direction == "remove" else -1
        counts: dict[tuple[float, float], int] = {}
        for step in steps:
            key = (float(step.sampling_rate), float(step.noise_multiplier))
            counts[key] = counts.get(key, 0) + int(step.count)
        self._terms = [Term(*key, count) for key, count in counts.items() if key[0] < 1.0]
        self._mu2 = sum(
            (count / Fraction(noise) ** 2 for (rate, noise), count in counts.items() if rate == 1),
            Fraction(0),
        )
        self._line: CertifiedLine | None = None
        total = sum(term.number for term in self._terms)
        self.is_exact = total == 0 or (total == 1 and not self._mu2)
        if not self.is_exact and _PLAIN < epsilon < math.inf:
            low, high = self.delta(epsilon)
            if low == high:
                return
            with np.errstate(all="ignore"):  # in guesses only
                self._aim(min(float(epsilon), _FAR), log_delta)

    def _aim(self, epsilon: float, log_delta: float | None) -> None:
        search = Search(self._terms, float(self._mu2), self._sign)
        size = search.log_delta(epsilon) if log_delta is None else log_delta
        digits = _DIGITS
        for _ in range(3):
            place = search.place(epsilon, size, digits)
            line = CertifiedLine(self._terms, self._mu2, self._sign, place, digits, epsilon)
            self._line = line
            lower, upper = line.delta(self._flint.arb(epsilon))
            if line.is_cut or not upper > 0 or upper - lower <= _WIDE * upper:
                break
            if lower > 0:
                size = float(lower.log().mid())
            digits += 8.0

    def delta(self, epsilon: float) -> Pair:
        """Enclosure of delta at any real epsilon."""
        if abs(epsilon) == math.inf:
            return (0.0, 0.0) if epsilon > 0.0 else (1.0, 1.0)
        if epsilon > _FAR:  # the curve falls
            return 0.0, self.delta(_FAR)[1]
        with self._flint.ctx.workprec(128 if self._line is None else self._line.bits):
            lower, upper = self._trivial(epsilon)
            found = self._exact(epsilon) if self.is_exact else None
            if self._line is not None:
                found = self._line.delta(self._flint.arb(epsilon))
            if found is not None:
                lower = found[0] if found[0] > lower else lower
                upper = found[1] if found[1] < upper else upper
            return max(0.0, to_double(lower, up=False)), min(1.0, to_double(upper, up=True))

    def most(self) -> float:
        """Upper bound of the largest loss: epsilon at delta = 0."""
        with self._flint.ctx.workprec(128):
            if not self._terms and not self._mu2:
                return 0.0
            if self._mu2 or self._sign > 0:
                return math.inf
            return to_double(self._edge().upper(), up=True)

    def least_most(self) -> float:
        """Lower bound of the largest loss."""
        with self._flint.ctx.workprec(128):
            most = self.most()
            return most if most in (0.0, math.inf) else to_double(self._edge().lower(), up=False)

    def _edge(self) -> Ball:
        # -ln(1-q), summed over all steps
        arb = self._flint.arb
        return sum((-(1 - arb(t.rate)).log() * t.number for t in self._terms), arb(0))

    def _trivial(self, epsilon: float) -> tuple[Ball, Ball]:
        # 1 - e^eps <= delta <= 1; equality with one of them where the loss is bounded
        arb = self._flint.arb
        plain = 1 - arb(epsilon).exp()
        lower = plain.lower() if plain > 0 else arb(0)
        if not self._terms and not self._mu2:
            return lower, plain.upper() if epsilon < 0.0 else arb(0)
        if not self._mu2 and self._sign > 0 and arb(epsilon) <= -self._edge():
            return lower, plain.upper()
        if not self._mu2 and self._sign < 0 and arb(epsilon) >= self._edge():
            return arb(0), arb(0)
        if epsilon >= 0.0 and not self._mu2:
            # delta <= delta(0), at most the chance that the record is drawn at all
            return lower, (1 - (-self._edge()).exp()).upper()
        return lower, arb(1)

    def _exact(self, epsilon: float) -> tuple[Ball, Ball] | None:
        if not self._terms and not self._mu2:
            return None
        bits = 128
        while True:
            with self._flint.ctx.workprec(bits):
                found = gaussian(self._flint, self._mu2, epsilon)
                if self._terms:
                    rate, noise, _ = self._terms[0]
                    found = one_step(self._flint, rate, noise, self._sign, epsilon)
                if bits >= _MOST_BITS or found.rad() <= abs(found.mid()) * 1e-18:
                    return found.lower(), found.upper()
            bits *= 2


def certified_delta(
    steps: Sequence[SubsampledStep], epsilon: float, *, direction: Direction
) -> Pair:
    """Proven enclosure of the smallest delta such that (epsilon, delta)-DP holds, one way.

    Args:
        steps: what was released; the parameters are taken as exact doubles.
        epsilon: any real number.
        direction: "remove" (P has the record) or "add".

    Raises:
        ConfigError: python-flint is not installed.
        ParameterError: a number outside its range.

    >>> low, high = certified_delta([SubsampledStep(0.1, 1.2)], 0.15, direction="remove")
    >>> round(low, 14), round(high, 14)
    (0.00782556020359, 0.00782556020359)
    """
    check.non_negative(epsilon=abs(epsilon))
    at = float(epsilon)
    return Certificate(steps, direction=direction, epsilon=at).delta(at)


def certified_epsilon(
    steps: Sequence[SubsampledStep],
    delta: float,
    *,
    direction: Direction,
    guess: Pair | None = None,
) -> Pair:
    """Proven enclosure of the smallest epsilon >= 0 such that (epsilon, delta)-DP holds, one way.

    Proven are delta(upper) <= delta, and delta(lower) >= delta or lower = 0.

    Args:
        steps: what was released; the parameters are taken as exact doubles.
        delta: in [0, 1], exact.
        direction: "remove" (P has the record) or "add".
        guess: where to look, [lower, upper]; from `contour.epsilon_interval` if not given. A bad
            guess costs time, never the proof.

    Raises:
        ConfigError: python-flint is not installed.
        ParameterError: a number outside its range.

    >>> steps = [SubsampledStep(0.01, 0.8, 1000)]
    >>> low, high = certified_epsilon(steps, 1e-5, direction="remove")
    >>> round(low, 10), round(high, 10), high - low < 1e-11
    (3.1410141395, 3.1410141395, True)
    """
    check.probability(delta=delta)
    goal = float(delta)
    table = Certificate(steps, direction=direction, epsilon=math.inf)
    if table.delta(0.0)[1] <= goal:
        return 0.0, 0.0
    if goal == 0.0:
        return table.least_most(), table.most()
    if guess is None:
        guess = contour.epsilon_interval(steps, goal, direction=direction)
    low, high = max(0.0, float(guess[0])), max(0.0, float(guess[1]))
    start = low if high == math.inf else 0.5 * low + 0.5 * high
    log = math.log(goal)
    table = Certificate(steps, direction=direction, epsilon=start, log_delta=log)
    if start == 0.0 and table.delta(0.0)[1] <= goal:
        return 0.0, 0.0
    point, step = _root(table, goal, start)
    lower = _widen(point, -step, lambda at: at <= 0.0 or table.delta(at)[0] >= goal)
    upper = _widen(point, step, lambda at: table.delta(at)[1] <= goal)
    return max(0.0, lower), max(0.0, min(upper, table.most()))


def _root(table: Certificate, goal: float, start: float) -> Pair:
    # (epsilon, how uncertain it is): secant steps in ln delta; a guess
    at, step, slope = start, 1e-10 * start + 1e-15, math.nan
    found: list[Pair] = []
    for _ in range(12):
        low, high = table.delta(at)
        if not 0.0 < low <= high < 2.0 * low:
            break
        log = math.log(0.5 * low + 0.5 * high) - math.log(goal)
        slope = (found[-1][1] - log) / (at - found[-1][0]) if found else 0.0
        found.append((at, log))
        if len(found) == 1:
            at += 1e-6 * at + 1e-9
            continue
        if not 1e-100 < slope < 1e100:
            break
        step = (2.0 * (high - low) / low + 1e-15) / slope + 4e-16 * at
        move = log / slope
        if abs(move) <= step:
            return max(0.0, at), step
        at = max(0.0, at + move)
        if at == found[-1][0]:
            break
    return start, max(step, 1e-10 * start + 1e-15)


def _widen(start: float, step: float, is_proven: Callable[[float], bool]) -> float:
    while True:
        at = start + step
        if at > 1e300:
            return math.inf
        if is_proven(at):
            return at
        step *= 2.0

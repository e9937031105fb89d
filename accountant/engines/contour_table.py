"""Contour integral for compositions of Poisson-subsampled Gaussians, with every error bounded.

With L the privacy loss of all steps together and K(z) = ln E_P[e^(zL)], for any lam > 0 and any
real epsilon

    delta(epsilon) = E_P (1 - e^(epsilon - L))_+
                   = (1/2 pi) int e^(K(z) - z epsilon) / (z (z+1)) du,    z = lam + iu,

since the payoff has the Laplace transform 1/(z (z+1)). The trapezoid rule of period W = 2 pi/step
gives, by Poisson summation, sum_j e^(j lam W) delta(epsilon + j W) over all integers j: never less
than delta(epsilon), and what it has in excess is bounded by Chernoff (j > 0) and by delta <= 1
(j < 0). The rest of the error: nodes left out (`contour_tail`), the moments (`subsampled`), and the
event that a step leaves the window, which can add its probability to delta and take nothing away.

Every number handed out is one end of an enclosure.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..mills import UNIT
from .contour_plan import Plan, Term, plan_for
from .contour_tail import Line, tail
from .subsampled import ROW, Array, Kernel, Rule, log_outside

Direction = Literal["remove", "add"]
Complex = NDArray[np.complex128]
_MOST_WORK = 40_000_000  # nodes of z times nodes of x


class Composition(NamedTuple):
    """What `LineTable` works on: distinct subsampled terms, and the Gaussians as one mu^2.

    With `cuts`, one for each term, P is restricted to the event that no draw of a term is above its
    cut; delta is then E_P of the payoff on that event, and all of the above holds unchanged, since
    nothing there needs a total mass of 1.
    """

    terms: tuple[Term, ...]
    squared_mu: Fraction
    cuts: tuple[float, ...] = ()


class LineTable:
    """K on one vertical line, for one composition and direction; serves any number of epsilons.

    Every epsilon gets a valid enclosure; it is narrow around the target it was built for.

    Attributes:
        plan: where the line is.
        nodes: number of nodes on it.
        work: nodes of z times nodes of x.
    """

    def __init__(self, composition: Composition, direction: Direction, plan: Plan) -> None:
        # the bound of the excess needs positions to the right of the line
        plan = plan._replace(beyond=tuple(at for at in plan.beyond if at > 1.0001 * plan.lam))
        self.plan = plan
        sign = 1 if direction == "remove" else -1
        terms, mu2 = composition.terms, float(composition.squared_mu)
        lam, step = plan.lam, 2.0 * math.pi / plan.period
        self._step, total = step, max(1, sum(term.number for term in terms))
        self._log_charge = math.log(total) + log_outside(plan.reach) + 1e-9
        cuts = composition.cuts or (math.inf,) * len(terms)
        kernels = [
            Kernel(term.rate, term.noise, sign=sign, reach=plan.reach, cut=cut)
            for term, cut in zip(terms, cuts, strict=True)
        ]
        self._beyond = [Chernoff(mu2, at) for at in (lam, *plan.beyond)]
        lines, grids = [], []
        for term, kernel in zip(terms, kernels, strict=True):
            power = kernel.power(lam)
            rough = kernel.panels(power, 2.0 * ROW * step, -40.0 - math.log(total))
            size = kernel.real(kernel.rule(rough), rough, lam)
            budget = min(size[0], 600.0) - 10.0 - plan.digits - math.log(total)
            edges = kernel.panels(power, 2.0 * ROW * step, budget)
            rule = kernel.rule(edges)
            low, high = kernel.real(rule, edges, lam)
            # a lower bound of ln E, with room for the second order
            spread = high - low if high - low < 0.05 else math.inf
            proven = low - 1.1 * spread - 2.0 * kernel.outside * math.exp(-min(low, 0.0))
            lines.append(Line(kernel, term.number, lam, proven))
            grids.append(_Grid(kernel, term.number, lam, step, budget, edges, rule))
            for chernoff in self._beyond:
                chernoff.add(term.number, kernel.real(rule, edges, chernoff.lam)[1])
        self._fill(grids, mu2)
        self.nodes = len(self._u)
        goal = plan.log_delta - (self._k0 - lam * plan.epsilon) - plan.digits
        start = (self.nodes - 0.5) * step
        found, error = (float(end[0]) for end in self._sums(np.array([plan.epsilon])))
        # no usable period, or a sum that is lost to rounding: nothing is proven by this table
        self._tail = math.inf
        if 0.0 < start < math.inf and step > 0.0 and error < abs(found):
            self._tail = tail(lines, mu2, start=start, step=step, log_goal=goal) * (1.0 + 1e-9)

    def _fill(self, grids: Sequence["_Grid"], mu2: float) -> None:
        lam, plan = self.plan.lam, self.plan
        kept: list[tuple[Any, ...]] = []
        first, count, work = 0, 2, 0
        while True:
            u = self._step * np.arange(first * ROW, (first + count) * ROW)
            z = lam + 1j * u
            log = 0.5 * mu2 * z * (z + 1.0)
            rounding, ceiling = (16.0 + len(grids)) * UNIT * np.abs(log), log.real.copy()
            for grid in grids:
                grid.sums = 4.0 + len(grids)
                log, rounding, ceiling = grid.add(first, count, log, rounding, ceiling)
            if first == 0:
                self._k0 = float(log[0].real)
            kernel = -np.log(np.abs(z)) - np.log(np.abs(z + 1.0))
            log = log - self._k0 - 1j * (np.angle(z) + np.angle(z + 1.0))
            kept.append((u, log + kernel, rounding + 32.0 * UNIT, ceiling - self._k0 + kernel))
            excess = self._k0 - lam * plan.epsilon - plan.log_delta
            done = float(log.real[-ROW:].max()) - math.log(u[-1] + lam) + excess < -plan.digits
            work += sum(grid.work for grid in grids) * count * ROW
            first, count = first + count, 1 + (first + count) // 2
            if done or work > _MOST_WORK:
                break
        self.work = work
        self._u, log, rounding, ceiling = (np.concatenate(part) for part in zip(*kept, strict=True))
        small = log.real - log.real.max()
        # none if K overflowed: then the sum is NaN, hence no bound, and Chernoff remains
        kept_nodes = np.flatnonzero(small > small[0] - 2.0 * plan.digits - excess)
        last = int(kept_nodes[-1]) + 1 if len(kept_nodes) else 1
        keep = slice(0, min(len(small), max(last, 32)))
        self._u, log = self._u[keep], log[keep]
        self._g = np.exp(log)
        self._g[0] *= 0.5
        size = np.abs(self._g)
        # where ln E has no useful error bound, twice the largest possible |g|
        error = size * np.expm1(np.minimum(rounding[keep], 0.5))
        bad = rounding[keep] > 0.5
        error[bad] = 2.0 * np.exp(ceiling[keep][bad])
        self._error = float(error.sum()) + (len(size) + 32.0) * UNIT * float(size.sum())
        self._drift = 6.0 * UNIT * float(size @ self._u)

    def _sums(self, epsilon: Array) -> tuple[Array, Array]:
        # the sum, and an upper bound of its error without the tail, in units of e^(K - lam eps)
        # e^(-i eps u) is a product of a row's start and a place in it: far fewer exponentials
        rows = -(-len(self._g) // ROW)
        table = np.zeros(rows * ROW, dtype=np.complex128)
        table[: len(self._g)] = self._g
        angle = -1j * self._step * epsilon[:, None]
        places = np.exp(angle * np.arange(ROW)) @ table.reshape(rows, ROW).T
        value = (places * np.exp(angle * (ROW * np.arange(rows)))).sum(axis=1).real
        value = self._step / math.pi * value
        error = self._error + self._drift * np.abs(epsilon)
        return value, self._step / math.pi * 1.0001 * error

    def guess(self, epsilon: float) -> tuple[float, float]:
        """(ln delta, its slope), no bounds; for root finding."""
        z = self.plan.lam + 1j * self._u
        turned = np.exp(-1j * epsilon * self._u) * self._g
        value = float(turned.real.sum())
        if not value * self._step > 0.0:
            return -math.inf, -self.plan.lam
        log = math.log(value * self._step / math.pi) + self._k0 - self.plan.lam * epsilon
        return log, -float((turned * z).real.sum()) / value

    def log_delta_interval(self, epsilon: Array) -> tuple[Array, Array]:
        """Lower and upper limits of ln delta at any real epsilon, float[n] each.

        The lower limit is -inf where nothing better than 0 is proven.
        """
        lam, period = self.plan.lam, self.plan.period
        scale = self._k0 - lam * epsilon
        slack = 8.0 * UNIT * (abs(self._k0) + np.abs(lam * epsilon) + 8.0)
        value, error = self._sums(epsilon)
        error = error + self._tail
        upper = scale + slack + _log(value + error)
        for chernoff in self._beyond:
            upper = np.minimum(upper, chernoff.log_delta(epsilon))
        upper = np.minimum(np.logaddexp(upper, self._log_charge) + 8.0 * UNIT, 0.0)
        wrapped = -lam * period - scale + slack
        excess = np.exp(np.minimum(wrapped, 600.0)) / -math.expm1(-lam * period)
        right = np.full_like(epsilon, math.inf)
        for chernoff in self._beyond[1:]:
            gap = (chernoff.lam - lam) * period
            log = chernoff.log_delta(epsilon) - gap - scale + slack
            right = np.minimum(right, np.exp(np.minimum(log, 600.0)) / -math.expm1(-gap))
        lower = scale - slack + _log(value - error - 1.0001 * (excess + right))
        return np.minimum(lower, upper), upper


def table_for(
    composition: Composition,
    direction: Direction,
    *,
    epsilon: float | None = None,
    log_delta: float | None = None,
    choice: int = 0,
) -> LineTable:
    """The table for one target; built again where the saddle point misjudged it.

    That happens where a single rare draw makes up most of delta (tiny sampling rates).
    """
    terms, mu2, cuts = composition.terms, float(composition.squared_mu), composition.cuts
    sign = 1 if direction == "remove" else -1

    def planned(at: float | None, size: float | None) -> Plan:
        return plan_for(terms, mu2, sign, epsilon=at, log_delta=size, choice=choice, cuts=cuts)

    plan = planned(epsilon, log_delta)
    table = LineTable(composition, direction, plan)
    for _ in range(2):
        if log_delta is not None:
            at, size = max(0.0, root(table, log_delta)), log_delta
            miss = abs(table.guess(plan.epsilon)[0] - plan.log_delta)
            miss = max(miss, abs(at - plan.epsilon) * plan.lam)
        else:
            at = plan.epsilon
            size = table.guess(at)[0]
            miss = abs(size - plan.log_delta)
        if not 2.0 < miss < math.inf:
            break
        plan = planned(at, size)
        table = LineTable(composition, direction, plan)
    return table


def root(table: LineTable, log_delta: float) -> float:
    """The epsilon at which the table's sum gives delta; a guess, nothing proven."""
    at = table.plan.epsilon
    low, high = -math.inf, math.inf
    for _ in range(60):
        value, slope = table.guess(at)
        if value > log_delta:
            low = max(low, at)
        else:
            high = min(high, at)
        step = (log_delta - value) / slope if math.isfinite(value) and slope < 0.0 else math.nan
        new = at + max(-table.plan.period, min(table.plan.period, step))
        if not low < new < high:
            if math.isinf(low) or math.isinf(high):
                new = at - 1.0 / table.plan.lam if math.isinf(low) else at + 1.0 / table.plan.lam
            else:
                new = 0.5 * (low + high)
        if abs(new - at) <= 1e-15 * abs(at) or new == at:
            return new
        at = new
    return at


class _Grid:
    """One term's part of the table: its rule grows finer as u grows."""

    def __init__(
        self,
        kernel: Kernel,
        count: int,
        lam: float,
        step: float,
        budget: float,
        edges: Array,
        rule: Rule,
    ) -> None:
        self._kernel, self._count, self._lam, self._step = kernel, count, lam, step
        self._budget, self._edges, self._rule = budget, edges, rule
        self.sums = 4.0  # roundings that each part of K goes through

    @property
    def work(self) -> int:
        """Number of nodes of x."""
        return len(self._rule.x)

    def add(
        self, first: int, count: int, log: Complex, rounding: Array, ceiling: Array
    ) -> tuple[Complex, Array, Array]:
        """K, the bound of its error, and the largest possible Re K, with this term added."""
        kernel, power = self._kernel, self._kernel.power(self._lam)
        top = (first + count) * ROW * self._step
        if first > 0:
            self._edges = kernel.panels(power, top, self._budget)
            self._rule = kernel.rule(self._edges)
        found = kernel.rows(
            self._rule, self._edges, self._lam, step=self._step, first=first, count=count
        )
        # |ln(1 + e)| <= 1.4 |e| for |e| <= 1/2
        relative = found.error / np.maximum(found.size, 1e-300)
        share = np.where(relative <= 0.5, 1.4 * relative, math.inf)
        rounding = rounding + self._count * (
            share + found.rounding + self.sums * UNIT * np.abs(found.log)
        )
        ceiling = ceiling + self._count * np.log(found.size + found.error)
        real = np.maximum(found.log.real, -1e4)
        return log + self._count * (real + 1j * found.log.imag), rounding, ceiling


class Chernoff:
    """ln delta <= ln c + K(lam) - lam epsilon, with c = lam^lam/(1+lam)^(1+lam)."""

    def __init__(self, mu2: float, lam: float) -> None:
        self.lam, self._mu2, self._k = lam, mu2, 0.0

    def add(self, count: int, log_upper: float) -> None:
        """Take `count` steps into account, each with ln E(lam) <= log_upper."""
        self._k += count * log_upper + 4.0 * UNIT * abs(count * log_upper)

    def log_delta(self, epsilon: Array) -> Array:
        """Upper bound of ln delta inside the window."""
        lam = self.lam
        k = self._k + 0.5 * self._mu2 * lam * (lam + 1.0) * (1.0 + 16.0 * UNIT)
        log_c = -math.log1p(lam) - lam * math.log1p(1.0 / lam)
        slack = 16.0 * UNIT * (1.0 + abs(k) + np.abs(lam * epsilon) + abs(log_c))
        return np.asarray(k + log_c - lam * epsilon + slack)


def _log(value: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.maximum(value, 0.0)))

"""The part of delta in which no draw is large, and a bound far beyond; see `rare`."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import gammaln, ndtr

from ..mills import UNIT
from .contour_plan import Term, reach_for
from .contour_table import Chernoff, Composition, LineTable, table_for
from .rare_draws import log_mass, total_of
from .subsampled import Array, Kernel, log_outside

_MOST_TABLES = 4  # for each curve


class SmallPart:
    """D(e) = E_P (1 - e^(e - L))_+ on the event that no draw is above its cut; any real e.

    For e far below 0 it is plain(e) = P - e^e Q but for little, with the masses of that event, and
    the excess over it is convex in y = e^e and 0 at y = 0: known at one e, it is bounded by
    the same multiple of y at all smaller e. It is 0 where no loss is below e.
    """

    def __init__(self, composition: Composition) -> None:
        self._composition = composition
        terms, cuts = composition.terms, composition.cuts
        self._tables: list[LineTable] = []
        self._chernoff: list[Chernoff] = []
        self._log_charge, self._largest = math.inf, 0.0
        # where the excess is known, ascending, and ln of the smallest multiple from there on
        self._at = self._known = self._rate = np.zeros(0)
        self._least = -math.inf if composition.squared_mu else 0.0
        self._most = math.inf if composition.squared_mu else 0.0
        lost = np.zeros(4)  # lower and upper limits of -ln of the masses of P and Q
        for term, cut in zip(terms, cuts, strict=True):
            kernel = Kernel(term.rate, term.noise, sign=1, reach=10.0)
            self._least += term.number * math.log1p(-term.rate) * (1.0 + 8.0 * UNIT)
            level = float(kernel.log_ratio(np.array([cut]))[0])
            t = (cut + 1.0) / term.noise**2
            level += UNIT * (16.0 * level + 16.0 * min(1.0, t) * t)
            self._largest = max(self._largest, level)
            self._most += term.number * level * (1.0 + 8.0 * UNIT)
            p, q = log_mass(term, cut), log_mass(term._replace(rate=0.0), cut)
            masses = np.exp(np.array([*p, *q])) * (1.0 + 8.0 * UNIT * np.array([-1, 1, -1, 1]))
            lost += -np.log1p(-masses) * term.number
        room = 1.0 + 64.0 * UNIT * np.array([-1.0, 1.0, -1.0, 1.0])
        self._lost = -np.expm1(-lost * room) * room
        self._one = terms[0] if not composition.squared_mu and total_of(terms) == 1 else None
        self._is_simple = self._one is not None or not (terms or composition.squared_mu)

    def add(self, epsilon: float) -> None:
        """One more table, made for this epsilon."""
        if self._is_simple or epsilon >= self._most or len(self._tables) >= _MOST_TABLES:
            return
        try:
            table = table_for(self._composition, "remove", epsilon=epsilon)
        except (ArithmeticError, ValueError):
            return  # no plan: what is proven without it remains
        self._tables.append(table)
        at = -np.geomspace(300.0, 0.03, 40) / max(table.plan.lam, 1e-3)
        with np.errstate(all="ignore"):
            high = np.exp(table.log_delta_interval(at)[1]) * (1.0 + 8.0 * UNIT)
            excess = high - self._plain(at)[0]
            excess = (excess + 4.0 * UNIT * np.abs(high)) * (1.0 + 4.0 * UNIT)
            rate = np.log(np.maximum(excess, 1e-300)) - at
        known = np.isfinite(rate)
        if known.any():
            at, rate = np.append(self._at, at[known]), np.append(self._known, rate[known])
            order = np.argsort(at)
            self._at, self._known = at[order], rate[order]
            self._rate = np.minimum.accumulate(self._known[::-1])[::-1]

    def bound(self, size: float) -> None:
        """Chernoff bounds, for where ln D is a good deal below `size` and no table is needed."""
        mu2, terms = float(self._composition.squared_mu), self._composition.terms
        if self._is_simple or not terms or self._chernoff:
            return
        reach = reach_for(size, total_of(terms), 30.0)
        self._log_charge = math.log(total_of(terms)) + log_outside(reach) + 1e-9
        base = max(1.0, -size) / max(self._largest, 1e-300)
        self._chernoff = [Chernoff(mu2, float(at)) for at in base * np.geomspace(0.02, 20.0, 24)]
        for term, cut in zip(terms, self._composition.cuts, strict=True):
            kernel = Kernel(term.rate, term.noise, sign=1, reach=reach, cut=cut)
            edges = np.linspace(kernel.low, kernel.high, 121)
            rule = kernel.rule(edges)
            for chernoff in self._chernoff:
                chernoff.add(term.number, kernel.real(rule, edges, chernoff.lam)[1])

    def _plain(self, e: Array) -> tuple[Array, Array]:
        y, rest = np.exp(np.minimum(e, 700.0)), -np.expm1(np.minimum(e, 700.0))
        p_low, p_high, q_low, q_high = self._lost
        slack = 8.0 * UNIT * (np.abs(rest) + p_high + y * q_high)
        return rest - p_high + y * q_low - slack, rest - p_low + y * q_high + slack

    def guess(self, epsilon: float) -> float:
        """About ln D."""
        low, high = self.log_interval(np.array([epsilon]))
        return float(low[0] if low[0] > high[0] - 5.0 else -math.inf)

    def log_interval(self, e: Array) -> tuple[Array, Array]:
        """Limits of ln D."""
        low, high = np.full(e.shape, -math.inf), np.zeros(e.shape)
        for table in self._tables:
            found = table.log_delta_interval(e)
            low, high = np.fmax(low, found[0]), np.fmin(high, found[1])
        for chernoff in self._chernoff:
            found_high = np.logaddexp(chernoff.log_delta(e), self._log_charge) + 8.0 * UNIT
            high = np.fmin(high, found_high)
        high = np.where(e >= self._most, -math.inf, high)
        plain = self._linear(e)
        low = np.fmax(low, np.log(np.maximum(plain[0], 0.0)) - 4.0 * UNIT)
        above = np.log(np.maximum(plain[1], 0.0))
        return low, np.fmin(high, above + 4.0 * UNIT * (1.0 + np.abs(above)))

    def interval(self, e: Array) -> tuple[Array, Array]:
        """Limits of D, in [0, 1]."""
        low, high = self._linear(e)
        for table in self._tables:
            found = table.log_delta_interval(e)
            size = np.exp(found[1]) * (1.0 + 8.0 * UNIT) + 1e-300
            low = np.fmax(low, np.exp(found[0]) * (1.0 - 8.0 * UNIT) - 1e-300)
            high = np.fmin(high, size)
        return np.maximum(low, 0.0), np.clip(high, 0.0, 1.0)

    def _linear(self, e: Array) -> tuple[Array, Array]:
        # what is known without tables
        if self._one is not None:
            return self._single(e)
        low, most = self._plain(e)
        excess = np.where(e <= self._least, 0.0, math.inf)
        if len(self._at):
            places = np.minimum(np.searchsorted(self._at, e), len(self._at) - 1)
            over = np.exp(np.minimum(e + self._rate[places], 600.0)) * (1.0 + 1e-12)
            excess = np.where((e <= self._at[-1]) & (e > self._least), over, excess)
        high = (most + excess) * (1.0 + np.sign(most + excess) * 4.0 * UNIT)
        high = np.where(e >= self._most, 0.0, np.fmin(high, 1.0))
        return np.maximum(low, 0.0), np.maximum(high, 0.0)

    def _single(self, e: Array) -> tuple[Array, Array]:
        # one step: int n (r - y) from x* to c, with r - y = q (e^t - 1) - (y - 1)
        assert self._one is not None
        (rate, s, _), cut = self._one, self._composition.cuts[0]
        above = np.expm1(np.minimum(e, 700.0))
        t = np.log1p(np.maximum(above / rate, -1.0))
        start = np.minimum(0.5 + s * s * t, cut)
        none, some = 0.0, 0.0
        error = np.zeros(e.shape)
        for x, sign in ((start, 1.0), (np.full(e.shape, cut), -1.0)):
            z = np.maximum(x / s, 0.0) + 1.0 / s
            plain, moved = ndtr(-x / s), ndtr(-(x - 1.0) / s)
            none, some = none + sign * plain, some + sign * moved
            size = rate * (plain + moved) + np.abs(above) * plain
            error = error + UNIT * (64.0 + 16.0 * z * z) * size
        value = rate * (some - none) - above * none
        # x* is off a little: r - y is `miss` there, not 0, on a stretch that has little mass
        t = np.clip(t, -600.0, 600.0)
        moved = rate * np.exp(t)
        miss = 16.0 * UNIT * (np.abs(above) + moved * (1.0 + s**-2.0 + np.abs(t)))
        stretch = s * miss / np.maximum(moved, 1e-300)
        mass = stretch * np.exp(-0.5 * np.maximum(start / s - 1e-3, 0.0) ** 2)
        high = value + error + miss * np.where(stretch < 1e-3, mass, 1.0)
        high = np.where(e >= self._most, 0.0, np.maximum(high, 0.0) + 1e-300)
        return np.maximum(value - error, 0.0), np.fmin(high, 1.0)


class Moments:
    """ln delta <= min over lam of K(lam) - lam epsilon + ln(lam^lam/(1+lam)^(1+lam))."""

    def __init__(self, terms: Sequence[Term], squared_mu: float) -> None:
        most = 64 if len(terms) > 20 else 2048
        lam = np.unique(np.round(np.geomspace(1.0, most, 40)))
        log = -np.log1p(lam) - lam * np.log1p(1.0 / lam)
        k = 0.5 * squared_mu * lam * (lam + 1.0) * (1.0 + 16.0 * UNIT)
        for rate, noise, count in terms:
            found = np.array([_log_moment(rate, noise, int(at) + 1) for at in lam])
            k = k + count * found * (1.0 + 8.0 * UNIT)
        self._lam, self._log = lam, k + log + 16.0 * UNIT * (np.abs(k) + np.abs(log))

    def log_delta(self, epsilon: float) -> float:
        """Upper bound of ln delta."""
        move = self._lam * epsilon
        found = self._log - move + 4.0 * UNIT * (np.abs(self._log) + np.abs(move))
        return min(0.0, float(np.fmin.reduce(found)))


def _log_moment(rate: float, noise: float, order: int) -> float:
    """Upper bound of ln E_Q[r^order], a binomial sum of positive terms."""
    k = np.arange(order + 1.0)
    parts = [
        np.full(order + 1, gammaln(order + 1.0)),
        -gammaln(k + 1.0),
        -gammaln(order - k + 1.0),
        (order - k) * math.log1p(-rate),
        k * math.log(rate),
        0.5 * k * (k - 1.0) / noise**2,
    ]
    size = np.abs(np.array(parts)).sum(axis=0)
    log = np.sum(parts, axis=0) + 32.0 * UNIT * size
    return float(np.logaddexp.reduce(log)) + (8.0 * order + 32.0) * UNIT

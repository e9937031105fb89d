"""The part of delta in which exactly one draw is large; see `rare` for the derivation."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..mills import UNIT
from ..quadrature import gauss_legendre
from .contour_plan import Term
from .rare_draws import draw_of, log_mass, log_masses, log_or_less, quantile
from .rare_small import SmallPart
from .subsampled import Array, Kernel

_MOST_CELLS = 20_000
_POINTS = 6  # Gauss-Legendre nodes a cell
_RHO = 32.0  # of the ellipse that bounds the quadrature error


class Cells(NamedTuple):
    """Limits of the one-draw sum, in logarithms and as numbers, and where a table was not enough.

    `doubt` is what tables add to the width; `where` the argument of D_i with the largest share.
    """

    log_low: float
    log_high: float
    high: float
    doubt: float
    where: float


class Jump:
    """T int_{x > c} p(x) D(eps - ln r(x)) dx for one kind of step."""

    def __init__(self, term: Term, cut: float, small: "SmallPart") -> None:
        self.term, self.cut, self.small = term, cut, small
        self._kernel = Kernel(term.rate, term.noise, sign=1, reach=10.0)
        # densities are held in units of n(c)
        square = 0.5 * (cut / term.noise) ** 2
        self._scale = math.log(term.number) - square - math.log(term.noise) - 0.9189385332046727
        self._scale_error = UNIT * (16.0 + 8.0 * square)

    def integral(self, epsilon: float, accuracy: float, log_rest: float) -> Cells:
        """Enclosure; draws of which all have together a mass below e^log_rest are not looked at."""
        term = self.term
        last = quantile(term, log_rest - math.log(term.number), self.cut)
        width = min(term.noise, 1.5 * term.noise**2 / last)
        count = min(400, max(24, math.ceil((last - self.cut) / width)))
        edges = np.linspace(self.cut, last, count + 1)
        centre = draw_of(term, epsilon) if epsilon > 0.0 else self.cut
        edges = np.union1d(edges, np.clip(centre, self.cut, last))
        a, b = edges[:-1], edges[1:]
        low = high = doubt = 0.0
        worst, where, used = -1.0, 0.0, 0
        for attempt in range(8):
            used += len(a)
            below, above, unsure, at = self._cells(a, b, epsilon)
            about = low + float(below.sum())
            gap = above - below
            wanted = np.maximum(0.7 * accuracy * below, 0.3 * accuracy * about / 500.0)
            fine = (gap <= wanted) | (gap <= 2.0 * unsure) | (b - a <= 1e-13 * b)
            if attempt == 7 or used > _MOST_CELLS:
                fine[:] = True
            low, high = low + float(below[fine].sum()), high + float(above[fine].sum())
            doubt += float(unsure[fine].sum())
            if fine.any():
                index = int(np.argmax(np.where(fine, unsure, -1.0)))
                if unsure[index] > worst:
                    worst, where = float(unsure[index]), float(at[index])
            if fine.all():
                break
            parts = np.sqrt(np.nan_to_num(gap[~fine] / np.maximum(wanted[~fine], 1e-300)))
            parts = np.minimum(np.ceil(1.2 * parts), 16.0 if attempt == 0 else 200.0)
            room = max(2.0, (_MOST_CELLS - used) / max(1, len(parts)))
            a, b = _split(a[~fine], b[~fine], np.clip(parts, 2.0, room).astype(np.int64))
        sum_error = self._scale_error + (used + 64.0) * UNIT
        log_low = self._scale + log_or_less(low) - sum_error
        log_high = self._scale + log_or_less(high) + sum_error if high < math.inf else math.inf
        slack = 8.0 * UNIT * abs(self._scale)
        tail = math.log(term.number) + log_mass(term, last)[1]
        log_high = float(np.logaddexp(log_high, tail)) + slack
        return Cells(log_low - slack, log_high, high, doubt, where)

    def _cells(self, a: Array, b: Array, epsilon: float) -> tuple[Array, Array, Array, Array]:
        """Lower and upper limits, what the tables add to the difference, and the mean of e."""
        s, c, kernel = self.term.noise, self.cut, self._kernel
        nodes, weights = _rule()
        centre, half = 0.5 * (a + b), 0.5 * (b - a)
        x = centre[:, None] + half[:, None] * nodes
        ratio = kernel.log_ratio(x)
        weight = half[:, None] * weights * np.exp(-(x - c) * (x + c) / (2.0 * s * s))
        q_mass = weight.sum(axis=1)
        p_mass = (weight * np.exp(ratio)).sum(axis=1)
        ends = kernel.log_ratio(np.append(a, b))
        at_a, at_b = ends[: len(a)], ends[len(a) :]
        # ln(P/Q), the mean of r: errors common to all weights of a cell drop out
        near = np.log1p((weight * np.expm1(np.minimum(ratio, 1.0))).sum(axis=1) / q_mass)
        mean = np.clip(np.where(at_b < 1.0, near, np.log(p_mass / q_mass)), at_a, at_b)
        t, spread = (b + 1.0) / s**2, np.exp(np.minimum(at_b - at_a, 50.0))
        moved = 16.0 * np.minimum(1.0, kernel.share(b)) * t
        rounding = UNIT * (40.0 + 16.0 * (b / s) ** 2 + moved + 8.0 * at_b)
        # Gauss-Legendre on the ellipse (Trefethen): as in `subsampled`, for N(0, s^2), N(1, s^2)
        grow = 0.5 * half * (_RHO + 1.0 / _RHO) * centre + 0.5 * (0.5 * half * _RHO) ** 2
        size = np.log(half) + grow / s**2 - (centre - c) * (centre + c) / (2.0 * s * s)
        size = size + math.log(64.0 / 15.0) - 2.0 * _POINTS * math.log(_RHO) + 0.01
        missed = np.exp(np.minimum(size, 600.0)) / q_mass * spread
        relative = rounding + missed
        # of every ln r, of ln(P/Q), and of epsilon less one of them
        off = UNIT * (24.0 * at_b + moved)
        off = off + 4.0 * UNIT * (abs(epsilon) + at_b)
        off_mean = off + 2.2 * relative * (spread - 1.0) + 4.0 * missed
        bad = ~(relative < 0.1) | ~(off_mean < 0.1)
        edges, places = np.unique(np.append(a, b), return_inverse=True)
        on = np.zeros(len(edges))
        on[places] = np.append(at_a, at_b)
        slack = np.zeros(len(edges))
        np.maximum.at(slack, places, np.append(off, off))
        over = self.small.interval(epsilon - on - slack)[1][places]
        on_a, on_b = over[: len(a)], over[len(a) :]
        on_a = np.minimum(on_a, on_b)
        middle = epsilon - mean
        under = self.small.interval(middle + off_mean)
        share = np.expm1(np.maximum(at_b - mean - off - off_mean, 0.0))
        share = share / np.expm1(at_b - at_a + 2.0 * off) * (1.0 - 8.0 * UNIT)
        chord = on_b - np.clip(share, 0.0, 1.0) * (on_b - on_a)
        chord = np.minimum(chord * (1.0 + 8.0 * UNIT), on_b)
        p_high = p_mass * (1.0 + 1.1 * relative)
        low = p_mass * (1.0 - 1.1 * relative) * under[0]
        high = p_high * chord + 1e-300
        # no rule for so wide a cell: its mass is below that of everything above a
        log_above = np.sum(log_masses(self.term, a), axis=0) - self._unit
        above = np.exp(np.minimum(log_above, 600.0)) * (1.0 + 1e-9) + 1e-300
        bad = bad | ~np.isfinite(low) | ~np.isfinite(high)
        low, high = np.where(bad, 0.0, low), np.where(bad, above, high)
        unsure = p_high * np.maximum(under[1] - under[0], 0.0)
        return low, np.maximum(high, low), np.where(bad, 0.0, unsure), middle

    @property
    def _unit(self) -> float:
        return self._scale - math.log(self.term.number)


def _split(a: Array, b: Array, parts: NDArray[np.int64]) -> tuple[Array, Array]:
    """Cells cut into equal parts each."""
    first = np.repeat(np.cumsum(parts) - parts, parts)
    place, number = np.arange(len(first)) - first, np.repeat(parts, parts)
    low, high = np.repeat(a, parts), np.repeat(b, parts)
    ends = low + (high - low) * (place / number), low + (high - low) * ((place + 1) / number)
    return ends[0], np.where(place + 1 == number, high, ends[1])


@lru_cache
def _rule() -> tuple[Array, Array]:
    """Nodes and weights on [-1, 1]."""
    pairs = gauss_legendre(_POINTS)
    return np.array([float(x) for x, _ in pairs]), np.array([float(w) for _, w in pairs])

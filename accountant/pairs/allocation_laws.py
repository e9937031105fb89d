"""Laws of a sum of t lognormals on a grid, for `random_allocation`, with bounded errors.

Under Q all t terms X have ln X ~ N(-mu^2/2, mu^2); under P one of them is size-biased, ln X ~
N(mu^2/2, mu^2), whichever it is. With z = ln X/mu + mu/2 these are N(0, 1) and N(mu, 1).
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..mills import UNIT
from ..quadrature import gauss_legendre
from .base import Array
from .normal_cells import normal_cells, normal_tail

Complex = NDArray[np.complex128]
_NODES = 6


class Grid(NamedTuple):
    """Cells (k step, (k+1) step], k = 0 ... count - 1, of X, and the window of sums.

    Attributes:
        step: width.
        z: float[count], the upper ends in terms of z.
        size: length of the transform.
        base: sums are known to lie in base ... base + size - 1, in units of step, but for mass
            that `SumLaw.outside` bounds.
        beyond_p, beyond_q: mass where some X is above the last cell, rounded up.
    """

    step: float
    z: Array
    size: int
    base: int
    beyond_p: float
    beyond_q: float


class SumLaw(NamedTuple):
    """Masses at base, base + 1, ... of the sum under P and Q; each within `error` but >= 0.

    `outside`: mass of P plus that of Q outside the window, which has wrapped around into it.
    """

    p: Array
    q: Array
    error: float
    outside: float


def grid(mu: float, steps: int, log_size: int, tail: float) -> Grid:
    """A grid with mass `tail` of P above its end."""
    z = mu
    while _tail(z - mu) + (steps - 1) * _tail(z) > tail:
        z += 0.05
    most = math.exp(mu * z - 0.5 * mu * mu)
    # Sums: around their mean, up to what the largest X adds. Below the mean the tail is light.
    spread = math.sqrt(steps * math.expm1(mu * mu))
    start = max(0.0, steps - 9.0 * spread)
    stop = min(steps * most, steps + 9.0 * spread + 1.5 * most)
    size = 1 << log_size
    step = max((stop - start) / size, most / (size - 8)) * 1.001
    count = math.ceil(most / step)
    ends = np.log(step * np.arange(1.0, count + 1.0)) / mu + 0.5 * mu
    last = float(ends[-1])
    return Grid(
        step,
        ends,
        size,
        math.floor(start / step),
        (_tail(last - mu) + (steps - 1) * _tail(last)) * (1.0 + 1e-9),
        min(1.0, steps * _tail(last) * (1.0 + 1e-9)),
    )


def _tail(z: float) -> float:
    tail, relative = normal_tail(np.array([z]))
    found = float(tail[0] * (1.0 + relative[0])) + 1e-320
    return found if z > 0.0 else 1.0


def split(mu: float, cells: Grid) -> tuple[Array, float]:
    """Law of X up to the last cell, split between grid points so that means are kept.

    Returns:
        Masses at 0, step, ..., float[count + 1], and a bound of the sum of their errors, each
        weighted by 1 + the point.
    """
    z, count = cells.z, len(cells.z)
    q, q_error = normal_cells(z, 0.0)
    p, p_error = normal_cells(z, mu)
    q, q_error, p, p_error = q[:-1], q_error[:-1], p[:-1], p_error[:-1]
    k = np.arange(count, dtype=np.float64)
    # up: E[(X - k step); cell]/step, by subtraction where the cell is wide: k is then small
    up = p / cells.step - k * q
    up_error = (p_error + 4.0 * UNIT * p) / cells.step + k * (q_error + 4.0 * UNIT * q)
    # and by quadrature elsewhere. With s = z - left end the integrand is density times
    # k (e^(mu s) - 1), and the width log1p(1/k)/mu loses nothing. Error bound as in `normal_cells`
    # for w <= 0.1, |c| w <= 0.2, mu w <= 0.1: below (32/15) e^2.7 40 40^-12 < UNIT of the whole.
    width = np.log1p(1.0 / np.maximum(k, 1.0)) / mu
    left = np.concatenate([[-1e3], z[:-1]])
    narrow = (width <= 0.1) & (np.abs(left + 0.5 * width) * width <= 0.2) & (k >= 10.0)
    if narrow.any():
        at, start, w = k[narrow], left[narrow], width[narrow]
        ups, whole = np.zeros_like(w), np.zeros_like(w)
        for node, weight in _gauss():
            s = node * w
            density = (weight * 0.3989422804014327) * np.exp(-0.5 * (start + s) ** 2)
            whole += density
            ups += density * (at * np.expm1(mu * s))
        up[narrow], q[narrow] = w * ups, w * whole
        # the cell starts where `left` should be, which is off by a few UNIT of ln and quotient
        log = np.abs(np.log(cells.step * at))
        moved = UNIT * ((4.0 + 12.0 * log) / mu + 2.0 * (np.abs(start) + mu))
        size = np.abs(start) + w
        relative = UNIT * (64.0 + 6.0 * size * size) + moved * size
        up_error[narrow] = q[narrow] * relative
        q_error[narrow] = q[narrow] * relative
    up = np.clip(up, 0.0, q)
    found = np.zeros(count + 1)
    found[1:] += up
    found[:-1] += q - up
    # wide cells: their ends are off as well, so some mass is in the neighbouring cell
    wide = ~narrow
    wide[0] = False
    log = np.abs(np.log(cells.step * np.maximum(k[wide], 1.0)))
    moved = UNIT * ((4.0 + 12.0 * log) / mu + 2.0 * (np.abs(left[wide]) + mu))
    strays = 2.0 * moved * 0.4 * np.exp(-0.5 * left[wide] ** 2)
    points = 1.0 + cells.step * (k + 1.0)
    error = float(points @ (2.0 * up_error + q_error + 2.0 * UNIT * q))
    error += float(points[wide] @ strays) * 2.0
    return found, error * (1.0 + 1e-6)


def power_law(first: Array, others: Array, steps: int, cells: Grid, error: float) -> SumLaw:
    """Law of the sum under P and Q on the window; P has one term `first`, else `others`.

    Every output of a transform of length n errs by at most 8 UNIT log2(n) times the sum of the
    inputs' moduli (each level multiplies by a factor 1 off by at most (sqrt 5 + 2) UNIT); so do the
    frequencies, and their powers and the way back are followed to first order.

    Args:
        first: masses at 0, 1, 2, ... times the grid's step.
        others: the same.
        steps: number of terms.
        cells: the window of sums.
        error: bound of the sum of the errors of `first`, and of `others`.
    """
    n = cells.size
    bound = 8.0 * UNIT * math.log2(n) * 1.01 + error  # of one frequency; masses sum to at most 1
    f, g = np.fft.rfft(others, n), np.fft.rfft(first, n)
    before = _power(f, steps - 1)
    q, p = before * f, before * g
    size = np.minimum(np.abs(f) + bound, 1.0)
    lower = size ** max(0, steps - 2)
    after = lower * size if steps > 1 else np.ones_like(size)
    grown = bound * (after + (steps - 1) * lower) + 6.0 * UNIT * steps * after
    twice = np.full(len(f), 2.0)
    twice[[0, -1]] = 1.0
    back = 8.0 * UNIT * math.log2(n) * 1.01
    largest = np.maximum(np.abs(p), np.abs(q))
    each = float(twice @ (grown + back * largest)) / n * (1.0 + 1e-6)
    laws = []
    for transform in (p, q):
        law = np.fft.irfft(transform, n)
        # the sum of cell numbers modulo n, seen as one of base ... base + n - 1
        laws.append(np.maximum(np.roll(law, -(cells.base % n)), 0.0))
    return SumLaw(laws[0], laws[1], each, 0.0)


def outside(first: Array, others: Array, steps: int, cells: Grid) -> float:
    """Chernoff bound of the mass, under P plus under Q, of sums outside the window."""
    k = np.arange(len(others), dtype=np.float64)
    mean = float(others @ k)
    total = 0.0
    for sign, edge in ((1.0, float(cells.base + cells.size)), (-1.0, float(cells.base))):
        if sign < 0.0 and cells.base == 0:
            continue
        if sign > 0.0 and steps * (len(others) - 1) < edge:
            continue
        best = 1.0
        spread = math.sqrt(max(1.0, steps * float(others @ (k - mean) ** 2)))
        scale = float(len(others)) if sign > 0.0 else spread
        for c in (2.0, 5.0, 8.0, 12.0, 18.0, 26.0):
            tilt = np.exp(sign * c / scale * (k - mean))
            logs = [math.log(float(law @ tilt)) for law in (others, first)]
            value = max(logs[0], logs[1]) + (steps - 1) * logs[0]
            value -= sign * c / scale * (edge - steps * mean) - 1e-6 * (1.0 + abs(value))
            best = min(best, math.exp(min(0.0, value)))
        total += 2.0 * best
    return total


def _power(base: Complex, exponent: int) -> Complex:
    """By squaring: relative error at most 6 UNIT times the exponent."""
    found = np.ones_like(base)
    while exponent:
        if exponent & 1:
            found = found * base
        exponent >>= 1
        if exponent:
            base = base * base
    return found


@lru_cache
def _gauss() -> list[tuple[float, float]]:
    """(node, weight) on [0, 1]; weights add up to 1."""
    return [(float((1 + x) / 2), float(w / 2)) for x, w in gauss_legendre(_NODES)]

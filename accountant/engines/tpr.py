"""Best true-positive rate of an attack on a composition, from its curve of delta.

TPR(FPR) = min over real epsilon of e^epsilon FPR + delta(epsilon): the trade-off curve is the
convex dual of delta, which is convex and falling in y = e^epsilon. Source: Dong, Roth & Su,
arXiv:1905.02383, the section on the duality of f and (epsilon, delta).

Any epsilon gives an upper end. The lower end holds for all of them: between two points of a grid
delta lies above the chords of both neighbouring cells, prolonged, and outside the grid, where the
slopes have the right sign, above its ends.
"""

import math
from collections.abc import Callable

import numpy as np

from .. import check
from ..mills import UNIT
from .subsampled import Array

LogDelta = Callable[[Array], tuple[Array, Array]]
_POINTS = 401
_NORMAL = 2.3e-308  # below, numbers lose digits


def tpr_interval(log_delta: LogDelta, fpr: float) -> tuple[float, float]:
    """Enclosure of the best true-positive rate at false-positive rate `fpr`, one direction.

    Args:
        log_delta: lower and upper limits of ln delta at any real epsilons.
        fpr: in [0, 1].

    Raises:
        ParameterError: a number outside its range.
    """
    check.probability(fpr=fpr)
    if fpr == 1.0:
        return 1.0, 1.0
    if fpr == 0.0:
        # delta at epsilon = inf: the mass of infinite losses. Any epsilon gives an upper end.
        return 0.0, math.exp(float(log_delta(np.array([30.0]))[1][0])) * (1.0 + 8.0 * UNIT)
    low, high = fpr, 1.0
    centre, half = 0.0, min(600.0, 2.0 - math.log(fpr))
    for turn in range(6):
        while True:
            at = centre + half * np.linspace(-1.0, 1.0, _POINTS)
            found = _enclose(log_delta, np.clip(at, -690.0, 690.0), fpr)
            if turn or abs(found[2] - centre) <= 0.9 * half or half >= 600.0:
                break
            half = min(600.0, 2.0 * half)
        low, high = max(low, found[0]), min(high, found[1])
        centre = found[2]
        half *= 0.05
        if high - low <= 1e-12 * high:
            break
    if fpr < _NORMAL:  # products with it have an error that no relative bound covers
        return fpr, high
    return min(low, high), high


def _enclose(log_delta: LogDelta, epsilon: Array, fpr: float) -> tuple[float, float, float]:
    # (lower, upper, the epsilon of the upper end)
    epsilon = np.unique(epsilon)
    logs = log_delta(epsilon)
    low = np.maximum(np.exp(logs[0]) * (1.0 - 8.0 * UNIT) - 5e-324, 0.0)
    high = np.exp(logs[1]) * (1.0 + 8.0 * UNIT) + 5e-324
    y = np.exp(epsilon)
    total = (y * fpr + high) * (1.0 + 16.0 * UNIT)
    best = int(np.argmin(total))
    gap = np.diff(y)
    # slopes of delta in each cell, at least and at most
    least, most = (low[1:] - high[:-1]) / gap, (high[1:] - low[:-1]) / gap
    if least[-1] + fpr < 0.0 or most[0] + fpr > 0.0:
        return fpr, float(total[best]), float(epsilon[best])
    # Inner cell i, from y[i] to y[i+1]: lines from the cells i-1 and i+1, plus fpr y. The rounding
    # of y moves a line by its slope times UNIT y.
    width, rise, fall = gap[1:-1], least[:-2] + fpr, most[2:] + fpr
    shake = 64.0 * UNIT * (np.abs(rise) + np.abs(fall) + 2.0 * fpr) * y[2:-1]
    left = low[1:-2] + fpr * y[1:-2] - shake
    right = low[2:-1] + fpr * y[2:-1] - shake
    with np.errstate(all="ignore"):
        cross = np.clip((right - fall * width - left) / (rise - fall), 0.0, width)
    cross = np.where(np.isfinite(cross), cross, 0.0)
    lowest = [
        float(np.maximum(left + rise * at, right - fall * (width - at)).min())
        for at in (np.zeros_like(width), cross, width)
    ]
    # the first and last cell, where one line is known, and the two sides outside
    first, last = most[1] + fpr, least[-2] + fpr
    lowest += [
        float(low[1] + fpr * y[1] - max(0.0, first) * gap[0] - shake[0]),
        float(low[-2] + fpr * y[-2] + min(0.0, last) * gap[-1] - shake[-1]),
        float(low[0] + fpr * y[0]),
        float(low[-1] + fpr * y[-1]),
    ]
    lower = min(lowest) * (1.0 - 64.0 * UNIT)
    return max(fpr, lower), float(total[best]), float(epsilon[best])

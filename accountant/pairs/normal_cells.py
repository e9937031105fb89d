"""Masses of N(mean, 1) between given points, each to a few units in its last places.

A difference of two distribution functions loses digits where the cell is narrow, and all of them in
the far tail if the wrong tail is used. So each cell gets one of two formulas.

- Narrow, with c the centre, w the width, w <= 0.2 and |c| w <= 0.4: six-point Gauss-Legendre. On
  the Bernstein ellipse of parameter 40 the density is below e^(4.01 + 2) times that at the centre
  and the mean over the cell above e^-0.005 times, so the relative error is below
  (32/15) e^6.1 40^-12 / (1 - 40^-2) < 2^-53 (bound as in `engines.subsampled`).
- Wide: the difference of survival functions on the right, of distribution functions on the left, of
  1 and both tails across the mean. The mass is then at least 0.09 of the largest number involved.
"""

from functools import lru_cache

import numpy as np
from scipy.special import erfcx

from ..mills import UNIT
from ..quadrature import gauss_legendre
from .base import Array

TINY = 1e-320  # what a number below the normal range may be off by
_NODES = 6


def normal_tail(z: Array) -> tuple[Array, Array]:
    """Phi(-|z|) and a bound of its relative error, z being off by UNIT |z|; z may be infinite."""
    size = np.minimum(np.abs(z), 1e3)
    mills = 1.2533141373155003 * erfcx(size * 0.7071067811865476)
    tail = 0.3989422804014327 * np.exp(-0.5 * size * size) * mills
    # mills.MILLS_ERROR for the Mills ratio and the products; exp; argument and its square
    return tail, UNIT * (48.0 + 2.0 * np.minimum(size, 40.0) ** 2)


def normal_cells(x: Array, mean: float) -> tuple[Array, Array]:
    """Masses of N(mean, 1) in the n + 1 cells cut at x, and bounds of their errors.

    Args:
        x: float[n], not decreasing, exact; may be infinite.
        mean: within UNIT of itself, relative.

    >>> [round(float(m), 6) for m in normal_cells(np.array([-1.0, 1.0]), 0.0)[0]]
    [0.158655, 0.682689, 0.158655]
    """
    cuts = np.concatenate([[-np.inf], x, [np.inf]])
    z = cuts - mean
    left, right = z[:-1], z[1:]
    tail, relative = normal_tail(z)
    drift = UNIT * abs(mean) * 1.01
    # density/tail = 1/(Mills ratio) < |z| + 0.8
    slack = tail * (relative + drift * (np.minimum(np.abs(z), 40.0) + 0.8))
    below = right <= 0.0
    across = (left < 0.0) & (right > 0.0)
    first, last = tail[:-1], tail[1:]
    mass = np.where(below, last - first, first - last)
    mass = np.where(across, (1.0 - first) - last, mass)
    error = slack[:-1] + slack[1:] + 2.0 * UNIT * np.abs(mass) + np.where(across, UNIT, 0.0)
    with np.errstate(invalid="ignore"):
        width = cuts[1:] - cuts[:-1]  # one rounding
        centre = left + 0.5 * (right - left)
        narrow = (width <= 0.2) & (np.abs(centre) * width <= 0.4)
    if narrow.any():
        w, c = width[narrow], centre[narrow]
        nodes, weights = _gauss()
        total = np.zeros_like(w)
        for node, weight in zip(nodes, weights, strict=True):
            at = c + node * w
            total += weight * np.exp(-0.5 * at * at)
        found = 0.3989422804014327 * w * total
        mass[narrow] = found
        # nodes: off by 2 UNIT of |left|, of the centre and of w each, times the slope |z|
        reach = np.abs(c) + 0.5 * w
        error[narrow] = found * (UNIT * (32.0 + 6.0 * reach * (reach + w)) + drift * reach)
    return np.maximum(mass, 0.0), error + TINY


@lru_cache
def _gauss() -> tuple[list[float], list[float]]:
    """Nodes on [-1/2, 1/2] and weights that add up to 1."""
    pairs = gauss_legendre(_NODES)
    return [float(x / 2) for x, _ in pairs], [float(w / 2) for _, w in pairs]

"""Hockey sticks and masses at 30 digits, from densities; independent of the code under test."""

import mpmath as mp
import numpy as np


def tail_masses(weights, means, x):
    """sum w (N(a)(-inf, x]), the part above), each to 30 digits."""
    with mp.workdps(40):
        below = sum(
            mp.mpf(w) * mp.ncdf(mp.mpf(x) - mp.mpf(m)) for w, m in zip(weights, means, strict=True)
        )
        above = sum(
            mp.mpf(w) * mp.ncdf(mp.mpf(m) - mp.mpf(x)) for w, m in zip(weights, means, strict=True)
        )
        return below, above


def density(weights, means, x):
    return sum(mp.mpf(w) * mp.npdf(x - mp.mpf(m)) for w, m in zip(weights, means, strict=True))


def inside(value, masses, errors, j):
    """|true - found| <= error, in numbers that say how much."""
    gap = abs(mp.mpf(float(masses[j])) - value)
    assert gap <= mp.mpf(float(errors[j])), f"cell {j}: off by {gap}, allowed {errors[j]}"


def check_ratios(losses, found):
    """Each cell's ln(p/q) lies between its boundaries, and masses sum to 1."""
    left = np.concatenate([[-np.inf], losses]) - found.loss_error
    right = np.concatenate([losses, [np.inf]]) + found.loss_error
    with np.errstate(all="ignore"):
        low = np.log((found.p - found.p_error) / (found.q + found.q_error))
        high = np.log((found.p + found.p_error) / (found.q - found.q_error))
    known = (found.p > 4 * found.p_error) & (found.q > 4 * found.q_error)
    assert known.any()
    assert (high[known] >= left[known] - 1e-15).all()
    assert (low[known] <= right[known] + 1e-15).all()

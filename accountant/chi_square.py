"""delta of two centred Gaussians whose covariances differ by a factor: central chi-square tails.

P = N(0, ratio S), Q = N(0, S), dimension D = 2a. The loss exceeds epsilon where a Gamma(a)
variable, half the squared norm in units of P, lies beyond x = (epsilon + a ln ratio)/(ratio - 1):
above it for ratio > 1, below it for ratio < 1. With sigma = +1 and -1 in these cases

    delta = Pr[beyond x] - e^epsilon Pr[beyond ratio x],

a difference that cancels. The two densities differ at x by e^epsilon exactly, so that

    delta = x^a e^-x / Gamma(a) * integral over s > 0 of
            e^(sigma a s - x (e^(sigma s) - 1)) (1 - e^(-|ratio-1| x |e^(sigma s) - 1|)),

whose integrand is positive, has one hump, and does not underflow for any dimension.

The quadrature is of tanh-sinh type; its error is *estimated* by halving the step. The rounding
error is bounded, given elementary functions good to a few units.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.special import gammaln

from .quadratic import UNIT, Array, LogValue, log1p_minus

_DROP = 50.0
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)


def log_delta(epsilon: float, *, ratio: float, dimension: int) -> LogValue:
    """Logarithm of delta(epsilon) of N(0, ratio I) against N(0, I), for any finite epsilon.

    Args:
        epsilon: nats, of either sign.
        ratio: > 0, not 1.
        dimension: >= 1.

    >>> found = log_delta(1.331494, ratio=(100 / 99) ** 2, dimension=512)
    >>> round(math.exp(found.value), 10)
    1e-05
    """
    a = 0.5 * dimension
    turn = a * math.log1p(ratio - 1.0) if ratio > 0.5 else a * math.log(ratio)
    if ratio < 1.0 and epsilon >= -turn * (1.0 + 8.0 * UNIT):
        return LogValue(-math.inf, 0.0)
    if ratio > 1.0 and epsilon <= -turn * (1.0 + 8.0 * UNIT):
        return LogValue(math.log(-math.expm1(epsilon)), 8.0 * UNIT)
    x = (epsilon + turn) / (ratio - 1.0)
    if not x > 0.0:  # at the turning point to within rounding
        return LogValue(math.log(-math.expm1(epsilon)) if epsilon < 0.0 else -1e308, math.inf)
    spread = 8.0 * UNIT * (1.0 + (abs(epsilon) + abs(turn)) / abs(epsilon + turn))
    front, doubt = _log_front(a, x)
    total, error, mean = _log_integral(a, x, ratio)
    # d ln delta / d ln x is at most this in size
    sensitivity = abs(a - x) + x * mean + 1.0
    value = front + total
    return LogValue(min(0.0, value), doubt + error + spread * sensitivity)


def _log_front(a: float, x: float) -> tuple[float, float]:
    # ln(x^a e^-x / Gamma(a)) and its rounding error. Written about x = a for large a.
    if a < 10.0:
        parts = (a * math.log(x), -x, -float(gammaln(a)))
    else:
        gap = (
            float(log1p_minus(np.array([(x - a) / a]))[0])
            if x > 0.8 * a
            else (math.log(x / a) - (x - a) / a)
        )
        tail = math.fsum(c / a ** (2 * k + 1) for k, c in enumerate(_STIRLING))
        parts = (a * gap, 0.5 * math.log(a / (2.0 * math.pi)), -tail)
    return math.fsum(parts), 8.0 * UNIT * (sum(map(abs, parts)) + abs(x - a))


def _log_integral(a: float, x: float, ratio: float) -> tuple[float, float, float]:
    # ln of the integral, its error, and the mean of |e^(sigma s) - 1| under the integrand.
    sigma, rate = math.copysign(1.0, ratio - 1.0), abs(ratio - 1.0) * x

    def log_f(s: Array) -> tuple[Array, Array]:
        grown = np.expm1(sigma * s)
        value = sigma * a * s - x * grown + np.log(-np.expm1(-rate * np.abs(grown)))
        return value, np.abs(grown)

    low, high = _range(log_f, max(0.0, sigma * math.log(a / x)) + 1.0)
    before = math.nan
    for nodes in (64, 128, 256, 512):
        tau = np.linspace(-3.3, 3.3, nodes + 1)
        swell = np.exp(-math.pi * np.sinh(tau))
        s = low + (high - low) / (1.0 + swell)
        weight = math.pi * np.cosh(tau) * swell / (1.0 + swell) ** 2
        value, grown = log_f(s)
        peak = float(value.max())
        parts = weight * np.exp(value - peak) * (high - low) * (6.6 / nodes)
        total = float(parts.sum())
        rounding = UNIT * (20.0 + 4.0 * float(((a * s + x * grown) * parts).sum()) / total)
        result = peak + math.log(total)
        step = abs(math.expm1(result - before))
        if step <= max(1e-14, rounding):
            break
        before = result
    mean = float((grown * parts).sum()) / total
    return result, step + rounding + 4.0 * UNIT * abs(peak) + 1e-17, mean


def _range(log_f: Callable[[Array], tuple[Array, Array]], high: float) -> tuple[float, float]:
    # Outside, the integrand is below e^-50 of its peak. It has one hump, so that the neighbours of
    # the largest of several values enclose the peak.
    low = 0.0
    while True:
        s = np.linspace(low, high, 201)[1:]
        value = log_f(s)[0]
        if value[-1] <= value.max() - _DROP:
            break
        high *= 2.0
    while True:
        keep = np.flatnonzero(value >= value.max() - _DROP)
        first, last = int(keep[0]), int(keep[-1])
        step = float(s[1] - s[0])
        narrow = last - first < 100
        low, high = max(0.0, float(s[first]) - step), float(s[min(last + 1, len(s) - 1)])
        if not narrow:
            return low, high
        s = np.linspace(low, high, 201)[1:]
        value = log_f(s)[0]

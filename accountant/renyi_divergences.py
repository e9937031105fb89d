"""Upper limits of the Renyi divergence of single mechanisms, at many orders.

A mechanism has `rdp[i]` at `orders[i]` if for all neighbours, in both directions, the Renyi
divergence of that order is at most `rdp[i]`, in nats. Everything here is rounded up.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import check
from .errors import ParameterError
from .mills import UNIT

Array = NDArray[np.float64]

ORDERS: Array = 1.0 + np.concatenate(
    [
        np.geomspace(0.01, 0.45, 15),
        np.geomspace(0.5, 40.0, 92),
        np.unique(np.rint(np.geomspace(44.0, 1e5, 44))),
    ]
)
"""Real orders up to 41, dense since the best order is mostly there; then whole ones, to 1e5."""
ORDERS.setflags(write=False)

_MOST_TERMS = 131072  # of a binomial sum
_MOST_NODES = 20000  # of a quadrature


def rdp_gaussian(mu: float, orders: Any = ORDERS) -> Array:
    """Divergence of a mu-GDP mechanism: order mu^2 / 2. Source: Mironov, arXiv:1702.07476.

    >>> [round(float(value), 9) for value in rdp_gaussian(0.5, [2.0, 8.0])]
    [0.25, 1.0]
    """
    check.non_negative(mu=mu)
    found = checked_orders(orders)
    if mu == 0.0:
        return np.zeros_like(found)
    with np.errstate(over="ignore", under="ignore"):
        return up(0.5 * found * float(mu) * float(mu))


def rdp_zcdp(rho: float, xi: float = 0.0, orders: Any = ORDERS) -> Array:
    """Divergence of a (xi, rho)-zCDP mechanism: xi + rho order.

    Source: Bun & Steinke, arXiv:1605.02065.

    >>> [round(float(value), 9) for value in rdp_zcdp(0.1, 0.5, [2.0, 5.0])]
    [0.7, 1.0]
    """
    check.non_negative(rho=rho, xi=xi)
    found = checked_orders(orders)
    if rho == 0.0 and xi == 0.0:
        return np.zeros_like(found)
    with np.errstate(over="ignore", under="ignore"):
        return up(float(xi) + float(rho) * found)


def rdp_pure(epsilon: float, orders: Any = ORDERS) -> Array:
    """Largest divergence of any epsilon-DP mechanism, that of binary randomised response.

    Source: Bun & Steinke, arXiv:1605.02065, section 3.

    >>> [round(float(value), 6) for value in rdp_pure(1.0, [2.0, 100.0])]
    [0.735326, 0.996836]
    """
    check.non_negative(epsilon=epsilon)
    found = checked_orders(orders)
    if epsilon == 0.0 or epsilon == math.inf:
        return np.full_like(found, epsilon)
    power = found - 1.0
    t = float(epsilon) * power
    # E e^(power L) - 1, as a sum of positive terms; and its logarithm where that would overflow.
    with np.errstate(under="ignore"):
        small = np.minimum(t, 30.0)
        excess = 2.0 * np.sinh(0.5 * small) ** 2 + math.tanh(0.5 * epsilon) * np.sinh(small)
        far = t - math.log1p(math.exp(-epsilon)) + np.exp(-epsilon - 2.0 * t)
        log = up(np.where(t < 30.0, np.log1p(excess), far), 64.0)
        return np.minimum(up(log / power), epsilon)


def rdp_laplace(shift: float, orders: Any = ORDERS) -> Array:
    """Divergence of Laplace noise whose scale is 1/`shift` of the sensitivity.

    Source: Mironov, arXiv:1702.07476, Proposition 6.

    >>> [round(float(value), 6) for value in rdp_laplace(1.0, [2.0, 100.0])]
    [0.619124, 0.993049]
    """
    check.non_negative(shift=shift)
    a = checked_orders(orders)
    if shift == 0.0 or shift == math.inf:
        return np.full_like(a, shift)
    power, both = a - 1.0, 2.0 * a - 1.0
    near, t = float(shift) * power, float(shift) * a
    with np.errstate(under="ignore", over="ignore"):
        # E e^(power L) - 1 = [a e^(power m) + power e^(-a m)] / (2a - 1) - 1; the linear terms
        # cancel exactly, and what is left of each exponential is positive.
        excess = (a * _exp_rest(np.minimum(near, 30.0)) + power * _exp_rest(-t)) / both
        far = near + np.log(a / both) + power / a * np.exp(-t - near)
        log = up(np.where(near < 30.0, np.log1p(excess), far), 64.0)
        return np.minimum(up(log / power), shift)


def rdp_subsampled_gaussian(rate: float, noise_multiplier: float, orders: Any = ORDERS) -> Array:
    """Divergence of a Poisson-sampled Gaussian, add-remove, in the worse direction ("remove").

    Whole orders by the binomial sum, others by an integral with a bounded error, or, where that
    would be long, by the convexity of (order - 1) D between whole orders. Never above the Gaussian
    without sampling. Source: Mironov, Talwar & Zhang, arXiv:1908.10530; the worse direction is
    their Theorem 5.

    Args:
        rate: probability with which each record takes part, in [0, 1].
        noise_multiplier: noise std / sensitivity, >= 0.
        orders: float[orders], > 1.

    >>> round(float(rdp_subsampled_gaussian(0.02, 1.3, [5.0])[0]), 15)
    0.000859212416437
    """
    check.probability(rate=rate)
    check.non_negative(noise_multiplier=noise_multiplier)
    found = checked_orders(orders)
    q, s = float(rate), float(noise_multiplier)
    if q == 0.0 or s == math.inf:
        return np.zeros_like(found)
    if s == 0.0:
        return np.full_like(found, math.inf)
    with np.errstate(over="ignore", under="ignore"):
        limit = up(0.5 * found / s / s)
        if q == 1.0:
            return limit
        logs = np.array([_log_moment(float(a), q, s) for a in found])
        return np.minimum(up(logs / (found - 1.0)), limit)


def _log_moment(a: float, q: float, s: float) -> float:
    # upper limit of ln E[(1 - q + q e^((2x-1)/(2 s^2)))^a], x normal with standard deviation s
    if a > _MOST_TERMS:
        return math.inf
    if a == math.floor(a):
        return _whole(int(a), q, s)
    found = _fractional(a, q, s)
    if found < math.inf:
        return found
    part, low = a - math.floor(a), math.floor(a)
    ends = _whole(low, q, s) if low > 1 else 0.0, _whole(low + 1, q, s)
    return float(up((1.0 - part) * ends[0] + part * ends[1]))


@lru_cache(maxsize=512)
def _whole(a: int, q: float, s: float) -> float:
    # ln(1 + sum over k >= 2 of C(a,k) (1-q)^(a-k) q^k (e^((k^2-k)/(2 s^2)) - 1)), positive terms
    k = np.arange(2.0, a + 1.0)
    y = np.nextafter(0.5 * k * (k - 1.0) / s / s * (1.0 + 8.0 * UNIT), math.inf)
    if not np.isfinite(y).all():
        return math.inf
    grown = np.where(
        y < 30.0, np.log(np.expm1(np.minimum(y, 30.0))), y + np.log1p(-np.exp(-np.maximum(y, 30.0)))
    )
    table = _log_factorials(1 << a.bit_length())[: a + 1]
    hit, miss = k * math.log(q), (a - k) * math.log1p(-q)
    terms = table[a] - table[2:] - table[a - 2 :: -1] + hit + miss + grown
    # each of the three factorials is a running sum of at most a logarithms
    error = (2.0 * a + 24.0) * UNIT * table[a]
    terms += error + 16.0 * UNIT * (2.0 + np.abs(grown) - hit - miss)
    top = float(terms.max())
    log = top + math.log(float(np.exp(terms - top).sum()))
    log += (a + 32.0) * UNIT + 8.0 * UNIT * abs(log)
    return float(up(np.logaddexp(0.0, log)))


@lru_cache(maxsize=4)
def _log_factorials(size: int) -> Array:
    table = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1.0, size + 1.0)))])
    table.setflags(write=False)
    return table


def _fractional(a: float, q: float, s: float) -> float:
    """The moment as a trapezoid sum over x = j h, or inf where that would need too many nodes.

    With f = normal density times r^a, analytic for |Im x| < pi s^2, and |f(x + i d)| at most
    e^(d^2/(2 s^2)) f(x), the infinite sum errs by at most 2 D/(1 - D) of the integral I, with
    D = e^(d^2/(2 s^2) - 2 pi d/h). From (u + v)^a <= 2^(a-1) (u^a + v^a) and u^a + v^a <= I, the
    nodes outside [-R s, a + R s] carry at most 2^(a-1) e^(-R^2/2) I, which is e^(-44) I below.
    """
    if not 1e-3 < s < 1e6:
        return math.inf
    h = 2.0 ** math.floor(math.log2(min(0.5 * s, 0.35 * s * s)))  # so that the nodes are exact
    reach = math.sqrt(2.0 * ((a - 1.0) * math.log(2.0) + 44.0)) * (1.0 + 1e-9)
    first, last = math.floor(-reach * s / h), math.ceil((a + reach * s) / h)
    if last - first > _MOST_NODES:
        return math.inf
    d = min(2.0 * math.pi * s * s / h, 3.0 * s * s)
    cut = math.exp(0.5 * (d / s) ** 2 - 2.0 * math.pi * d / h)
    lost = 1.01 * (2.0 * cut / (1.0 - cut) + math.exp(-44.0))
    x = h * np.arange(float(first), float(last) + 1.0)
    t, square = (x - 0.5) / (s * s), 0.5 * (x / s) ** 2
    near = t < 1.0
    low = q * np.expm1(np.minimum(t, 1.0))
    far = np.logaddexp(math.log1p(-q), math.log(q) + t)
    log_r = np.where(near, np.log1p(low), far)
    ratio = 1.0 + low
    log_error = np.where(
        near,
        np.abs(low) / ratio + (1.0 + np.abs(t)) * (low + q) / ratio + np.abs(log_r),
        np.abs(math.log(q) + t) + np.abs(t) - math.log1p(-q) - math.log(q) + 1.0,
    )
    error = 24.0 * UNIT * a * log_error
    if error.max() > 0.01:  # e^error is taken as 1 + 1.01 error below
        return math.inf
    scale = h / (s * math.sqrt(2.0 * math.pi))
    power = a * log_r
    top = float((power - square).max())
    rounding = (32.0 + x.size + 8.0 * square) * UNIT
    if top < 50.0:
        # E r^a - 1: where nothing grows, without the 1, so that little sampling stays precise
        grown = np.exp(power - square)
        small = np.exp(-square) * np.expm1(np.minimum(power, 1.0))
        excess = np.where(power < 1.0, small, grown - np.exp(-square))
        slack = (
            1.01 * grown * error + (np.abs(excess) + np.where(power < 1.0, 0.0, grown)) * rounding
        )
        total = scale * (float(excess.sum()) + 1.01 * float(slack.sum())) + 1e-30
        return max(0.0, math.log1p(total)) * (1.0 + 16.0 * UNIT) + 2.0 * lost
    size = np.exp(power - square - top)
    slack = size * (1.1 * error + rounding + 16.0 * UNIT * (np.abs(power) + square + top))
    value = top + math.log(scale * (float(size.sum()) + float(slack.sum())))
    return value + 2.0 * lost + 16.0 * UNIT * (2.0 * top + 2.0)


def _exp_rest(x: Array) -> Array:
    # e^x - 1 - x without cancellation: x^2 times a Taylor sum where |x| < 1.
    near = np.clip(x, -1.0, 1.0)
    total = np.zeros_like(x)
    for k in range(22, 1, -1):
        total = (1.0 + total) * near / k if k > 2 else (1.0 + total) * near * near / 2.0
    return np.where(np.abs(x) < 1.0, total, np.expm1(x) - x)


def up(values: Any, units: float = 16.0) -> Array:
    """Non-negative values, raised by `units` relative rounding errors; never 0."""
    return np.asarray(np.nextafter(values * (1.0 + units * UNIT), math.inf))


def checked_orders(orders: Any) -> Array:
    """The orders as float[orders], or `ParameterError`."""
    found = np.asarray(orders, dtype=np.float64)
    ok = found.ndim == 1 and found.size and np.isfinite(found).all() and found.min() > 1.0
    if not ok or not (np.diff(found) > 0.0).all():
        raise ParameterError("orders must be increasing finite numbers > 1, at least one of them")
    return found

"""ln E_P[e^(power L)] of a Gaussian mixture pair, enclosed.

With w = 1 + power the moment is E = int P^w Q^(1-w) dx = 1 + int Q (r^w - 1) dx, r = P/Q.

- Quadrature: Gauss-Legendre on equal panels, error bound of `engines.subsampled` on the Bernstein
  ellipse. With D_p, D_q the spreads of the means, h the imaginary part: a sum of e^(a_i x), turned
  by its middle phase, has modulus between cos(D h/2) and 1 times its value at the real part, so
  |r^w Q| there is at most e^(h^2/2) cos(D h/2)^-k times the value at the real part; that value is
  below its tangent at the panel's centre plus K/2 times the square of the distance, since the
  second derivative of ln P is -1 plus a variance of means, at most D_p^2/4.
- Outside the window, w >= 1 or w <= 0: (p, q) -> p^w q^(1-w) is jointly convex, so with independent
  coupling the integrand is below sum w_i v_j e^(w(w-1) d^2/2) N(x; b_j + w d), d = a_i - b_j.
  For 0 < w < 1 by Hoelder's inequality below P(outside)^w Q(outside)^(1-w).
- Rounding, to first order.

Where the window is too wide for quadrature the coupling bound itself is returned, with 0 or the
largest single term below.
"""

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logsumexp

from ..mills import UNIT
from ..quadrature import gauss_legendre
from .base import Array
from .mixture_terms import log_sum, posterior_mean

if TYPE_CHECKING:
    from .mixtures import GaussianMixture

_NODES = 20
_RHO = 4.0
_REACH = 12.0  # standard deviations of every coupled component: 1e-33 is left outside
_MOST_PANELS = 20_000
_LOG_ROOT_TWO_PI = 0.9189385332046727


def log_moment(pair: "GaussianMixture", power: float) -> tuple[float, float]:
    """Enclosure of ln E_P[e^(power L)]."""
    w = 1.0 + power
    if w in (0.0, 1.0):
        return 0.0, 0.0
    coupled, tops = _coupled(pair, w)
    plain = (0.0, coupled) if not 0.0 < w < 1.0 else (-math.inf, 0.0)
    plain = max(plain[0], _single(pair, w)), plain[1]
    # E_Q r^w with w < 0 and E_P r^power with power > 0, r between its ends
    if w < 0.0 and pair.lowest > -math.inf:
        plain = plain[0], min(plain[1], w * pair.lowest * (1.0 + 4.0 * UNIT))
    if power > 0.0 and pair.highest < math.inf:
        plain = plain[0], min(plain[1], power * pair.highest * (1.0 + 4.0 * UNIT))
    spread_p = max(pair.means_p) - min(pair.means_p)
    spread_q = max(pair.means_q) - min(pair.means_q)
    bend = 0.25 * (max(w, 0.0) * spread_p**2 + max(-w, 0.0) * spread_q**2 + spread_q**2)
    half = min(0.5, 0.35 / max(spread_p, spread_q, 1e-9), 1.4 / math.sqrt(max(bend, 1e-9)))
    best, reach = plain, _REACH
    for _ in range(4):
        low = min(*pair.means_p, *pair.means_q, *tops) - reach
        high = max(*pair.means_p, *pair.means_q, *tops) + reach
        count = math.ceil((high - low) / (2.0 * half)) if half > 0.0 else _MOST_PANELS + 1
        if count > _MOST_PANELS:
            break
        found = _quadrature(pair, w, np.linspace(low, high, count + 1), coupled, reach)
        best = max(best[0], found[0]), min(best[1], found[1])
        if best[1] - best[0] <= 1e-11 * (1.0 + abs(best[1])):
            break
        # the coupling bound may be far above E: then what is outside must be pushed further down
        wanted = math.sqrt(2.0 * (72.0 + max(0.0, coupled - found[2])))
        reach, half = (wanted, half) if wanted > 1.01 * reach else (reach, 0.5 * half)
    return (best[0], best[1]) if best[0] <= best[1] else plain


def _coupled(pair: "GaussianMixture", w: float) -> tuple[float, list[float]]:
    """Logarithm, rounded up, of the coupling bound; and where its terms peak."""
    logs, tops = [], []
    for weight_p, a in zip(pair.weights_p, pair.means_p, strict=True):
        for weight_q, b in zip(pair.weights_q, pair.means_q, strict=True):
            gap = a - b
            logs.append(0.5 * w * (w - 1.0) * gap * gap + math.log(weight_p) + math.log(weight_q))
            tops.append(b + w * gap)
    size = max(abs(log) for log in logs) + 2000.0
    return float(logsumexp(logs)) + 64.0 * UNIT * size, tops


def _single(pair: "GaussianMixture", w: float) -> float:
    # Q one component and w > 0: r >= w_i times one ratio. Rounded down.
    if len(pair.means_q) > 1 or w <= 0.0:
        return -math.inf
    gap, log = pair.means_p[-1] - pair.means_q[0], math.log(pair.weights_p[-1])
    value = w * log + 0.5 * w * (w - 1.0) * gap * gap
    return value - 32.0 * UNIT * (abs(w * log) + abs(w * (w - 1.0)) * gap * gap)


def _quadrature(
    pair: "GaussianMixture", w: float, edges: Array, coupled: float, reach: float
) -> tuple[float, float, float]:
    """Enclosure of ln E and an estimate of it."""
    origin = pair.means_q[0]
    nodes, weights = _rule()
    half = 0.5 * np.diff(edges)
    centre = 0.5 * (edges[1:] + edges[:-1])
    x = (centre[:, None] + half[:, None] * nodes).ravel()
    weight = (half[:, None] * weights).ravel()
    ratio, ratio_error = pair.losses(x)
    log_q, log_q_error = log_sum(x, pair.weights_q, pair.means_q, origin)
    z = x - origin
    log_q = log_q - 0.5 * z * z - _LOG_ROOT_TWO_PI
    # nodes are off by 3 UNIT |x|; the slopes of the logarithms are below these
    steep = np.abs(x) + max(abs(mean) for mean in pair.means_p + pair.means_q)
    log_q_error = log_q_error + UNIT * (3.0 * z * z + 4.0 * steep * np.abs(x) + 8.0)
    shift = max(pair.means_p) - min(pair.means_q)
    exponent_error = abs(w) * (ratio_error + 4.0 * UNIT * shift * np.abs(x))
    exponent = w * ratio
    exponent_error = exponent_error + UNIT * np.abs(exponent)
    # quadrature, by panels
    real, imaginary = 0.5 * half * (_RHO + 1.0 / _RHO), 0.5 * half * (_RHO - 1.0 / _RHO)
    spread_p = max(pair.means_p) - min(pair.means_p)
    spread_q = max(pair.means_q) - min(pair.means_q)
    turn = max(spread_p, spread_q) * float(imaginary.max()) * 0.5
    if turn > 1.4:
        return -math.inf, math.inf, 0.0
    at_ratio = pair.losses(centre)[0]
    at_q = log_sum(centre, pair.weights_q, pair.means_q, origin)[0]
    at_q = at_q - 0.5 * (centre - origin) ** 2 - _LOG_ROOT_TWO_PI
    mean_p = posterior_mean(centre, pair.weights_p, pair.means_p, origin)
    mean_q = posterior_mean(centre, pair.weights_q, pair.means_q, origin)
    bend_q = 0.25 * spread_q**2
    bend = bend_q + 0.25 * (max(w, 0.0) * spread_p**2 + max(-w, 0.0) * spread_q**2)
    common = 0.5 * imaginary**2 + np.log(half) + math.log(64.0 / 15.0) + 1e-6
    common = common - 2.0 * _NODES * math.log(_RHO) - math.log1p(-(_RHO**-2.0))
    # powers of the cosine: w > 1 has P on top and Q below, and so on; |w| + |1 - w| covers all
    turned = -(abs(w) + abs(1.0 - w)) * math.log(math.cos(turn))
    slope = np.abs(w * (mean_p - mean_q) + mean_q - centre)
    lost_f = common + at_q + w * at_ratio + turned + slope * real + 0.5 * bend * real**2
    lost_q = common + at_q + np.abs(mean_q - centre) * real + 0.5 * bend_q * real**2
    # beyond the window, where P, Q and each coupled component are below e^(-reach^2/2)
    outside = (coupled if not 0.0 < w < 1.0 else 0.0) - 0.5 * reach * reach * (1.0 - 1e-9)
    if float(exponent.max()) < 300.0:
        terms = weight * np.exp(log_q) * np.expm1(exponent)
        total, size = float(_sum(terms)), float(np.abs(terms).sum())
        density = weight * np.exp(log_q)
        error = float(np.abs(terms) @ (log_q_error + 16.0 * UNIT)) + size * _depth(x)
        error += 1.1 * float((density * np.exp(exponent)) @ exponent_error)
        error += _total(lost_f) + _total(lost_q)
        error += math.exp(min(outside, 700.0)) + math.exp(-0.5 * reach * reach * (1.0 - 1e-9))
        error = error * (1.0 + 1e-9)
        if not error < 0.5 * (1.0 + total):
            return -math.inf, math.inf, math.log1p(max(total, -0.999))
        low, high = math.log1p(total - error), math.log1p(total + error)
        return low - 4.0 * UNIT * abs(low), high + 4.0 * UNIT * abs(high), low
    logs = log_q + exponent
    top = float(logs.max())
    terms = weight * np.exp(logs - top)
    total = float(_sum(terms))
    error = float(terms @ (log_q_error + exponent_error + 16.0 * UNIT))
    error += UNIT * 4.0 * float(terms @ np.abs(logs)) + total * _depth(x)
    error += _total(lost_f - top) + math.exp(min(outside - top, 700.0))
    error = error * (1.0 + 1e-9)
    if not error < 0.5 * total:
        return -math.inf, math.inf, top + math.log(total)
    low, high = top + math.log(total - error), top + math.log(total + error)
    slack = 8.0 * UNIT * (abs(top) + abs(low) + abs(high))
    return low - slack, high + slack, low


def _depth(x: Array) -> float:
    return UNIT * (len(x) // _NODES + _NODES + 8.0)


def _sum(terms: Array) -> Array:
    return np.asarray(terms.reshape(-1, _NODES).sum(axis=1).sum())


def _total(logs: Array) -> float:
    return float(np.exp(np.minimum(logs, 600.0)).sum()) if float(logs.max()) < 600.0 else math.inf


@lru_cache
def _rule() -> tuple[Array, Array]:
    pairs = gauss_legendre(_NODES)
    return np.array([float(x) for x, _ in pairs]), np.array([float(w) for _, w in pairs])

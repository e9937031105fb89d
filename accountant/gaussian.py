"""Closed forms for mu-GDP, the guarantee of a Gaussian mechanism with shift mu and noise 1.

    delta(epsilon) = Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu)
    TPR(FPR) = Phi(Phi^-1(FPR) + mu),    max(TPR - FPR) = delta(0) = 2 Phi(mu/2) - 1

Sources: Dong, Roth & Su, arXiv:1905.02383 (the mu-GDP curve); Balle & Wang, arXiv:1805.06530 (the
same delta for the Gaussian mechanism).

Each quantity comes twice: as a point (`delta`), accurate to about 1e-13, and as an enclosure
(`delta_interval`): lower <= exact value <= upper for these very doubles. Forward enclosures are the
point widened by the error bound of `mills`. Inverse ones are checked: each end is accepted only
after the enclosure of the forward function there shows that the exact value lies inside. epsilon
and mu may be 0 or infinite. For mu outside [1e-100, 1e100] `epsilon` is that of the nearer end, and
the side of its enclosure that this makes unsafe is opened.
"""

import math

from . import check
from .mills import (
    MILLS_ERROR,
    UNIT,
    LogDelta,
    around,
    density,
    mills,
    normal_cdf,
    normal_cdf_interval,
    normal_quantile,
)
from .mills import log_delta as _log_delta
from .solve import epsilon_root, first_step, mu_root, push

_SMALLEST, _LARGEST = 1e-100, 1e100
Pair = tuple[float, float]


def log_delta(epsilon: float, *, mu: float) -> float:
    """Logarithm of the smallest delta such that mu-GDP implies (epsilon, delta)-DP.

    Exact up to rounding also where delta itself is below the double range.

    Args:
        epsilon: >= 0, nats.
        mu: >= 0, no unit.

    Raises:
        ParameterError: a number is negative or NaN.

    >>> round(log_delta(20.0, mu=0.5) / math.log(10.0), 6)  # delta = 9.744331e-348
    -347.011248
    """
    found = _forward(epsilon, mu)
    return found if isinstance(found, float) else found.rest - found.half_square


def delta(epsilon: float, *, mu: float) -> float:
    """Smallest delta such that mu-GDP implies (epsilon, delta)-DP.

    >>> round(delta(1.0, mu=1.0), 12)
    0.126936737507
    """
    found = _forward(epsilon, mu)
    return math.exp(found) if isinstance(found, float) else _exp(found)


def delta_interval(epsilon: float, *, mu: float) -> Pair:
    """Enclosure of `delta`.

    >>> lower, upper = delta_interval(1.0, mu=1.0)
    >>> 0.0 < upper - lower < 1e-13
    True
    """
    found = _forward(epsilon, mu)
    if isinstance(found, float):
        value = math.exp(found)
        return value, value
    value, error = _exp(found), found.error + 8.0 * UNIT
    if found.half_square > 700.0:
        error += 2.0 * UNIT * (found.half_square + abs(found.rest))
    return around(value, error * value)


def epsilon(delta: float, *, mu: float) -> float:
    """Smallest epsilon such that mu-GDP implies (epsilon, delta)-DP.

    Args:
        delta: in [0, 1]. At 0 the answer is infinite, unless mu is 0.
        mu: >= 0, no unit.

    Raises:
        ParameterError: a number outside its range.

    >>> round(epsilon(1e-5, mu=0.50155169), 7)
    2.0
    """
    known = _known_epsilon(delta, mu)
    return known[1] if known else epsilon_root(delta, min(max(mu, _SMALLEST), _LARGEST))


def epsilon_interval(delta: float, *, mu: float) -> Pair:
    """Enclosure of `epsilon`.

    >>> lower, upper = epsilon_interval(1e-5, mu=1.0)
    >>> 0.0 < upper - lower < 1e-12
    True
    """
    known = _known_epsilon(delta, mu)
    if known:
        return known
    if mu < _SMALLEST:
        return 0.0, epsilon_interval(delta, mu=_SMALLEST)[1]
    if mu > _LARGEST:
        return epsilon_interval(delta, mu=_LARGEST)[0], math.inf
    low, high = _log(delta)
    point = epsilon_root(delta, mu)
    at = _log_delta(point, mu)
    slope = at.epsilon_slope
    step = first_step(point, at, high - low, slope)

    def is_below(e: float) -> bool:
        return e <= 0.0 or _log_delta(e, mu).enclosure()[0] >= high

    return (
        max(0.0, push(point, -step, is_below)),
        push(point, step, lambda e: _log_delta(e, mu).enclosure()[1] <= low),
    )


def mu(epsilon: float, delta: float) -> float:
    """Largest mu such that mu-GDP implies (epsilon, delta)-DP.

    Args:
        epsilon: >= 0, nats.
        delta: in [0, 1].

    Raises:
        ParameterError: a number outside its range.

    >>> [round(mu(e, 1e-5), 8) for e in (1.0, 2.0, 4.0, 8.0)]
    [0.26805112, 0.50155169, 0.9249309, 1.6660306]
    """
    known = _known_mu(epsilon, delta)
    return known[0] if known else mu_root(epsilon, delta)


def mu_interval(epsilon: float, delta: float) -> Pair:
    """Enclosure of `mu`; the lower end is safe to use: delta(epsilon, mu=lower) <= delta.

    >>> lower, upper = mu_interval(1.0, 1e-5)
    >>> delta_interval(1.0, mu=lower)[1] <= 1e-5 <= delta_interval(1.0, mu=upper)[0]
    True
    """
    known = _known_mu(epsilon, delta)
    if known:
        return known
    low, high = _log(delta)
    point = mu_root(epsilon, delta)
    at = _log_delta(epsilon, point)
    step = first_step(point, at, high - low, at.mu_slope)

    def is_below(m: float) -> bool:
        return m <= 0.0 or _log_delta(epsilon, m).enclosure()[1] <= low

    return (
        max(0.0, push(point, -step, is_below)),
        push(point, step, lambda m: _log_delta(epsilon, m).enclosure()[0] >= high),
    )


def tpr(fpr: float, *, mu: float) -> float:
    """Best true-positive rate of any attack on a mu-GDP mechanism at false-positive rate `fpr`.

    Args:
        fpr: in [0, 1].
        mu: >= 0, no unit.

    Raises:
        ParameterError: a number outside its range.

    >>> round(tpr(0.01, mu=1.0), 12)
    0.092362248074
    """
    known = _known_tpr(fpr, mu)
    if known:
        return known[0]
    z = normal_quantile(fpr)
    # ndtri is right to about 1e-16 |z|, too little far out; the rest, to first order.
    fix = (
        (min(fpr, 1.0 - fpr) / normal_cdf(-abs(z)) - 1.0)
        * mills(abs(z))
        * (1.0 if fpr <= 0.5 else -1)
    )
    slope = density(0.5 * (z + mu) ** 2, 0.0) if mu < _LARGEST else 0.0
    return min(1.0, normal_cdf(z, mu) + slope * fix)


def tpr_interval(fpr: float, *, mu: float) -> Pair:
    """Enclosure of `tpr`.

    >>> lower, upper = tpr_interval(1e-300, mu=1.0)
    >>> 0.0 < upper - lower < 2e-12 * lower
    True
    """
    known = _known_tpr(fpr, mu)
    if known:
        return known
    small = min(fpr, 1.0 - fpr)  # exact: 1 - fpr is a double for fpr >= 1/2
    z = -abs(normal_quantile(fpr))
    step = 4.0 * MILLS_ERROR * mills(-z) + 2.0 * UNIT * abs(z)
    low = push(z, -step, lambda v: normal_cdf_interval(v, 0.0)[1] <= small)
    high = push(z, step, lambda v: normal_cdf_interval(v, 0.0)[0] >= small)
    if fpr > 0.5:
        low, high = -high, -low
    return max(fpr, normal_cdf_interval(low, mu)[0]), normal_cdf_interval(high, mu)[1]


def advantage(*, mu: float) -> float:
    """Best TPR - FPR of any attack on a mu-GDP mechanism, which is delta at epsilon = 0.

    >>> round(advantage(mu=1.0), 12)
    0.382924922548
    """
    check.non_negative(mu=mu)
    return math.erf(0.3535533905932738 * mu)


def advantage_interval(*, mu: float) -> Pair:
    """Enclosure of `advantage`.

    >>> advantage_interval(mu=0.0), advantage_interval(mu=math.inf)
    ((0.0, 0.0), (1.0, 1.0))
    """
    value = advantage(mu=mu)
    if mu == 0.0 or mu == math.inf:
        return value, value
    return around(value, 2.0**-49 * value)


# Values that need no computation. A result None means: finite, positive arguments.


def _forward(epsilon: float, mu: float) -> float | LogDelta:
    check.non_negative(epsilon=epsilon, mu=mu)
    if mu == 0.0 or epsilon == math.inf:
        return -math.inf
    return 0.0 if mu == math.inf else _log_delta(float(epsilon), float(mu))


def _known_epsilon(delta: float, mu: float) -> Pair | None:
    check.probability(delta=delta)
    check.non_negative(mu=mu)
    if mu == 0.0 or delta == 1.0:
        return 0.0, 0.0
    if delta == 0.0 or mu == math.inf:
        return math.inf, math.inf
    return (0.0, 0.0) if _log_delta(0.0, float(mu)).enclosure()[1] <= _log(delta)[0] else None


def _known_mu(epsilon: float, delta: float) -> Pair | None:
    check.non_negative(epsilon=epsilon)
    check.probability(delta=delta)
    if delta == 1.0 or epsilon == math.inf:
        return math.inf, math.inf
    return (0.0, 0.0) if delta == 0.0 else None


def _known_tpr(fpr: float, mu: float) -> Pair | None:
    check.probability(fpr=fpr)
    check.non_negative(mu=mu)
    if fpr in (0.0, 1.0) or mu == 0.0:
        return fpr, fpr
    return (1.0, 1.0) if mu == math.inf else None


# Small parts.


def _exp(found: LogDelta) -> float:
    if found.half_square > 700.0:
        return math.exp(found.rest - found.half_square)
    return math.exp(found.rest) * math.exp(-found.half_square)


def _log(delta: float) -> Pair:
    value = math.log(delta)
    return value * (1.0 + 4.0 * UNIT), value * (1.0 - 4.0 * UNIT)

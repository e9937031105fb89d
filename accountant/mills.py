"""The numerical core of `gaussian`: ln delta of a Gaussian mechanism with a stated error bound.

With x = epsilon/mu - mu/2, y = x + mu, phi the normal density and R(x) = Phi(-x)/phi(x) the Mills
ratio, the identity phi(y) e^epsilon = phi(x) turns the textbook difference into

    delta = Phi(-x) - e^epsilon Phi(-y) = phi(x) [R(x) - R(y)].

Nothing overflows and e^epsilon is gone, but two things need care.

- x^2/2 is large far in the tail. It is formed exactly, as a ratio of integers, and kept as two
  doubles, so that its rounding error does not enter delta.
- R(x) - R(y) cancels where mu is small beside x. There the integral
  int_0^inf e^(-x s - s^2/2) (1 - e^(-mu s)) ds, whose integrand is positive, gives the same number.

Everything below takes finite epsilon >= 0 and finite mu > 0.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, exprel, ndtri

from .quadrature import gauss_legendre

UNIT = 2.0**-53
_LOG_ROOT_TWO_PI = 0.9189385332046727
_NODES = 40

# Relative error allowed to R and to phi R. erfcx was measured against mpmath to be within 7 UNIT;
# the argument (UNIT, and |x R'/R| <= 1), two exponentials and the products add less than 10.
MILLS_ERROR = 2.0**-48

# Relative error allowed to R(x) - R(y). The difference is used only where R(x) is at most 4.2 times
# it, so 9.4 * 17 UNIT; the quadrature sums 40 positive terms, each within a few UNIT of its share.
_GAP_ERROR = 2.0**-45


class LogDelta(NamedTuple):
    """ln delta = rest - half_square, where |error of rest| <= error.

    Kept apart, since half_square may be so large that it would swallow the rest. `log_ratio` is
    ln(phi(x)/delta), `mills` is R(y), both without an error bound.
    """

    half_square: float
    rest: float
    error: float
    log_ratio: float
    mills: float

    @property
    def mu_slope(self) -> float:
        """Derivative of ln delta by mu, for finding roots only."""
        return math.exp(min(700.0, self.log_ratio))

    @property
    def epsilon_slope(self) -> float:
        """Derivative of ln delta by epsilon, for finding roots only."""
        return -self.mu_slope * self.mills

    def enclosure(self) -> tuple[float, float]:
        """Lower and upper limit of ln delta."""
        value = self.rest - self.half_square
        if value == -math.inf:  # beyond the double range, so below every finite double
            return -math.inf, -1e308
        slack = self.error + 2.0 * UNIT * abs(value)
        return value - slack, min(0.0, value + slack)


def ratio(numerator: int, denominator: int) -> float:
    """The quotient, correctly rounded; a signed infinity where it is too large."""
    try:
        return numerator / denominator
    except OverflowError:
        return math.inf if numerator > 0 else -math.inf


def half_square(numerator: int, denominator: int) -> tuple[float, float]:
    """(high, low), high + low = x^2/2 to twice double precision, for x = numerator/denominator."""
    top, bottom = numerator * numerator, 2 * denominator * denominator
    high = ratio(top, bottom)
    if high == math.inf:
        return high, 0.0
    over, under = high.as_integer_ratio()
    return high, ratio(top * under - over * bottom, bottom * under)


def mills(x: float) -> float:
    """R(x) = Phi(-x)/phi(x) for x >= 0, within MILLS_ERROR.

    >>> round(mills(0.0), 12)  # sqrt(pi/2)
    1.253314137316
    """
    return 1.2533141373155003 * float(erfcx(x * 0.7071067811865476))


def density(high: float, low: float) -> float:
    """phi(x) from the two parts of x^2/2."""
    # far out low alone may be large; e^-800 is below every double
    return 0.3989422804014327 * math.exp(-high) * math.exp(-low) if high < 800.0 else 0.0


def log_delta(epsilon: float, mu: float) -> LogDelta:
    """Logarithm of the delta of the mu-Gaussian mechanism.

    >>> found = log_delta(1.0, 1.0)
    >>> round(math.exp(found.rest - found.half_square), 12)
    0.126936737507
    """
    (a, b), (c, d) = epsilon.as_integer_ratio(), mu.as_integer_ratio()
    left, right, bottom = 2 * a * d * d, b * c * c, 2 * b * c * d
    x, y = ratio(left - right, bottom), ratio(left + right, bottom)
    high, low = half_square(left - right, bottom)
    mills_y = mills(y)
    if mu >= 1.0 and x < 0.0:
        # delta > 0.23: its complement Phi(x) + phi(x) R(y) is a sum of positive terms.
        missing = density(high, low) * (mills(-x) + mills_y)
        rest = math.log1p(-missing)
        # 1e-300: `missing` may have underflowed
        error = MILLS_ERROR * missing / (1.0 - missing) + 4.0 * UNIT * abs(rest) + 1e-300
        return LogDelta(0.0, rest, error, -high - _LOG_ROOT_TWO_PI - rest, mills_y)
    if mu >= 1.0 and epsilon <= 3.5 * mu * mu:
        log_gap = math.log(mills(x) - mills_y)
    elif high == math.inf:
        log_gap = 0.0  # not needed: ln delta is below the double range
    else:
        log_gap = _log_integral(x, mu)
    rest = log_gap - low - _LOG_ROOT_TWO_PI
    # abs(log mu): in the integral, a sum of logarithms that may nearly cancel.
    error = _GAP_ERROR + 4.0 * UNIT * (abs(rest) + 2.0 * abs(math.log(mu)))
    return LogDelta(high, rest, error, -log_gap, mills_y)


def _log_integral(x: float, mu: float) -> float:
    # int_0^length e^(-x s - s^2/2) (1 - e^(-mu s)) ds, s = length t, with the factor mu length^2
    # taken out so that nothing underflows. At s = length the exponent is 45: what is cut off is
    # below 1e-17 of the integral. The integrand is entire; on the Bernstein ellipse of parameter 4
    # it is below e^60, so 40 nodes err by less than e^60 4^-80 < e^-50.
    length = 90.0 / (x + math.hypot(x, math.sqrt(90.0)))
    nodes, weights = _gauss_legendre()
    s = length * nodes
    values = nodes * np.exp(-x * s - 0.5 * s * s) * exprel(-mu * s)
    return math.log(mu) + 2.0 * math.log(length) + math.log(float(weights @ values))


@lru_cache
def _gauss_legendre() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights on [0, 1]."""
    pairs = gauss_legendre(_NODES)
    return np.array([float((1 + x) / 2) for x, _ in pairs]), np.array(
        [float(w / 2) for _, w in pairs]
    )


def normal_quantile(p: float) -> float:
    """Phi^-1(p) to within a few units in the last place; not enclosed."""
    # 1 - p is exact for p >= 1/2
    return float(ndtri(p)) if p <= 0.5 else -float(ndtri(1.0 - p))


def normal_cdf(z: float, shift: float = 0.0) -> float:
    """Phi(z + shift), the sum formed exactly.

    >>> round(normal_cdf(1.5, 0.5), 12)
    0.977249868052
    """
    tail, negative = _tail(z, shift)
    return tail if negative else 1.0 - tail


def normal_cdf_interval(z: float, shift: float = 0.0) -> tuple[float, float]:
    """Enclosure of Phi(z + shift); z may be infinite."""
    if abs(z) == math.inf:
        return (1.0, 1.0) if z > 0.0 else (0.0, 0.0)
    tail, negative = _tail(z, shift)
    low, high = around(tail, MILLS_ERROR * tail)
    low, high = max(0.0, low - 1e-322), high + 1e-322  # the product of exponentials may underflow
    if negative:
        return low, high
    return math.nextafter(1.0 - high, 0.0), min(1.0, math.nextafter(1.0 - low, 2.0))


def around(value: float, error: float) -> tuple[float, float]:
    """[value - error, value + error], rounded outwards, within [0, 1]."""
    return (
        max(0.0, math.nextafter(value - error, -math.inf)),
        min(1.0, math.nextafter(value + error, math.inf)),
    )


def _tail(z: float, shift: float) -> tuple[float, bool]:
    # Phi(-|z + shift|), and whether z + shift is negative.
    (a, b), (c, d) = z.as_integer_ratio(), float(shift).as_integer_ratio()
    top, bottom = a * d + c * b, b * d
    return density(*half_square(top, bottom)) * mills(abs(ratio(top, bottom))), top < 0

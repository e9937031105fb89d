"""Closed forms in ball arithmetic, and the way from a ball to the doubles around it."""

import math
from fractions import Fraction
from typing import Any

from .certify_moments import Ball


def gaussian(flint: Any, squared_mu: Fraction, epsilon: float) -> Ball:
    """Delta of the Gaussian mechanism: Phi(mu/2 - eps/mu) - e^eps Phi(-mu/2 - eps/mu)."""
    if not squared_mu:
        return flint.arb(0)
    mu = flint.arb(flint.fmpq(squared_mu.numerator, squared_mu.denominator)).sqrt()
    at = flint.arb(epsilon)
    return _normal(flint, mu / 2 - at / mu) - at.exp() * _normal(flint, -mu / 2 - at / mu)


def one_step(flint: Any, rate: float, noise: float, sign: int, epsilon: float) -> Ball:
    """Delta of one subsampled step; [0, 1] where the precision does not tell."""
    # The set where the loss is above epsilon is a half-line that ends at x, r(x) = e^(+-eps).
    # e^(+-eps) + q - 1 is never 0 for doubles, so that its sign shows at some precision.
    arb = flint.arb
    q, s, at = arb(rate), arb(noise), arb(epsilon)
    rest = (at * sign).exp() - 1 + q
    if rest <= 0:
        return 1 - at.exp() if sign > 0 else arb(0)
    if not rest > 0:
        return arb(0.5, 0.5)
    x = s * s * (rest / q).log() + arb(0.5)
    if sign > 0:
        near, far = _normal(flint, -x / s), _normal(flint, (1 - x) / s)
        return (1 - q) * near + q * far - at.exp() * near
    near, far = _normal(flint, x / s), _normal(flint, (x - 1) / s)
    return near - at.exp() * ((1 - q) * near + q * far)


def _normal(flint: Any, x: Ball) -> Ball:
    return (-x / flint.arb(2).sqrt()).erfc() / 2


def to_double(value: Ball, *, up: bool) -> float:
    """The nearest double on the given side of an exact ball (of radius 0)."""
    if not value.is_finite():
        return math.inf if up else -math.inf
    mantissa, exponent = (int(part) for part in value.man_exp())
    size = mantissa.bit_length() + exponent
    if size < -1080 or mantissa == 0:
        tiny = 5e-324 if (mantissa > 0) == up and mantissa else 0.0
        return tiny if up else -tiny
    if size > 1020:
        return math.inf if up else -math.inf
    exact = Fraction(mantissa) * Fraction(2) ** exponent
    found = float(exact)
    if up and Fraction(found) < exact:
        return math.nextafter(found, math.inf)
    if not up and Fraction(found) > exact:
        return math.nextafter(found, -math.inf)
    return found

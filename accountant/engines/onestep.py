"""One Poisson-subsampled Gaussian step in closed form; a sampling rate of 1 is the plain Gaussian.

With G_mu the curve of the Gaussian mechanism, mu = 1/noise, and epsilon >= 0,

    remove: delta = q G_mu(t),                 t = ln(1 + (e^epsilon - 1)/q)
    add:    delta = q e^(epsilon - t) G_mu(t), t = -ln(1 + (e^-epsilon - 1)/q),

0 in the add direction from epsilon = -ln(1-q) on. The first is amplification by sampling (Balle,
Barthe & Gaboardi, arXiv:1807.01647); the second follows from
delta_PQ(epsilon) = 1 - e^epsilon + e^epsilon delta_QP(-epsilon), which also gives epsilon < 0.
"""

import math

import numpy as np

from ..mills import UNIT, log_delta
from .subsampled import Array

_SMALLEST, _LARGEST = 1e-100, 1e100
Pair = tuple[float, float]


class OneStep:
    """ln delta of a single step.

    Attributes:
        rate: sampling rate q, in (0, 1].
        mu: enclosure of 1/noise.
        sign: +1 for "remove", -1 for "add".
    """

    def __init__(self, rate: float, mu: Pair, *, sign: int) -> None:
        self.rate, self.mu, self.sign = rate, mu, sign

    def log_delta_interval(self, epsilon: Array) -> tuple[Array, Array]:
        """Lower and upper limits of ln delta at any real epsilon, float[n] each."""
        found = [self._at(float(e), self.sign) for e in epsilon]
        return np.array([low for low, _ in found]), np.array([high for _, high in found])

    def _at(self, epsilon: float, sign: int) -> Pair:
        if epsilon < 0.0:
            low, high = self._at(-epsilon, -sign)
            rest = -math.expm1(epsilon)
            low = rest + math.exp(epsilon + low) * (1.0 - 8.0 * UNIT * (1.0 - epsilon))
            high = rest + math.exp(epsilon + high) * (1.0 + 8.0 * UNIT * (1.0 - epsilon))
            return (
                math.log(low * (1.0 - 8.0 * UNIT)) - 4.0 * UNIT,
                min(0.0, math.log(high * (1.0 + 8.0 * UNIT)) + 4.0 * UNIT),
            )
        shift = self._shift(epsilon, sign)
        ends = self._gaussian(shift)
        log = math.log(self.rate)
        # both formulas fall with t, which only its rounding makes uncertain
        low, high = ends[0] + log, ends[1] + log
        if sign < 0:
            low, high = low + (epsilon - shift[1]), high + (epsilon - shift[0])
        slack = 8.0 * UNIT * (epsilon + abs(log) + abs(shift[0]))
        low = low - slack - 4.0 * UNIT * abs(low) if low > -math.inf else low
        high = high + slack + 4.0 * UNIT * abs(high) if high > -math.inf else high
        return low, min(0.0, high)

    def _shift(self, epsilon: float, sign: int) -> Pair:
        q = self.rate
        if q == 1.0:
            return epsilon, epsilon
        if sign > 0:
            if epsilon > 30.0:
                # e^epsilon is not formed
                t = epsilon - math.log(q) + math.log1p((q - 1.0) * math.exp(-epsilon))
            else:
                t = math.log1p(math.expm1(epsilon) / q)
            return t * (1.0 - 8.0 * UNIT), t * (1.0 + 8.0 * UNIT)
        y = math.expm1(-epsilon) / q
        near, far = y * (1.0 - 4.0 * UNIT), y * (1.0 + 4.0 * UNIT)  # y <= 0
        return (
            -math.log1p(near) * (1.0 - 4.0 * UNIT) if near > -1.0 else math.inf,
            -math.log1p(far) * (1.0 + 4.0 * UNIT) if far > -1.0 else math.inf,
        )

    def _gaussian(self, shift: Pair) -> Pair:
        # decreasing in t, increasing in mu
        low, high = -math.inf, 0.0
        if shift[1] < math.inf and self.mu[0] >= _SMALLEST:
            low = log_delta(shift[1], min(self.mu[0], _LARGEST)).enclosure()[0]
        if shift[0] == math.inf:
            high = -math.inf
        elif self.mu[1] <= _LARGEST:
            high = log_delta(shift[0], max(self.mu[1], _SMALLEST)).enclosure()[1]
        return low, high

"""The privacy curve of a single use of any pair, from its masses.

delta(epsilon) = P(L > epsilon) - e^epsilon Q(L > epsilon). The set {L > boundary} is a test whether
or not the boundary is exactly epsilon, so the value found is never above the truth but for errors
of the masses. It falls short by at most the mass of P between, times 1 - e^-d or e^d - 1, d the
distance of the boundaries.
"""

import math
from collections.abc import Sequence

import numpy as np

from ..mills import UNIT
from .base import Array, Pair, above


class OneStepTable:
    """delta of one use of `pair`, enclosed.

    >>> from privassay.accountant.pairs.laplace import Laplace
    >>> low, high = OneStepTable(Laplace(1.0)).log_delta_interval([0.5])
    >>> [round(math.exp(end[0]), 9) for end in (low, high)]
    [0.221199217, 0.221199217]
    """

    def __init__(self, pair: Pair) -> None:
        self.pair = pair

    def log_delta_interval(self, epsilons: Sequence[float] | Array) -> tuple[Array, Array]:
        """Lower and upper limits of ln delta at each epsilon, any finite reals, float[n]."""
        asked = np.asarray(epsilons, dtype=np.float64)
        at, back = np.unique(asked, return_inverse=True)
        if not len(at):
            return np.zeros(0), np.zeros(0)
        p, p_error, q, q_error, shift = self._above(at)
        # the mass between two boundaries is below that above the lower of them
        starts, lower = np.unique(at - 4.0 * shift - UNIT * np.abs(at), return_inverse=True)
        wide = self._above(starts)
        between = (wide[0] + wide[1])[lower]
        # `infinite` is rounded up; what is missing in P's finite part bounds it from below
        infinite = self.pair.infinite
        whole = self.pair.masses(np.zeros(1))
        finite = float(whole.p.sum() + whole.p_error.sum()) * (1.0 + 4.0 * UNIT)
        surely = max(0.0, 1.0 - finite) * (1.0 - UNIT) if infinite > 0.0 else 0.0
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            # far out e^epsilon alone would overflow
            scaled = np.where(q > 0.0, np.exp(np.minimum(at + np.log(q), 700.0)), 0.0)
            charge = np.where(q_error > 0.0, np.exp(np.minimum(at + np.log(q_error), 700.0)), 0.0)
            rounding = UNIT * (8.0 + np.abs(at) + np.abs(np.log(np.maximum(q, 1e-320))))
            error = p_error + charge + scaled * rounding * 2.0 + UNIT * p
            gap = p - scaled
            error = error * (1.0 + 1e-9) + 2.0 * UNIT * np.abs(gap)
            low = gap - error
            high = gap + error + between * math.expm1(shift) * (1.0 + 1e-9)
        known = at >= self.pair.highest
        low = np.where(known, 0.0, np.maximum(low, 0.0)) + surely
        high = np.where(known, 0.0, np.maximum(high, 0.0)) + infinite
        # delta is at least 1 - e^epsilon and at most 1
        least = -np.expm1(np.minimum(at, 0.0))
        low = np.minimum(np.maximum(low, least * (1.0 - 8.0 * UNIT)), 1.0)
        high = np.minimum(np.maximum(high, least * (1.0 + 8.0 * UNIT)), 1.0)
        with np.errstate(divide="ignore"):
            log_low, log_high = np.log(np.maximum(low, 0.0)), np.log(np.maximum(high, 0.0))
        slack = 8.0 * UNIT
        log_low = log_low - slack * (1.0 + np.where(np.isfinite(log_low), np.abs(log_low), 0.0))
        log_high = log_high + slack * (1.0 + np.where(np.isfinite(log_high), np.abs(log_high), 0.0))
        return log_low[back], np.minimum(log_high, 0.0)[back]

    def _above(self, at: Array) -> tuple[Array, Array, Array, Array, float]:
        # masses of {L > boundary} of finite losses, summed from above
        found = self.pair.masses(at)
        sums = []
        for mass in (found.p, found.p_error, found.q, found.q_error):
            sums.append(np.cumsum(mass[::-1])[::-1][1:])
        p, p_error, q, q_error = sums
        rounding = UNIT * (len(at) + 2.0)
        p_error = p_error * (1.0 + 1e-9) + p * rounding
        q_error = q_error * (1.0 + 1e-9) + q * rounding
        shift = above(found.loss_error * (1.0 + 1e-9)) if found.loss_error > 0.0 else 0.0
        return p, p_error, q, q_error, shift

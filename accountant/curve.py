"""The privacy curve of a composition: delta at any epsilon and back, both directions, enclosed.

Two engines answer: the contour integral (`engines.contour`) where everything is a Gaussian, sampled
or not, and the lattice (`engines.lattice`) for everything else and wherever the contour's answer is
wide. What both prove is intersected; enclosures that exclude each other raise (`one_way`).
"""

import math

import numpy as np

from . import check
from .bounds import Interval
from .engine_steps import is_exact
from .engines.tpr import tpr_interval
from .flatten import Parts
from .one_way import DIRECTIONS, Array, OneWay


class EngineCurve:
    """Both directions; the worse one counts.

    Args:
        parts: what was released.
        both_engines: ask the lattice everywhere, not only where the contour is wide.
    """

    def __init__(self, parts: Parts, *, both_engines: bool = False) -> None:
        self.parts = parts
        # one composition dominates, the other is dominated; mostly they are the same
        self._high = [OneWay(parts, d, "upper", both=both_engines) for d in DIRECTIONS]
        self._low = (
            self._high
            if is_exact(parts)
            else [OneWay(parts, d, "lower", both=both_engines) for d in DIRECTIONS]
        )

    def log_delta(self, epsilon: Array) -> tuple[Array, Array]:
        """Limits of ln delta in the worse direction, float[n] each."""
        low, high = self._high[0].log_delta(epsilon)
        other = self._high[1].log_delta(epsilon, low)
        high = np.maximum(high, other[1])
        if self._low is self._high:
            low = np.maximum(low, other[0])
        else:
            low = np.maximum(*[way.log_delta(epsilon, other[1])[0] for way in self._low])
        return np.minimum(low, high), high

    def infinite(self) -> float:
        """Upper bound of delta at infinite epsilon: the mass at infinite loss."""
        if self.parts.squared_mu[1] == math.inf:
            return 1.0
        log, worst = 0.0, 0.0
        for (upper, _), count in self.parts.pairs.items():
            worst = max(upper.infinite, upper.missing)
            if worst >= 1.0:
                return 1.0
            log += count * math.log1p(-worst)
        return min(1.0, -math.expm1(log) * (1.0 + 1e-9))

    def epsilon(self, delta: float) -> Interval:
        """Smallest epsilon at `delta` in [0, 1]."""
        check.probability(delta=delta)
        if delta == 1.0:
            return Interval(0.0, 0.0)
        if delta == 0.0:
            high = max(way.at_zero_delta()[1] for way in self._high)
            low = max(way.at_zero_delta()[0] for way in self._low)
        else:
            high = max(way.epsilon(delta)[1] for way in self._high)
            low = max(way.epsilon(delta)[0] for way in self._low)
        return Interval(min(low, high), high)

    def by_direction(self, delta: float) -> dict[str, Interval]:
        """Epsilon at `delta` in (0, 1), one interval per direction."""
        found: dict[str, Interval] = {}
        for name, high, low in zip(DIRECTIONS, self._high, self._low, strict=True):
            ends = low.epsilon(delta)[0], high.epsilon(delta)[1]
            found[name] = Interval(min(ends), ends[1])
        return found

    def tpr(self, fpr: float) -> Interval:
        """Best true-positive rate at `fpr`, of the better of the two tests."""
        highs = [tpr_interval(way.log_delta, fpr)[1] for way in self._high]
        lows = [tpr_interval(way.log_delta, fpr)[0] for way in self._low]
        return Interval(min(max(lows), max(highs)), max(highs))

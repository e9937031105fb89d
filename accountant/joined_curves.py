"""Curves made of curves: the lower of two upper ends, and the worst of several."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .bounds import Interval
from .one_way import DIRECTIONS, Array


class Capped:
    """A curve whose upper ends are also those of another that is known to lie above."""

    def __init__(self, curve: Any, cap: Any) -> None:
        self.curve, self.cap = curve, cap

    def infinite(self) -> float:
        """Upper bound of delta at infinite epsilon."""
        return float(min(self.curve.infinite(), self.cap.infinite()))

    def log_delta(self, epsilon: Array) -> tuple[Array, Array]:
        """Limits of ln delta, float[n] each."""
        low, high = self.curve.log_delta(epsilon)
        high = np.minimum(high, self.cap.log_delta(epsilon)[1])
        return np.minimum(low, high), high

    def epsilon(self, delta: float) -> Interval:
        """Smallest epsilon at `delta`."""
        return _capped(self.curve.epsilon(delta), self.cap.epsilon(delta))

    def tpr(self, fpr: float) -> Interval:
        """Best true-positive rate at `fpr`."""
        return _capped(self.curve.tpr(fpr), self.cap.tpr(fpr))

    def by_direction(self, delta: float) -> dict[str, Interval]:
        """Epsilon at `delta`, one interval per direction."""
        found, caps = self.curve.by_direction(delta), self.cap.by_direction(delta)
        return {name: _capped(found[name], caps[name]) for name in DIRECTIONS}


def _capped(found: Interval, cap: Interval) -> Interval:
    high = min(found.upper, cap.upper)
    return Interval(min(found.lower, high), high)


class WorstOf:
    """The pointwise worst of several curves: parallel composition of different events."""

    def __init__(self, curves: Sequence[Any]) -> None:
        self.curves = tuple(curves)

    def _most(self, ask: Callable[[Any], Interval]) -> Interval:
        found = [ask(curve) for curve in self.curves]
        return Interval(max(f.lower for f in found), max(f.upper for f in found))

    def log_delta(self, epsilon: Array) -> tuple[Array, Array]:
        """Limits of ln delta, float[n] each."""
        found = [curve.log_delta(epsilon) for curve in self.curves]
        return (
            np.max([low for low, _ in found], axis=0),
            np.max([high for _, high in found], axis=0),
        )

    def epsilon(self, delta: float) -> Interval:
        """Smallest epsilon at `delta`."""
        return self._most(lambda curve: curve.epsilon(delta))

    def tpr(self, fpr: float) -> Interval:
        """Best true-positive rate at `fpr`."""
        return self._most(lambda curve: curve.tpr(fpr))

    def by_direction(self, delta: float) -> dict[str, Interval]:
        """Epsilon at `delta`, one interval per direction."""
        found = [curve.by_direction(delta) for curve in self.curves]
        return {
            name: Interval(max(f[name].lower for f in found), max(f[name].upper for f in found))
            for name in DIRECTIONS
        }

"""The largest of a set of lines, with an error that is always to the safe side."""

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .clopper_pearson import Floats

_UNIT = 2.0**-53


@dataclass(frozen=True, eq=False)
class Envelope:
    """The largest of the falling lines height - slope x and of 0, on [0, 1].

    Any line is a valid answer: a wrong choice of the line, by rounding, costs tightness only.
    """

    slope: Floats
    height: Floats
    until: Floats  # line i is the largest up to until[i]

    @classmethod
    def of(cls, slopes: NDArray[Any], heights: NDArray[Any]) -> "Envelope":
        """The envelope of lines with slopes float[k] and heights float[k]; not all below 0."""
        lines = sorted(zip(slopes.tolist(), heights.tolist(), strict=True), reverse=True)
        kept: list[tuple[float, float]] = []
        until: list[float] = []
        for slope, height in [*lines, (0.0, 0.0)]:
            if height < 0.0:
                continue
            while kept:
                steep, high = kept[-1]
                if slope == steep:
                    if height <= high:
                        break
                    cross = -1.0
                else:
                    # to the right of `cross` the flatter line is the larger one
                    cross = (high - height) / (steep - slope)
                if cross > (until[-2] if len(until) > 1 else 0.0):
                    until[-1] = cross
                    kept.append((slope, height))
                    until.append(math.inf)
                    break
                kept.pop()
                until.pop()
            else:
                kept.append((slope, height))
                until.append(math.inf)
        table = np.array(kept, dtype=np.float64)
        return cls(table[:, 0], table[:, 1], np.array(until))

    def at(self, x: Floats) -> Floats:
        """Float[n], rounded down."""
        line = np.minimum(np.searchsorted(self.until, x), self.until.size - 1)
        fall = self.slope[line] * x
        height = self.height[line]
        value = height - fall - 32.0 * _UNIT * (height + fall)
        return np.asarray(np.maximum(0.0, value), dtype=np.float64)

    def from_the_other_side(self) -> Callable[[float], float]:
        """At most the largest line at 1 - y, as a scalar function of y."""
        slopes, heights, until = self.slope.tolist(), self.height.tolist(), self.until.tolist()
        last = len(until) - 1

        def value(y: float) -> float:
            x = 1.0 - y
            if x <= 0.0:
                return heights[0] * (1.0 - 1e-14) if x == 0.0 else 1.0
            line = min(bisect_right(until, x), last)
            fall = slopes[line] * x
            height = heights[line]
            return float(max(0.0, height - fall - 64.0 * _UNIT * (height + fall)))

        return value

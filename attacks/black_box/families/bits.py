"""Low-order bits and grids: what the number format and the sampler's arithmetic give away.

A sum of a true value and noise in floating point does not reach every number: near 0 it still lies
on the grid of the larger summand, which depends on the true value. Likewise noise drawn on a
fixed-point grid and added to a value that is not on it. Source: Mironov, 2012,
doi:10.1145/2382196.2382264. A find here says that the implementation leaks, not that the noise is
too small; rounding the output to a coarse fixed grid mends it.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..ranking import Floats
from ..view import Batch, Training
from .base import FeatureScore, column_names, learn_features

_COLUMNS = 8
_EMPTY = 2000.0  # exponent of the lowest bit of 0, which has none
_RELATIVE = 1e-7  # a grid finer than this share of the spread cannot be told from rounding


def lowest_bit(values: Floats) -> Floats:
    """Exponent of the lowest set bit: the coarsest power of two that divides the value.

    >>> lowest_bit(np.array([1.0, 0.75, 6.0, 2.0**-60])).tolist()
    [0.0, -2.0, 1.0, -60.0]
    """
    fraction, exponent = np.frexp(np.where(np.isfinite(values), values, 0.0))
    mantissa = (np.abs(fraction) * 2.0**53).astype(np.int64)
    lowest = (mantissa & -mantissa).astype(np.float64)
    zeros = np.frexp(np.maximum(lowest, 1.0))[1] - 1
    return np.where(mantissa == 0, _EMPTY, exponent - 53.0 + zeros)


@dataclass(frozen=True)
class LowBits:
    """Lowest set bit, unused bits, last bits and the place on a grid, for each column."""

    columns: int
    grids: Floats

    def __call__(self, batch: Batch) -> Floats:
        """float[n, 5 columns + 2]."""
        x = batch.values[:, : self.columns]
        x = np.where(np.isfinite(x), x, 0.0)
        lowest = lowest_bit(x)
        fraction, exponent = np.frexp(x)
        unused = np.where(x == 0.0, 60.0, lowest - (exponent - 53.0))
        last = ((np.abs(fraction) * 2.0**53).astype(np.int64) & 7).astype(np.float64)
        phase = np.where(self.grids > 0.0, _phase(x, self.grids), 0.0)
        # The grid against the size of the number: an early end of the bits near 0 is what shows.
        parts = (lowest, unused, last, phase, np.minimum(lowest, 0.0) - np.minimum(exponent, 0))
        totals = np.column_stack((lowest.min(axis=1), unused.sum(axis=1)))
        return np.concatenate((*parts, totals), axis=1)


@dataclass(frozen=True)
class Bits:
    """The best rule on low-order bits and on the place of a value on a grid."""

    name: ClassVar[str] = "bits"

    def learn(self, training: Training) -> FeatureScore | None:
        """None if all bits agree."""
        a, b = training.inside.values, training.outside.values
        columns = min(a.shape[1], _COLUMNS)
        found = [_grid(a[:, j], b[:, j]) for j in range(columns)]
        names = column_names(training)[:columns]
        kinds = ("lowest bit of", "unused bits of", "last bits of", "place on the grid of",
                 "bits below the first of")  # fmt: skip
        words = [f"{kind} {name}" for kind in kinds for name in names]
        features = LowBits(columns, np.array(found))
        return learn_features(training, features, [*words, "finest bit", "all unused bits"])


def _phase(x: Floats, grids: Floats) -> Floats:
    """Where x lies between two grid points, in thousandths of a step, so that rounding is lost."""
    steps = x / np.where(grids > 0.0, grids, 1.0)
    return np.asarray(np.rint((steps - np.floor(steps)) * 1000.0) % 1000.0)


def _grid(a: Floats, b: Floats) -> float:
    """The step of the grid on which the differences of a world lie; 0 if there is none."""
    for world in (a, b):
        values = np.unique(world[np.isfinite(world)][:256])
        if values.size < 8:
            continue
        spread = float(values[-1] - values[0])
        step = _common_divisor(np.diff(values), _RELATIVE * spread)
        if step > 100.0 * _RELATIVE * spread:
            return step
    return 0.0


def _common_divisor(gaps: Floats, tolerance: float) -> float:
    """Euclid's algorithm with a tolerance: 0 as soon as the remainder falls below it."""
    step = float(gaps[0])
    for gap in gaps[1:]:
        high, low = max(step, float(gap)), min(step, float(gap))
        while low > tolerance:
            high, low = low, abs(high - low * round(high / low))
        step = high
        if step < 10.0 * tolerance:
            return 0.0
    # Rounding adds up in Euclid's remainders: the mean over all gaps is better.
    counts = np.rint(gaps / step)
    return float(gaps.sum() / counts.sum()) if counts.sum() > 0 else 0.0

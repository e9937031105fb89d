"""Outputs rounded far below their spread, so that what is scored is the noise, not the arithmetic.

Adding noise in floating point leaves the value in the lowest bits (Mironov, 2012): 1.0 + noise has
fewer of them than 0.0 + noise. Nearly every implementation leaks so, whatever the size of its
noise; it is a finding of its own, and must not be taken for too little noise.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BITS = {8: 30, 4: 14}  # kept below the spread, by bytes of the format that the values fit
_ULPS = {8: 2.0**-48, 4: 2.0**-19}  # of the largest value: 16 units in the last place


_COARSE = 22  # bits below the spread; a lattice coarser than that was meant


def _lattice(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest power of two of which all values of an entry are multiples; inf for zeros."""
    fraction, exponent = np.frexp(values)
    whole = np.abs(fraction * 2.0**53).astype(np.int64)
    lowest = (whole & -whole).astype(np.float64)  # its lowest bit
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        size = np.log2(lowest) + exponent - 53.0
        size = np.where(whole == 0, np.inf, size)
        return np.asarray(np.exp2(size.min(axis=0)))


@dataclass(frozen=True, eq=False)
class Rounding:
    """A grid per entry of an output, a power of two; 0 where values are left alone."""

    grid: NDArray[np.float64]

    @classmethod
    def learn(cls, outputs_in: ArrayLike, outputs_out: ArrayLike) -> "Rounding | None":
        """The grid for these outputs; None for outputs that are not arrays of floating point.

        Args:
            outputs_in: array[n_in, ...].
            outputs_out: array[n_out, ...], of the same shape but for the first axis.
        """
        both = [np.asarray(x) for x in (outputs_in, outputs_out)]
        if any(x.dtype.kind != "f" for x in both) or both[0].shape[1:] != both[1].shape[1:]:
            return None
        values = np.concatenate(both).astype(np.float64, copy=False)
        values = np.where(np.isfinite(values), values, np.nan)
        with np.errstate(all="ignore"):
            single = all(x.dtype.itemsize < 8 for x in both) or bool(
                np.all((values == values.astype(np.float32)) | np.isnan(values))
            )
        size = 4 if single else 8
        filled = np.where(np.isnan(values), 0.0, values)
        spread = np.quantile(filled, 0.9, axis=0) - np.quantile(filled, 0.1, axis=0)
        spread = np.where(spread > 0.0, spread, filled.std(axis=0))
        least = np.abs(filled).max(axis=0) * _ULPS[size]
        width = np.maximum(spread * 2.0 ** -_BITS[size], least)
        usable = (spread > 0.0) & np.isfinite(width) & (width > 1e-290)
        # counts and values on a grid of their own: their lattice is no work of the arithmetic
        usable &= _lattice(filled) < spread * 2.0**-_COARSE
        with np.errstate(divide="ignore", invalid="ignore"):
            grid = np.where(usable, 2.0 ** np.floor(np.log2(width)), 0.0)
        return cls(np.asarray(grid, dtype=np.float64))

    def apply(self, outputs: ArrayLike) -> NDArray[Any]:
        """The outputs on the grid; NaN and infinity stay.

        >>> rounding = Rounding.learn(np.array([[0.1], [3.3]]), np.array([[1.7], [2.9]]))
        >>> found = rounding.apply(np.array([[1.0 + 2.0**-40], [np.nan]]))
        >>> bool(found[0, 0] == 1.0), bool(np.isnan(found[1, 0]))
        (True, True)
        """
        values = np.asarray(outputs).astype(np.float64)
        with np.errstate(all="ignore"):
            rounded = np.round(values / self.grid) * self.grid
        return np.where(np.isfinite(rounded) & (self.grid > 0.0), rounded, values)

"""Coordinates that came out without noise: in one world they never change."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..ranking import Floats
from ..view import Batch, Training

_FLAT = 1e-9  # spread over gap below which a coordinate has no noise; sums differ in last digits


@dataclass(frozen=True)
class NearestConstant:
    """Counts the coordinates that lie at their constant of one world rather than the other's."""

    columns: NDArray[np.int64]
    with_record: Floats
    without: Floats
    tolerance_in: Floats
    tolerance_out: Floats

    @property
    def what(self) -> str:
        """In words."""
        places = ", ".join(map(str, self.columns[:4])) + (", ..." if self.columns.size > 4 else "")
        return f"a constant value at kept column {places}"

    def score(self, batch: Batch) -> Floats:
        """float[n]."""
        x = batch.values[:, self.columns]
        like_in = np.abs(x - self.with_record) <= self.tolerance_in
        like_out = np.abs(x - self.without) <= self.tolerance_out
        return np.asarray((like_in.astype(np.float64) - like_out).sum(axis=1))


@dataclass(frozen=True)
class Unnoised:
    """Whether a coordinate equals the value that it always has in one of the worlds."""

    name: ClassVar[str] = "unnoised"

    def learn(self, training: Training) -> NearestConstant | None:
        """None unless some coordinate is constant in a world and not the same in both."""
        a, b = training.inside.values, training.outside.values
        a = np.where(np.isfinite(a), a, np.nan)
        b = np.where(np.isfinite(b), b, np.nan)
        whole = ~(np.isnan(a).any(axis=0) | np.isnan(b).any(axis=0))
        a, b = np.where(whole, a, 0.0), np.where(whole, b, 0.0)
        middle_in, middle_out = np.median(a, axis=0), np.median(b, axis=0)
        spread_in, spread_out = np.ptp(a, axis=0), np.ptp(b, axis=0)
        size = np.maximum(np.maximum(spread_in, spread_out), np.abs(middle_in - middle_out))
        flat = np.minimum(spread_in, spread_out) <= _FLAT * size
        columns = np.flatnonzero(whole & flat & (size > 0.0))
        if columns.size == 0:
            return None

        def tolerance(spread: Floats) -> Floats:
            # A world that does vary has no constant: nothing is near it.
            near = np.where(spread <= _FLAT * size, 4.0 * _FLAT * size, -1.0)
            return near[columns]

        return NearestConstant(
            columns,
            middle_in[columns],
            middle_out[columns],
            tolerance(spread_in),
            tolerance(spread_out),
        )

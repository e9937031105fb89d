"""Whole outputs that repeat: a table of how often each was seen in both worlds."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..ranking import Floats
from ..view import Batch, Training, chunks

_SMOOTHING = 0.5


@dataclass(frozen=True)
class Table:
    """Log ratio of the counts of each known output; 0 for one that was never seen."""

    keys: NDArray[np.uint64]
    ratios: Floats

    @property
    def what(self) -> str:
        """In words."""
        return f"log ratio of the frequencies of {self.keys.size} distinct outputs"

    def score(self, batch: Batch) -> Floats:
        """float[n]."""
        hashed = hashes(batch)
        place = np.minimum(np.searchsorted(self.keys, hashed), self.keys.size - 1)
        return np.where(self.keys[place] == hashed, self.ratios[place], 0.0)


@dataclass(frozen=True)
class Frequency:
    """Log ratio of the smoothed frequencies of the whole output, where outputs repeat."""

    name: ClassVar[str] = "frequency"

    def learn(self, training: Training) -> Table | None:
        """None if hardly any output repeats."""
        a, b = hashes(training.inside), hashes(training.outside)
        keys, where = np.unique(np.concatenate((a, b)), return_inverse=True)
        if keys.size < 2 or keys.size > 0.9 * where.size:
            return None
        count_in = np.bincount(where[: a.size], minlength=keys.size)
        count_out = np.bincount(where[a.size :], minlength=keys.size)
        ratios = np.log((count_in + _SMOOTHING) / a.size) - np.log(
            (count_out + _SMOOTHING) / b.size
        )
        return Table(keys, ratios)


def hashes(batch: Batch) -> NDArray[np.uint64]:
    """uint64[n] of the exact bits of each output, so that 0.0 and -0.0 differ; all NaNs agree."""
    found = []
    weights = _weights(batch.rows.shape[1])
    for chunk in chunks(batch.rows):
        bits = np.where(np.isnan(chunk), np.nan, chunk).view(np.uint64)
        bits = bits ^ (bits >> np.uint64(29))
        mixed = bits * weights
        mixed ^= mixed >> np.uint64(32)
        found.append((mixed * weights).sum(axis=1, dtype=np.uint64))
    return np.concatenate(found)


def _weights(d: int) -> NDArray[np.uint64]:
    """Fixed odd multipliers: an output must hash alike in every process."""
    generator = np.random.Generator(np.random.PCG64(20_240_229))
    return generator.integers(0, 2**63, size=d, dtype=np.uint64) * np.uint64(2) + np.uint64(1)

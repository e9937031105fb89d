"""Ties and atoms: values that repeat within an output, or that come out exactly too often."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..ranking import Floats
from ..view import Batch, Training
from .base import FeatureScore, Summaries, column_names, learn_features

_COUNTS = Summaries(("repeated values", "zeros", "whole numbers"))
_OFTEN = 3  # times a continuous value has to be seen to count as an atom


@dataclass(frozen=True)
class AtAtoms:
    """Counts of ties, and for each column whether its value is an atom of this or that world."""

    columns: NDArray[np.int64]
    inside: tuple[Floats, ...]
    outside: tuple[Floats, ...]

    def __call__(self, batch: Batch) -> Floats:
        """float[n, 3 + columns + 1]."""
        x = batch.values[:, self.columns]
        marks = np.zeros(x.shape)
        for j, (a, b) in enumerate(zip(self.inside, self.outside, strict=True)):
            marks[:, j] = np.isin(x[:, j], a).astype(np.float64) - np.isin(x[:, j], b)
        return np.column_stack((_COUNTS(batch), marks, marks.sum(axis=1)))


@dataclass(frozen=True)
class Atoms:
    """Ties within an output, and single values that one world takes far more often."""

    name: ClassVar[str] = "atoms"

    def learn(self, training: Training) -> FeatureScore | None:
        """None if nothing repeats."""
        a, b = training.inside.values, training.outside.values
        columns, inside, outside = [], [], []
        for j in range(a.shape[1]):
            more_in, more_out = _atoms(a[:, j], b[:, j])
            if more_in.size or more_out.size:
                columns.append(j)
                inside.append(more_in)
                outside.append(more_out)
        names = column_names(training)
        features = AtAtoms(np.array(columns, dtype=np.int64), tuple(inside), tuple(outside))
        words = [*_COUNTS.names, *(f"atoms of {names[j]}" for j in columns), "all atoms"]
        return learn_features(training, features, words)


def _atoms(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Values that the first world has clearly more often than the second, and the reverse."""
    values, where = np.unique(np.concatenate((a, b)), return_inverse=True)
    if values.size == where.size:
        return np.empty(0), np.empty(0)
    in_a = np.bincount(where[: a.size], minlength=values.size) / a.size
    in_b = np.bincount(where[a.size :], minlength=values.size) / b.size
    often = (in_a * a.size + in_b * b.size) >= _OFTEN
    return values[often & (in_a > 3.0 * in_b)], values[often & (in_b > 3.0 * in_a)]

"""Entries whose noise should be independent: where it is shared, a difference or sum is clean."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..ranking import Floats
from ..view import Batch, Training
from .base import FeatureScore, column_names, learn_features

_ALL_PAIRS = 12  # up to this many columns every pair is tried


@dataclass(frozen=True)
class Pairs:
    """x_i - x_j and x_i + x_j for some pairs of kept columns, and how many are exactly 0."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]

    def __call__(self, batch: Batch) -> Floats:
        """float[n, 2 pairs + 2]."""
        x = np.where(np.isfinite(batch.values), batch.values, np.nan)
        minus = x[:, self.first] - x[:, self.second]
        plus = x[:, self.first] + x[:, self.second]
        zeros = np.column_stack(((minus == 0.0).sum(axis=1), (plus == 0.0).sum(axis=1)))
        return np.concatenate((minus, plus, zeros.astype(np.float64)), axis=1)


@dataclass(frozen=True)
class Differences:
    """The best rule on differences and sums of pairs of entries.

    With few coordinates all pairs; else neighbours, equal places of successive rows, halves, and
    the most correlated pairs.
    """

    name: ClassVar[str] = "differences"

    def learn(self, training: Training) -> FeatureScore | None:
        """None with a single coordinate."""
        k = training.inside.values.shape[1]
        if k < 2:
            return None
        first, second = _pairs(training, k)
        names = column_names(training)
        minus = [f"{names[i]} - {names[j]}" for i, j in zip(first, second, strict=True)]
        plus = [f"{names[i]} + {names[j]}" for i, j in zip(first, second, strict=True)]
        words = [*minus, *plus, "equal pairs", "opposite pairs"]
        return learn_features(training, Pairs(first, second), words)


def _pairs(training: Training, k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    most = training.budget.pairs
    i, j = np.triu_indices(k, 1)
    if k <= _ALL_PAIRS and i.size <= max(most, _ALL_PAIRS * (_ALL_PAIRS - 1) // 2):
        return i, j
    # Correlation within the worlds: a shift between them must not look like shared noise.
    within = 0.0
    for batch in (training.inside, training.outside):
        clean = batch.clean - batch.clean.mean(axis=0)
        within = within + clean.T @ clean / clean.shape[0]
    size = np.sqrt(np.maximum(np.diag(within), 1e-300))
    correlation = np.abs(within / size / size[:, None])[i, j]
    place = training.inside.view.kept
    gap = place[j] - place[i]
    shape = training.inside.view.layout.shape
    row = int(np.prod(shape[1:])) if len(shape) > 1 else 1
    special = (gap == 1) | (gap == row) | (2 * gap == training.inside.rows.shape[1])
    order = np.argsort(-(correlation + 0.2 * special), kind="stable")[:most]
    return i[order], j[order]

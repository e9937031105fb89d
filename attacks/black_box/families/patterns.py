"""Where an output is NaN, infinite, zero or short: participation that shows without a number."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..ranking import Floats
from ..view import Batch, Training
from .base import FeatureScore, Summaries, column_names, learn_features

_COUNTS = Summaries(("NaNs", "+infinities", "-infinities", "zeros", "whole numbers"))


def _patterns(batch: Batch) -> Floats:
    x = batch.values
    masks = (np.isnan(x), np.isinf(x), x == 0.0, np.signbit(x) & (x == 0.0))
    return np.concatenate((_COUNTS(batch), *(mask.astype(np.float64) for mask in masks)), axis=1)


@dataclass(frozen=True)
class Patterns:
    """The best rule on what is NaN, infinite, zero, minus zero or whole."""

    name: ClassVar[str] = "patterns"

    def learn(self, training: Training) -> FeatureScore | None:
        """None if all outputs have the same pattern."""
        columns = column_names(training)
        kinds = ("NaN", "infinite", "zero", "minus zero")
        names = [*_COUNTS.names, *(f"{c} is {kind}" for kind in kinds for c in columns)]
        return learn_features(training, _patterns, names)

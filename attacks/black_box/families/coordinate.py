"""One coordinate, or the coordinates taken as independent."""

from dataclasses import dataclass
from typing import ClassVar

from ..ranking import Floats
from ..view import Batch, Training
from .base import FeatureScore, column_names, learn_features


def _values(batch: Batch) -> Floats:
    return batch.values


@dataclass(frozen=True)
class Coordinate:
    """The best single coordinate (value, distance from the middle, counts), or naive Bayes."""

    name: ClassVar[str] = "coordinate"

    def learn(self, training: Training) -> FeatureScore | None:
        """None if every output is the same."""
        return learn_features(training, _values, column_names(training))

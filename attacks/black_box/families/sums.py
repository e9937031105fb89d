"""Sums, means and extremes over the coordinates of an output."""

from dataclasses import dataclass
from typing import ClassVar

from ..view import Training
from .base import FeatureScore, Summaries, learn_features

_FEATURES = Summaries(
    (
        "sum",
        "mean",
        "largest",
        "smallest",
        "range",
        "where the largest is",
        "largest standardised",
        "smallest standardised",
    )
)


@dataclass(frozen=True)
class Sums:
    """The best rule on sums, means and extremes over all coordinates."""

    name: ClassVar[str] = "sums"

    def learn(self, training: Training) -> FeatureScore | None:
        """None if every output is the same."""
        return learn_features(training, _FEATURES, _FEATURES.names)

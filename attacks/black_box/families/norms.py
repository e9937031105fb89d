"""Norms: noise that is too small, or that grows with the data."""

from dataclasses import dataclass
from typing import ClassVar

from ..view import Training
from .base import FeatureScore, Summaries, learn_features

_FEATURES = Summaries(
    (
        "L2 norm, centred",
        "L1 norm, centred",
        "L-infinity norm, centred",
        "L2 norm",
        "L1 norm",
        "spread of neighbours",
    )
)


@dataclass(frozen=True)
class Norms:
    """The best rule on norms of the output, raw and standardised."""

    name: ClassVar[str] = "norms"

    def learn(self, training: Training) -> FeatureScore | None:
        """None if every output is the same."""
        return learn_features(training, _FEATURES, _FEATURES.names)

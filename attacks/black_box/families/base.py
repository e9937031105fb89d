"""What a family is, and the one shape most of them have: features, then the best rule on them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..columns import ColumnScore, learn_columns
from ..ranking import Floats
from ..view import Batch, Training


class Fitted(Protocol):
    """A score that was learnt."""

    @property
    def what(self) -> str:
        """What it looks at, in words."""

    def score(self, batch: Batch) -> Floats:
        """float[n], larger means more likely with the record."""


class Family(Protocol):
    """A way to learn a score."""

    @property
    def name(self) -> str:
        """As in the catalogue."""

    def learn(self, training: Training) -> Fitted | None:
        """A score, or None if these outputs have nothing that the family looks at."""


@dataclass(frozen=True)
class FeatureScore:
    """A rule on features; `features` must be a function of each output alone."""

    features: Callable[[Batch], Floats]
    rule: ColumnScore

    @property
    def what(self) -> str:
        """The rule in words."""
        return self.rule.what

    def score(self, batch: Batch) -> Floats:
        """float[n]."""
        return self.rule(self.features(batch))


def learn_features(
    training: Training,
    features: Callable[[Batch], Floats],
    names: Sequence[str],
    **options: Any,
) -> FeatureScore | None:
    """The best rule on `features`, float[n, k]."""
    rule = learn_columns(
        features(training.inside),
        features(training.outside),
        training.goal,
        training.rng,
        names,
        **options,
    )
    return None if rule is None else FeatureScore(features, rule)


@dataclass(frozen=True)
class Summaries:
    """Some of the summaries of a batch, as feature columns."""

    names: tuple[str, ...]

    def __call__(self, batch: Batch) -> Floats:
        """float[n, len(names)]."""
        import numpy as np

        return np.column_stack([batch.summary[name] for name in self.names])


def column_names(training: Training) -> list[str]:
    """The kept columns by their place in the output."""
    return [f"x[{int(j)}]" for j in training.inside.view.kept]

"""Gradient-boosted trees on coordinates and summaries: interactions that no other family sees."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..ranking import Floats
from ..view import Batch, Training

_SUMMARIES = (
    "sum",
    "largest",
    "smallest",
    "where the largest is",
    "L2 norm, centred",
    "NaNs",
    "zeros",
    "repeated values",
)
_COLUMNS = 32


def _features(batch: Batch) -> Floats:
    x = batch.values[:, :_COLUMNS]
    # A number below all others: trees can split on it, and a column of nothing but NaN is refused.
    x = np.where(np.isnan(x), -2e30, np.clip(x, -1e30, 1e30))
    if batch.rows.shape[1] == 1:
        return x
    return np.column_stack((x, *(batch.summary[name] for name in _SUMMARIES)))


@dataclass(frozen=True)
class Boosted:
    """Log odds by the trees."""

    model: Any
    what: str

    def score(self, batch: Batch) -> Floats:
        """float[n]."""
        from ..threads import one_thread

        with one_thread():
            return np.asarray(self.model.decision_function(_features(batch)), dtype=np.float64)


@dataclass(frozen=True)
class Trees:
    """Histogram gradient boosting of the log odds. Needs scikit-learn.

    Source: Ke et al., 2017 (LightGBM), as in scikit-learn's HistGradientBoostingClassifier.
    """

    name: ClassVar[str] = "trees"

    def learn(self, training: Training) -> Boosted | None:
        """None with fewer than 50 outputs in a world.

        Raises:
            ImportError: scikit-learn is not installed.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier

        from ..threads import one_thread

        a, b = training.inside, training.outside
        if min(a.n, b.n) < 50:
            return None
        model = HistGradientBoostingClassifier(
            max_iter=training.budget.trees,
            learning_rate=0.15,
            max_leaf_nodes=12,
            min_samples_leaf=15,
            max_bins=128,
            l2_regularization=1.0,
            early_stopping=False,
            random_state=int(training.rng.integers(2**31)),
        )
        labels = np.repeat([1, 0], (a.n, b.n))
        with one_thread():
            model.fit(np.concatenate((_features(a), _features(b))), labels)
        return Boosted(model, f"{training.budget.trees} boosted trees")

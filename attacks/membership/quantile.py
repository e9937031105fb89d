"""Quantile regression: is phi higher than a record like this one reaches without being used?

No shadow model: one regressor of phi given the record, fitted to records that were certainly not
used. Each record gets its own threshold at the wanted false-positive rate. Source: Bertran et al.,
arXiv:2307.03694.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError
from .outputs import Answers
from .population import population_of
from .signals import chosen, margin

Learner = Literal["boosting", "linear"]
LEARNERS: tuple[Learner, ...] = ("boosting", "linear")


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantileRegression:
    """phi minus the (1 - fpr) quantile predicted for non-members like the record.

    A threshold of zero gives about the false-positive rate asked for, if the regressor fits; no
    estimator should rely on that. The label is a feature, too, as one column a class.

    Attributes:
        features: float[records, dim], of the records that the targets are asked about.
        population: known non-members of each target that the regressor is fitted to: int64[z], or
            bool[targets, records]; never candidates, whose own phi it would have learnt.
        fpr: in (0, 1); the false-positive rate at which the attack is to be good.
        learner: "boosting" (gradient-boosted trees) or "linear".

    Raises:
        ParameterError: fpr or learner is outside its range.
        DesignError: features that are no finite table.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("querier", "outsider", "peer", "server")
    needs: ClassVar[tuple[str, ...]] = (
        "the record and its label",
        "logits or probabilities",
        "records of the same kind that were not used",
    )
    cost: ClassVar[str] = "1 regression a target; 1 query a record and one a record of the fit"
    source: ClassVar[str] = "Bertran et al., arXiv:2307.03694, algorithm 1"
    features: Tensor
    population: Tensor
    fpr: float = 0.05
    learner: Learner = "boosting"

    def __post_init__(self) -> None:
        check.open_probability(fpr=self.fpr)
        check.one_of(LEARNERS, learner=self.learner)
        if self.features.ndim != 2 or not bool(torch.isfinite(self.features).all()):
            raise DesignError(
                "features must be a finite float[records, dim], but have shape "
                f"{tuple(self.features.shape)}; flatten images, encode words"
            )

    def score(self, view: Answers, candidates: Tensor | None = None) -> Tensor:
        """float64[targets, m] for records int64[m], or all; larger means more likely a member.

        Raises:
            DesignError: features or population do not fit the view, or the population overlaps the
                candidates.
        """
        targets, records, classes = view.logits.shape
        if len(self.features) != records:
            raise DesignError(
                f"features has {len(self.features)} rows, but {records} records were asked about"
            )
        populations = population_of(
            self.population, targets, records, candidates=candidates, may_score=False
        )
        phi = margin(view)
        label = torch.nn.functional.one_hot(view.labels, classes)
        table = torch.cat([self.features.double().to(phi), label.to(phi)], dim=1).cpu().numpy()
        usual = np.empty((targets, records))
        for target, rows in enumerate(populations):
            fit = rows.numpy()
            regressor = self._regressor().fit(table[fit], phi[target].cpu().numpy()[fit])
            usual[target] = regressor.predict(table)
        return chosen(phi - torch.from_numpy(usual).to(phi.device), candidates)

    def _regressor(self) -> Any:
        if self.learner == "linear":
            from sklearn.linear_model import QuantileRegressor

            # A little L1 penalty: pixels that never vary have no slope of their own.
            return QuantileRegressor(quantile=1.0 - self.fpr, alpha=1e-3)
        from sklearn.ensemble import HistGradientBoostingRegressor

        return HistGradientBoostingRegressor(
            loss="quantile",
            quantile=1.0 - self.fpr,
            max_iter=60,
            max_leaf_nodes=8,
            early_stopping=False,  # it would hold records back at random
        )

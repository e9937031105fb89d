"""Intervals of AUC and TPR by resampling: a description of an attack, never an epsilon.

A bootstrap interval holds only for many trials, fails at low rates, and its upper end says nothing
about what leaks. No function here returns epsilon.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...accountant import check
from ...attacks.scores import Scores
from .auc import auc
from .clopper_pearson import Floats, risk
from .guesses import check_seed


@dataclass(frozen=True, kw_only=True)
class Description:
    """How well an attack does on these scores.

    Attributes:
        what: "AUC" or "TPR at FPR ..".
        value: on the scores.
        lower: percentile of the resamples.
        upper: percentile of the resamples.
        confidence: of the interval, for many independent trials only.
        guarantee: "none".
    """

    what: str
    value: float
    lower: float
    upper: float
    confidence: float
    guarantee: str = "none"


def tpr_at(values_in: Floats, values_out: Floats, fpr: float) -> float:
    """Largest TPR of a threshold whose FPR on these scores is at most `fpr`.

    >>> tpr_at(np.array([1.0, 2.0]), np.array([0.0, 1.0]), 0.1)
    0.5
    """
    check.probability(fpr=fpr)
    ordered = np.sort(values_out)[::-1]
    allowed = int(np.floor(fpr * ordered.size + 1e-9))
    if allowed >= ordered.size:
        return 1.0
    return float(np.count_nonzero(values_in > ordered[allowed]) / values_in.size)


def describe(
    scores: Scores,
    *,
    fpr: float | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Description:
    """AUC, or TPR at `fpr`, with a percentile bootstrap interval over the two samples.

    Source: Efron, 1979, doi:10.1214/aos/1176344552.

    Args:
        scores: of any design; for dependent scores the interval is too short.
        fpr: None for AUC.
        confidence: in (0, 1).
        resamples: how many.
        seed: >= 0.
    """
    check.count(resamples=resamples)
    alpha = risk(confidence)
    generator = np.random.default_rng(check_seed(seed))
    measure: Callable[[Floats, Floats], float]
    if fpr is None:
        what, measure = "AUC", auc
    else:
        rate = fpr
        what, measure = f"TPR at FPR {rate:g}", lambda a, b: tpr_at(a, b, rate)
    inside, outside = scores.values_in, scores.values_out
    found = np.array(
        [
            measure(generator.choice(inside, inside.size), generator.choice(outside, outside.size))
            for _ in range(resamples)
        ]
    )
    low, high = np.quantile(found, [alpha / 2.0, 1.0 - alpha / 2.0])
    return Description(
        what=what,
        value=measure(inside, outside),
        lower=float(low),
        upper=float(high),
        confidence=confidence,
    )

"""Many splits instead of one: the median of their bounds, each at half the allowed error."""

from dataclasses import replace

from ...accountant import check
from ...accountant.errors import ParameterError
from ...attacks.scores import Scores
from .bound import EmpiricalBound, require_independent
from .clopper_pearson import risk
from .guesses import check_seed
from .split import Criterion, split_bound


def multi_split_bound(
    scores: Scores,
    *,
    confidence: float,
    delta: float,
    seed: int = 0,
    criterion: Criterion = "mu",
    splits: int = 15,
) -> EmpiricalBound:
    """The median over `splits` random halvings; does not hang on the luck of one of them.

    Exact. Each split's two limits fail with probability at most alpha/2. If the median of mu, or of
    epsilon, is too high, at least half of the splits have failed. By Markov's inequality on the
    share of failed splits, which has mean at most alpha/2, that has probability at most alpha,
    however the splits depend on each other; and both medians are too high on this one event.
    Source: Meinshausen, Meier & Buehlmann, arXiv:0811.2177, Section 3 (twice the median p-value).

    Args:
        scores: design "many_runs", at least 2 trials on each side.
        confidence: in (0, 1).
        delta: in [0, 1), where epsilon is stated.
        seed: >= 0; the splits have the seeds from seed * splits on. Fix it before looking.
        criterion: which number the thresholds are to make large.
        splits: odd, so that the median is one of them.

    Raises:
        DesignError: the trials are not independent runs, or too few to halve.
        ParameterError: an even number of splits.
    """
    require_independent(scores, "multi_split")
    check.count(splits=splits)
    if splits % 2 == 0:
        raise ParameterError(f"splits must be odd, but is {splits}")
    check_seed(seed)
    inner = 1.0 - risk(confidence) / 2.0
    found = [
        split_bound(
            scores, confidence=inner, delta=delta, seed=seed * splits + i, criterion=criterion
        )
        for i in range(splits)
    ]
    middle = splits // 2
    by_mu = sorted(found, key=lambda bound: bound.mu_lower)[middle]
    by_epsilon = sorted(found, key=lambda bound: bound.epsilon_lower)[middle]
    return replace(
        by_mu,
        method="multi_split",
        confidence=confidence,
        epsilon_lower=by_epsilon.epsilon_lower,
        counts_epsilon=by_epsilon.counts_epsilon,
        threshold_from=(
            f"median of {splits} random halvings, seeds {seed * splits} to "
            f"{seed * splits + splits - 1}; mu: {by_mu.threshold_from}; "
            f"epsilon: {by_epsilon.threshold_from}"
        ),
    )

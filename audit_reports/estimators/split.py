"""Choose the threshold on one half of the trials, bound on the other half."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...accountant import check
from ...accountant.errors import DesignError, ParameterError
from ...attacks.scores import Scores
from .bound import EmpiricalBound, require_independent
from .clopper_pearson import (
    above,
    bound_from_counts,
    distinct_counts,
    epsilon_from_limits,
    limit_table,
    mu_from_limits,
    risk,
    thin,
)

Criterion = Literal["mu", "epsilon"]


def split_bound(
    scores: Scores,
    *,
    confidence: float,
    delta: float,
    seed: int = 0,
    criterion: Criterion = "mu",
) -> EmpiricalBound:
    """The bound on one random half, at the threshold that was best on the other half.

    Exact: given the first half the threshold is fixed, so the two limits on the second half hold
    together with probability >= confidence. Both numbers come from this one threshold.
    Source: Zanella-Beguelin et al., arXiv:2206.05199 (separate samples for choosing and bounding).

    Args:
        scores: design "many_runs", at least 2 trials on each side.
        confidence: in (0, 1).
        delta: in [0, 1), where epsilon is stated.
        seed: >= 0, of the permutation that halves the trials; fix it before looking.
        criterion: which number the threshold is to make large.

    Raises:
        DesignError: the trials are not independent runs, or too few to halve.

    >>> scores = Scores(values_in=np.arange(400) % 20 + 8.0, values_out=np.arange(400) % 20,
    ...                 design="many_runs", adversary="server", attack="none",
    ...                 adjacency="add-remove")
    >>> found = split_bound(scores, confidence=0.95, delta=1e-5)
    >>> print(f"{found.mu_lower:.4f} {found.epsilon_lower:.4f}")
    1.5884 2.8236
    """
    require_independent(scores, "split")
    check.one_of(("mu", "epsilon"), criterion=criterion)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ParameterError(f"seed must be a whole number >= 0, but is {seed!r}")
    if min(scores.values_in.size, scores.values_out.size) < 2:
        raise DesignError(
            f'method "split" needs at least 2 trials on each side, but has '
            f"{scores.values_in.size} + {scores.values_out.size}; run more trials"
        )
    level = risk(confidence) / 2.0
    generator = np.random.default_rng(seed)
    choose_in, bound_in = halves(scores.values_in, generator)
    choose_out, bound_out = halves(scores.values_out, generator)

    thresholds, tp, fp = distinct_counts(choose_in, choose_out)
    fpr_upper = limit_table(choose_out.size, level)[fp]
    fnr_upper = limit_table(choose_in.size, level)[choose_in.size - tp]
    if criterion == "mu":
        worth = mu_from_limits(fpr_upper, fnr_upper)
    else:
        worth = epsilon_from_limits(fpr_upper, fnr_upper, delta)
    best = int(np.argmax(worth))

    cut = thresholds[best : best + 1]
    found = (int(above(bound_in, cut)[0]), int(above(bound_out, cut)[0]))
    _, tp, fp = distinct_counts(bound_in, bound_out)
    return bound_from_counts(
        found,
        found,
        scores=scores,
        n_in=bound_in.size,
        n_out=bound_out.size,
        level=level,
        confidence=confidence,
        delta=delta,
        method="split",
        threshold_from=(
            f"best {criterion} on the other half ({choose_in.size} + {choose_out.size} trials, "
            f"halved at random with seed {seed}), {float(cut[0])!r}"
        ),
        roc=thin(tp, fp),
    )


def halves(
    values: NDArray[np.float64], generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A random half for choosing and the rest for the bound, which gets the odd one.

    Random, because trials may come in an order that has to do with their value.
    """
    mixed = generator.permutation(values)
    return mixed[: values.size // 2], mixed[values.size // 2 :]

"""Do these scores contradict a whole trade-off curve? The test to print for DP-SGD.

Testing one (epsilon, delta) throws most of the power away. A curve f is refuted if an attack has
been seen to do what f forbids: FNR_u < f(FPR_u) for upper limits of its two rates.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...accountant import check
from ...accountant.errors import DesignError, ParameterError
from ...attacks.scores import Scores
from .band import pair_level
from .bound import Counts, Guarantee, require_independent
from .clopper_pearson import Floats, Ints, above, distinct_counts, limit_table, risk
from .designs import require_allowed
from .guesses import check_seed, coin_flips, fresh_seed, pick
from .one_run_fdp import MuByCount, one_run_refutes
from .split import halves
from .tradeoff import TradeOff

CurveMethod = Literal["band", "split", "clopper_pearson"]


@dataclass(frozen=True, kw_only=True)
class Refutation:
    """Whether a trade-off curve was refuted, and by what.

    Attributes:
        refuted: FNR_u < f(FPR_u) at a threshold.
        method: "band", "split" or "clopper_pearson".
        guarantee: "exact".
        confidence: a true curve is refuted with probability at most 1 - confidence.
        claim: the curve, in words.
        threshold: where f(FPR_u) - FNR_u is largest.
        counts: outcomes there.
        fpr_upper: upper limit of the false-positive rate there.
        fnr_upper: upper limit of the false-negative rate there.
        fnr_claimed: f(fpr_upper), rounded down: what the claim says FNR is at least.
        rate_level: error level of each limit.
    """

    refuted: bool
    method: str
    guarantee: Guarantee
    confidence: float
    claim: str
    threshold: float
    counts: Counts
    fpr_upper: float
    fnr_upper: float
    fnr_claimed: float
    rate_level: float


def refutes(
    tradeoff: TradeOff,
    scores: Scores,
    *,
    method: CurveMethod = "band",
    confidence: float = 0.95,
    threshold: float | None = None,
    seed: int = 0,
) -> Refutation:
    """Test a curve at one threshold fixed beforehand, at all of them, or at one chosen on a half.

    Exact for independent trials: the limits that are compared hold together with probability at
    least `confidence`, and f falls, so true rates below them cannot lie on or above f.
    Source: Nasr et al., arXiv:2302.07956 (the comparison); `band` (all thresholds at once).

    Args:
        tradeoff: what is claimed, P with the record, Q without.
        scores: design "many_runs".
        method: "band" (all thresholds), "split", or "clopper_pearson" with `threshold`.
        confidence: in (0, 1).
        threshold: of "clopper_pearson", fixed before the scores were seen.
        seed: >= 0, of the halving of "split".

    Raises:
        DesignError: the trials are not independent, or a threshold is missing or in the way.

    >>> scores = Scores(values_in=np.arange(400) % 20 + 8.0, values_out=np.arange(400) % 20,
    ...                 design="many_runs", adversary="server", attack="none",
    ...                 adjacency="add-remove")
    >>> [refutes(TradeOff.gaussian(mu), scores).refuted for mu in (1.6, 1.7)]
    [True, False]
    """
    check.one_of(("band", "split", "clopper_pearson"), method=method)
    require_independent(scores, method)
    if (threshold is not None) != (method == "clopper_pearson"):
        raise DesignError(
            'method "clopper_pearson" needs threshold=, fixed before the scores were seen; the '
            f'other methods choose their own. Given: method="{method}", threshold={threshold!r}.'
        )
    level = risk(confidence) / 2.0
    inside, outside = scores.values_in, scores.values_out
    if threshold is not None:
        if not np.isfinite(threshold):
            raise ParameterError(f"threshold must be a finite number, but is {threshold!r}")
        cuts = np.array([threshold], dtype=np.float64)
    elif method == "band":
        level = pair_level(inside.size, outside.size, risk(confidence))
        cuts = np.unique(np.concatenate((inside, outside)))[::-1]
    else:
        if min(inside.size, outside.size) < 2:
            raise DesignError('method "split" needs at least 2 trials on each side')
        generator = np.random.default_rng(check_seed(seed))
        choose_in, inside = halves(inside, generator)
        choose_out, outside = halves(outside, generator)
        thresholds, tp, fp = distinct_counts(choose_in, choose_out)
        gap = _gaps(tradeoff, tp, fp, choose_in.size, choose_out.size, level)[0]
        cuts = thresholds[[int(np.argmax(gap))]]
    tp, fp = above(inside, cuts), above(outside, cuts)
    gap, claimed, fpr, fnr = _gaps(tradeoff, tp, fp, inside.size, outside.size, level)
    at = int(np.argmax(gap))
    return Refutation(
        refuted=bool(np.any(fnr < claimed)),
        method=method,
        guarantee="exact",
        confidence=confidence,
        claim=tradeoff.name,
        threshold=float(cuts[at]),
        counts=Counts(
            tp=int(tp[at]),
            fn=inside.size - int(tp[at]),
            fp=int(fp[at]),
            tn=outside.size - int(fp[at]),
        ),
        fpr_upper=float(fpr[at]),
        fnr_upper=float(fnr[at]),
        fnr_claimed=float(claimed[at]),
        rate_level=level,
    )


def _gaps(
    tradeoff: TradeOff, tp: Ints, fp: Ints, n_in: int, n_out: int, level: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """(f(FPR_u) - FNR_u, f(FPR_u), FPR_u, FNR_u) at each threshold."""
    fpr = limit_table(n_out, level)[fp]
    fnr = limit_table(n_in, level)[n_in - tp]
    claimed = tradeoff.fnr(fpr)
    return claimed - fnr, claimed, fpr, fnr


def guesses_refute(
    tradeoff: TradeOff,
    scores: Scores,
    *,
    confidence: float = 0.95,
    seed: int | None = None,
    guesses: tuple[int, int] | None = None,
) -> bool:
    """Test a curve with the guesses of one run; k is chosen on half of the canaries.

    Exact for "one_run" and "many_runs". Source: Mahloujifar, Melis & Chaudhuri, arXiv:2410.22235.

    Args:
        tradeoff: what is claimed; at every epsilon the worse direction counts.
        scores: each canary included by its own fair coin.
        confidence: in (0, 1).
        seed: >= 0, of halving (and of ties where the order of trials is known), fixed before
            looking; a fresh one if None.
        guesses: (k_in, k_out), fixed before the scores were seen.

    Raises:
        DesignError: another design, or labels that were no fair coins.
    """
    require_allowed(scores.design, "one_run_fdp")
    alpha = risk(confidence)
    seed = fresh_seed(seed)
    canaries = coin_flips(scores, seed=seed)
    m, r, v = pick(canaries, guesses, MuByCount(alpha), alpha, seed).counts
    return r > 0 and one_run_refutes(
        tradeoff, canaries=m, guesses=r, correct=v, confidence=confidence
    )

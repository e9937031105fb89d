"""`estimate`: scores and a claim in, the valid lower bound out."""

from typing import Literal, get_args

from numpy.typing import ArrayLike

from ...accountant import check
from ...accountant.adjacency import same_terms
from ...accountant.claim import PrivacyClaim
from ...accountant.errors import DesignError
from ...attacks.scores import Design, Scores
from .band import band_bound
from .bound import EmpiricalBound, require_independent
from .clopper_pearson import fixed_threshold
from .split import split_bound

Method = Literal["band", "split", "clopper_pearson"]
METHODS: tuple[str, ...] = get_args(Method)
DEFAULT_DELTA = 1e-5


def estimate(
    scores_in: ArrayLike,
    scores_out: ArrayLike,
    *,
    design: Design,
    claim: PrivacyClaim,
    confidence: float = 0.95,
    method: Method = "band",
    delta: float | None = None,
    seed: int = 0,
    threshold: float | None = None,
) -> EmpiricalBound:
    """The largest epsilon and mu that these scores prove to be leaked, at `confidence`.

    The scores are taken to be made under the claim's adjacency and unit, by an attack that was not
    tuned on them; use `estimate_scores` where `Scores` says so itself.
    Source: the method's own docstring: `band_bound`, `split_bound`, `fixed_threshold`.

    Args:
        scores_in: float[n_in], trials with the record; larger means more likely a member.
        scores_out: float[n_out], trials without it.
        design: "many_runs"; other designs raise, because no method here is valid for them.
        claim: what is to be tested.
        confidence: in (0, 1).
        method: "band" (all thresholds, default), "split", or "clopper_pearson" with `threshold`.
        delta: where epsilon is stated; the claim's if None, else 1e-5.
        seed: >= 0, of the random halving of "split".
        threshold: of "clopper_pearson", fixed before the scores were seen.

    Raises:
        DesignError: the design does not allow the method, or scores are empty, NaN or infinite.
        ParameterError: a number outside its range, or an unknown method.

    >>> claim = PrivacyClaim(mu=0.5, adjacency="add-remove", unit="example")
    >>> found = estimate([3.0] * 100, [0.0] * 100, design="many_runs", claim=claim)
    >>> round(found.mu_lower, 3), found.refutes(claim)
    (3.014, True)
    """
    scores = Scores(
        values_in=scores_in,  # type: ignore[arg-type]  # Scores converts to float64
        values_out=scores_out,  # type: ignore[arg-type]
        design=design,
        adversary="not stated",
        attack="not stated",
        adjacency=claim.adjacency,
        unit=claim.unit,
    )
    return estimate_scores(
        scores,
        claim,
        confidence=confidence,
        method=method,
        delta=delta,
        seed=seed,
        threshold=threshold,
    )


def estimate_scores(
    scores: Scores,
    claim: PrivacyClaim,
    *,
    confidence: float = 0.95,
    method: Method = "band",
    delta: float | None = None,
    seed: int = 0,
    threshold: float | None = None,
) -> EmpiricalBound:
    """As `estimate`, for `Scores` that carry their own design, adjacency and unit.

    Raises:
        ClaimError: the scores are for another adjacency or unit than the claim.
        DesignError: the design does not allow the method.
        ParameterError: a number outside its range, or an unknown method.
    """
    check.one_of(METHODS, method=method)
    check.open_probability(confidence=confidence)
    same_terms(claim, scores, "the attack's scores")
    require_independent(scores, method)
    if (threshold is not None) != (method == "clopper_pearson"):
        raise DesignError(
            'method "clopper_pearson" needs threshold=, fixed before the scores were seen; the '
            f'other methods choose their own. Given: method="{method}", threshold={threshold!r}.\n'
            '  Use method "band" if no threshold was fixed beforehand.'
        )
    at = claim_delta(claim) if delta is None else delta
    check.probability(delta=at)
    if threshold is not None:
        return fixed_threshold(scores, threshold=threshold, confidence=confidence, delta=at)
    if method == "split":
        criterion: Literal["mu", "epsilon"] = "mu" if claim.is_curve else "epsilon"
        return split_bound(scores, confidence=confidence, delta=at, seed=seed, criterion=criterion)
    return band_bound(scores, confidence=confidence, delta=at)


def claim_delta(claim: PrivacyClaim) -> float:
    """The claim's delta, or 1e-5 for a claim of mu that names none."""
    return DEFAULT_DELTA if claim.delta is None else claim.delta

"""`estimate`: scores and a claim in, the valid lower bound out."""

from typing import Literal, get_args, overload

from numpy.typing import ArrayLike

from ...accountant import check
from ...accountant.adjacency import same_terms
from ...accountant.claim import PrivacyClaim
from ...accountant.errors import DesignError, ParameterError
from ...attacks.scores import Design, Scores
from .band import band_bound
from .bayesian import CredibleInterval, bayesian_interval
from .bound import EmpiricalBound
from .clopper_pearson import fixed_threshold
from .designs import DEFAULTS, require_allowed
from .dkw import dkw_bound
from .e_process import e_process_bound
from .guess_bound import GuessBound
from .guess_count import guess_count_bound
from .multi_split import multi_split_bound
from .one_run_fdp import one_run_fdp_bound
from .split import Criterion, split_bound

Method = Literal["band", "split", "clopper_pearson"]
MoreThresholds = Literal["multi_split", "dkw"]
GuessMethod = Literal["one_run_fdp", "guess_count", "e_process"]
METHODS: tuple[str, ...] = get_args(Method)
"""What an audit record may hold."""
ALL_METHODS: tuple[str, ...] = (
    *METHODS,
    *get_args(MoreThresholds),
    *get_args(GuessMethod),
    "bayesian",
)
DEFAULT_DELTA = 1e-5
_NEEDS_THRESHOLD = ("clopper_pearson", "bayesian")
_MAY_HAVE_THRESHOLD = (*_NEEDS_THRESHOLD, "guess_count", "e_process")

Bound = EmpiricalBound | GuessBound | CredibleInterval


@overload
def estimate(
    scores_in: ArrayLike,
    scores_out: ArrayLike,
    *,
    design: Literal["many_runs"],
    claim: PrivacyClaim,
    confidence: float = 0.95,
    method: Method | MoreThresholds | None = None,
    delta: float | None = None,
    seed: int | None = None,
    threshold: float | None = None,
    guesses: None = None,
) -> EmpiricalBound: ...
@overload
def estimate(
    scores_in: ArrayLike,
    scores_out: ArrayLike,
    *,
    design: Design,
    claim: PrivacyClaim,
    confidence: float = 0.95,
    method: str | None = None,
    delta: float | None = None,
    seed: int | None = None,
    threshold: float | None = None,
    guesses: tuple[int, int] | None = None,
) -> Bound: ...
def estimate(
    scores_in: ArrayLike,
    scores_out: ArrayLike,
    *,
    design: Design,
    claim: PrivacyClaim,
    confidence: float = 0.95,
    method: str | None = None,
    delta: float | None = None,
    seed: int | None = None,
    threshold: float | None = None,
    guesses: tuple[int, int] | None = None,
) -> Bound:
    """The largest epsilon and mu that these scores prove to be leaked, at `confidence`.

    The scores are taken to be made under the claim's adjacency and unit, by an attack that was not
    tuned on them; use `estimate_scores` where `Scores` says so itself, or knows the order of the
    trials.
    Source: the docstring of the method's own function.

    Args:
        scores_in: float[n_in], trials with the record; larger means more likely a member.
        scores_out: float[n_out], trials without it.
        design: what the trials are, see `Scores`; it decides which methods are valid.
        claim: what is to be tested.
        confidence: in (0, 1).
        method: None for the design's default: "band" for "many_runs", "one_run_fdp" for "one_run",
            "e_process" for "per_round" and "sequential". Others: "split", "multi_split", "dkw",
            "clopper_pearson", "bayesian", "guess_count".
        delta: where epsilon is stated; the claim's if None, else 1e-5.
        seed: >= 0, of random halving (0 if None); ties are broken by it (a fresh one if None)
            where the order of trials is known, else by the system's generator.
        threshold: fixed before the scores were seen; "clopper_pearson" and "bayesian" need it,
            "e_process" and "guess_count" may have it.
        guesses: (k_in, k_out), fixed before the scores were seen, of "one_run_fdp" and
            "guess_count"; chosen on half of the canaries if None.

    Raises:
        DesignError: the design does not allow the method, or scores are empty, NaN or infinite.
        ParameterError: a number outside its range, or an unknown method.

    >>> claim = PrivacyClaim(mu=0.5, adjacency="add-remove", unit="example")
    >>> found = estimate([3.0] * 100, [0.0] * 100, design="many_runs", claim=claim)
    >>> round(found.mu_lower, 3), found.refutes(claim)
    (3.014, True)
    >>> found = estimate([3.0] * 100, [0.0] * 100, design="one_run", claim=claim)
    >>> found.method, found.canaries, found.refutes(claim)
    ('one_run_fdp', 100, True)
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
    return _estimate(scores, claim, confidence, method, delta, seed, threshold, guesses)


@overload
def estimate_scores(
    scores: Scores,
    claim: PrivacyClaim,
    *,
    confidence: float = 0.95,
    method: Method | MoreThresholds,
    delta: float | None = None,
    seed: int | None = None,
    threshold: float | None = None,
) -> EmpiricalBound: ...
@overload
def estimate_scores(
    scores: Scores,
    claim: PrivacyClaim,
    *,
    confidence: float = 0.95,
    method: str | None = None,
    delta: float | None = None,
    seed: int | None = None,
    threshold: float | None = None,
    guesses: tuple[int, int] | None = None,
) -> Bound: ...
def estimate_scores(
    scores: Scores,
    claim: PrivacyClaim,
    *,
    confidence: float = 0.95,
    method: str | None = None,
    delta: float | None = None,
    seed: int | None = None,
    threshold: float | None = None,
    guesses: tuple[int, int] | None = None,
) -> Bound:
    """As `estimate`, for `Scores` that carry their own design, adjacency and unit.

    Raises:
        ClaimError: the scores are for another adjacency or unit than the claim.
        DesignError: the design does not allow the method.
        ParameterError: a number outside its range, or an unknown method.
    """
    return _estimate(scores, claim, confidence, method, delta, seed, threshold, guesses)


def _estimate(
    scores: Scores,
    claim: PrivacyClaim,
    confidence: float,
    method: str | None,
    delta: float | None,
    seed: int | None,
    threshold: float | None,
    guesses: tuple[int, int] | None,
) -> Bound:
    name = DEFAULTS[scores.design] if method is None else method
    check.one_of(ALL_METHODS, method=name)
    check.open_probability(confidence=confidence)
    same_terms(claim, scores, "the attack's scores")
    require_allowed(scores.design, name)
    _check_options(name, threshold, guesses)
    at = claim_delta(claim) if delta is None else delta
    check.probability(delta=at)
    criterion: Criterion = "mu" if claim.is_curve else "epsilon"
    if name == "band":
        return band_bound(scores, confidence=confidence, delta=at)
    if name == "dkw":
        return dkw_bound(scores, confidence=confidence, delta=at)
    if name == "split":
        return split_bound(
            scores, confidence=confidence, delta=at, seed=seed or 0, criterion=criterion
        )
    if name == "multi_split":
        return multi_split_bound(
            scores, confidence=confidence, delta=at, seed=seed or 0, criterion=criterion
        )
    if name == "one_run_fdp":
        return one_run_fdp_bound(
            scores, confidence=confidence, delta=at, seed=seed, guesses=guesses
        )
    if name == "guess_count":
        return guess_count_bound(
            scores,
            confidence=confidence,
            delta=at,
            seed=seed,
            guesses=guesses,
            threshold=threshold,
        )
    if name == "e_process":
        return e_process_bound(
            scores, confidence=confidence, delta=at, seed=seed, threshold=threshold
        )
    if threshold is None:
        raise ParameterError("threshold is missing")
    if name == "bayesian":
        return bayesian_interval(scores, threshold=threshold, confidence=confidence, delta=at)
    return fixed_threshold(scores, threshold=threshold, confidence=confidence, delta=at)


def _check_options(method: str, threshold: float | None, guesses: tuple[int, int] | None) -> None:
    needed = method in _NEEDS_THRESHOLD and threshold is None
    if needed or (threshold is not None and method not in _MAY_HAVE_THRESHOLD):
        raise DesignError(
            'methods "clopper_pearson" and "bayesian" need threshold=, fixed before the scores '
            'were seen, and "e_process" and "guess_count" may have one; the other methods choose '
            f'their own. Given: method="{method}", threshold={threshold!r}.\n'
            '  Use method "band" if no threshold was fixed beforehand.'
        )
    if guesses is not None and method not in ("one_run_fdp", "guess_count"):
        raise DesignError(
            f'guesses= belongs to methods "one_run_fdp" and "guess_count", not to "{method}"'
        )


def claim_delta(claim: PrivacyClaim) -> float:
    """The claim's delta, or 1e-5 for a claim of mu that names none."""
    return DEFAULT_DELTA if claim.delta is None else claim.delta

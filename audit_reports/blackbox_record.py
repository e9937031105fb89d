"""What audits without a file put into a record: bounds, their power, and the record itself."""

import json
import math
import time
from functools import lru_cache
from typing import Any, Literal

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports
from numpy.typing import NDArray

from ..accountant import jsonio
from ..accountant.assumption import Assumption
from ..accountant.bounds import Interval, ProvenBound
from ..accountant.claim import PrivacyClaim
from ..accountant.errors import ClaimError
from ..accountant.event_json import from_dict, to_dict
from ..attacks.scores import Scores
from . import provenance
from .estimators.auc import auc
from .estimators.estimate import estimate_scores
from .estimators.power import RefutablePower, smallest_refutable
from .record import SCHEMA_VERSION, AuditRecord
from .results import AttackResult, Hazard, MechanismResult
from .stages import array_hash

SEES = "every output of the mechanism"
FIRST = 32  # outputs of each world that the first attack of a sequential audit learns from
QUESTION = "world 1 against world 0 of the sampler"
LIMITS = (
    "One pair of neighbouring data sets was tested; another pair may leak more.",
    "An attack that was learnt may miss what another one would find.",
)
Budget = Literal["fast", "full"]
FloatingPoint = Literal["report", "refute", "ignore"]
Outputs = NDArray[Any]


def power_of(n_in: int, n_out: int, claim: PrivacyClaim, confidence: float) -> RefutablePower:
    """`smallest_refutable`, kept: it may take seconds, and audits repeat their design."""
    text = jsonio.canonical(jsonio.dump(claim))
    return _power_of(n_in, n_out, text, confidence)


@lru_cache(maxsize=64)
def _power_of(n_in: int, n_out: int, text: str, confidence: float) -> RefutablePower:
    claim = jsonio.load(PrivacyClaim, json.loads(text))
    return smallest_refutable(n_in, n_out, claim, confidence=confidence)


def result_of(
    scores: Scores, claim: PrivacyClaim, *, confidence: float, seconds: float
) -> AttackResult:
    """The bound of independent scores, with the power of as many, as a record's row."""
    bound = estimate_scores(scores, claim, confidence=confidence, method="band")
    n_in, n_out = scores.values_in.size, scores.values_out.size
    return AttackResult(
        attack=scores.attack,
        adversary=scores.adversary,
        sees=SEES,
        design=scores.design,
        seed=scores.seed or 0,
        trials=min(n_in, n_out),
        question=QUESTION,
        optimal=False,
        attainable_mu=None,
        error_share=1.0,
        auc=auc(scores.values_in, scores.values_out),
        scores_sha256=array_hash(scores.values_in, scores.values_out),
        seconds=round(seconds, 3),
        bound=bound,
        power=power_of(n_in, n_out, claim, confidence),
    )


def declared(claim: PrivacyClaim, event: dpe.DpEvent | None) -> dpe.DpEvent | None:
    """The event that the mechanism is meant to be: the one given, or the claim's own.

    Raises:
        ClaimError: both, and they differ.
    """
    if claim.event is None:
        return event
    own = from_dict(claim.event)
    if event is not None and to_dict(event) != to_dict(own):
        raise ClaimError("the claim is of one event, and event= is another; leave out event=")
    return own


def adversary(claim: PrivacyClaim) -> str:
    """Who sees outputs: an outsider, unless the claim does not speak of one."""
    return "outsider" if "outsider" in claim.adversaries else claim.adversaries[0]


def most_guesses(trials: int) -> int:
    """How many guesses a sequential audit may make, those outputs left out that only teach."""
    return max(1, 2 * trials - 2 * FIRST)


def nothing_proven(claim: PrivacyClaim) -> ProvenBound:
    """The bound of what nothing is known about."""
    return ProvenBound(
        mu=Interval(0.0, math.inf), adjacency=claim.adjacency, unit=claim.unit, method="none"
    )


def plain(bound: ProvenBound) -> ProvenBound:
    """The fields that a record keeps; the curve is computed again from the event beside them."""
    return ProvenBound(
        mu=bound.mu,
        adjacency=bound.adjacency,
        unit=bound.unit,
        group_size=bound.group_size,
        method=bound.method,
    )


def seal(
    claim: PrivacyClaim,
    rows: tuple[MechanismResult, ...],
    *,
    title: str,
    confidence: float,
    power: float,
    seed: int,
    resolved: dict[str, Any],
    start: float,
    hazards: tuple[Hazard, ...] = (),
) -> AuditRecord:
    """The record of an audit without a file, with its digest."""
    return AuditRecord(
        schema_version=SCHEMA_VERSION,
        title=title,
        claim=claim,
        claimed_mu=claim.gaussian_mu() if claim.is_curve else None,
        confidence=confidence,
        power_multiple=power,
        mechanisms=rows,
        utility=(),
        equal_power=(),
        inversion=(),
        hazards=hazards,
        limits=LIMITS,
        given="",
        changes=(),
        resolved=resolved,
        seed=seed,
        environment=provenance.environment(
            seconds=time.monotonic() - start, config_sha256="", data_sha256={}
        ),
        verdict=rows[0].verdict,  # the only one: no controls, whose failure would overrule it
    ).sealed()


def assumptions_of(event: dpe.DpEvent | None) -> tuple[Assumption, ...]:
    """What an audit of a sampler rests on."""
    trials = Assumption(
        text="Outputs of the sampler are independent, and its two worlds are neighbours.",
        how="different seeds were seen to give different outputs; the rest is the caller's word",
        holds=None,
    )
    if event is None:
        return (trials,)
    meant = Assumption(
        text="The sampler implements the event that is accounted.",
        how="tested by the attack, in one pair of worlds",
        holds=None,
    )
    return (trials, meant)

"""`audit_mechanism`: a bound and a verdict on anything that gives outputs in two worlds.

Half of the outputs teach an attack, the other half gives the bound, so nothing that was chosen by
looking is tested on what was looked at. What a function computes proves nothing: without an event
the verdict is REFUTED or INCONCLUSIVE. With an event the accountant's bound holds if the function
implements it, which the audit tries to disprove; then it can be CONSISTENT.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports
import numpy as np
from numpy.typing import NDArray

from ..accountant import check, jsonio
from ..accountant.account import account
from ..accountant.assumption import Assumption
from ..accountant.bounds import Interval, ProvenBound
from ..accountant.claim import PrivacyClaim, as_claim
from ..accountant.errors import ClaimError, DesignError
from ..accountant.event_json import from_dict, to_dict
from ..attacks.scores import Scores
from . import provenance
from .estimators.auc import auc
from .estimators.band import MAX_TRIALS
from .estimators.estimate import claim_delta, estimate_scores
from .estimators.power import RefutablePower, smallest_refutable
from .hazards import FAILED, OPEN
from .record import SCHEMA_VERSION, AuditRecord
from .results import PROFILE, AttackResult, Hazard, MechanismResult
from .sampler import Progress, Sample, Sampler, seed_of
from .stages import array_hash
from .text import at_least
from .verdict import judge_black_box

KIND = "black box"
SEES = "every output of the mechanism"
FIRST = 32  # outputs of each world that the first attack of a sequential audit learns from
QUESTION = "world 1 against world 0 of the sampler"
Budget = Literal["fast", "full"]
FloatingPoint = Literal["report", "refute", "ignore"]
Outputs = NDArray[Any]


def audit_mechanism(
    sample: Sample,
    claim: PrivacyClaim | Mapping[str, Any],
    *,
    trials: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    event: dpe.DpEvent | None = None,
    power: float = 3.0,
    budget: Budget = "fast",
    families: tuple[str, ...] | None = None,
    floating_point: FloatingPoint = "report",
    sequential: bool = False,
    name: str | None = None,
    progress: Progress | None = None,
) -> AuditRecord:
    """Try to refute `claim` about the mechanism behind `sample`, and record what was found.

    Args:
        sample: sample(world, n, seed) gives n independent outputs, array[n, ...], of the mechanism
            on D (world 0) or on its neighbour D' (world 1). Any numbers; NaN and infinity too.
        claim: what is to be refuted, a `PrivacyClaim` or a dictionary of its fields.
        trials: outputs drawn in each world; half of them teach the attack.
        confidence: a correct claim is refuted with probability at most 1 - confidence.
        seed: root of everything random here, >= 0.
        event: what the mechanism is meant to be; the claim's own event if it is one of an event.
        power: CONSISTENT needs an audit that would have refuted, with probability 0.9, a mechanism
            that leaks this multiple of the claim.
        budget: "fast" or "full" (about ten times the time for learning).
        families: which scores the attack may use; None for all.
        floating_point: "report" (default): what only the lowest bits of floating-point outputs
            show is a hazard in the record and does not decide the verdict, since nearly all
            software leaks so, whatever the size of its noise; "refute": it decides; "ignore".
        sequential: look after every trial and stop as soon as the claim is refuted; `trials` is
            then the most. Needs far fewer where the claim is badly wrong, and has a little less
            power where it is not. The lowest bits are not reported on.
        name: of the mechanism, in the record; the function's own if None.
        progress: called with (outputs drawn, all outputs).

    Raises:
        ClaimError: not a claim.
        DesignError: what `sample` gives are no independent outputs, or fewer than 40 trials.
        UnsupportedEventError: nothing is proven about `event`.

    >>> def sample(world, n, seed):
    ...     return np.random.default_rng(seed).normal(world, 0.4, size=(n, 1))
    >>> claim = {"mu": 1.0, "adjacency": "add-remove", "unit": "example"}
    >>> audit_mechanism(sample, claim, trials=4000).verdict.word
    'REFUTED'
    """
    start = time.monotonic()
    claim = as_claim(claim)
    check.count(trials=trials)
    check.open_probability(confidence=confidence)
    check.positive(power=power)
    if not 40 <= trials <= 2 * MAX_TRIALS:
        raise DesignError(f"trials must be 40 to {2 * MAX_TRIALS} in each world, but is {trials}")
    event = declared(claim, event)
    proven = nothing_proven(claim) if event is None else account(
        event, adjacency=claim.adjacency, unit=claim.unit
    )  # fmt: skip
    check.one_of(get_args(FloatingPoint), floating_point=floating_point)
    name = str(name or getattr(sample, "__name__", type(sample).__name__))
    hazards: tuple[Hazard, ...] = ()
    sampler = Sampler(sample, seed=seed)
    sampler.check_seeds()
    if sequential:
        from .sequential import sequential_result

        attack = sequential_result(
            sampler,
            claim,
            trials=trials,
            confidence=confidence,
            seed=seed,
            budget=budget,
            families=families,
            floating_point=floating_point,
            progress=progress,
        )
    else:
        drawn = _draw(sampler, trials, progress)
        seen = drawn if floating_point == "refute" else drawn.rounded()
        attack = _attack(seen, claim, confidence, seed, budget, families)
        if floating_point == "report":
            hazards = _lowest_bits(drawn, claim, confidence, seed)
    assumptions = _assumptions(event)
    delta = claim_delta(claim)
    row = MechanismResult(
        name=name,
        kind=KIND,
        description=f"known only by its outputs; {attack[1]}",
        expect=None,
        parameters={"outputs in each world": trials, "budget": budget},
        event=to_dict(dpe.UnsupportedDpEvent() if event is None else event),
        assumptions=assumptions,
        proven=plain(proven),
        proven_epsilon=proven.epsilon(delta),
        profile=() if event is None else tuple((e, proven.delta(e).upper) for e in PROFILE),
        releases=0,
        ledger_sha256="",
        clipped=(),
        attacks=(attack[0],),
        verdict=judge_black_box(
            claim,
            proven=None if event is None else proven,
            assumptions=assumptions,
            measured=(attack[0],),
            power_multiple=power,
        ),
    )
    return seal(
        claim,
        (row,),
        title=f"Black-box audit of {name}",
        confidence=confidence,
        power=power,
        seed=seed,
        resolved={
            "made_by": "audit_mechanism",
            "trials": trials,
            "budget": budget,
            "families": None if families is None else list(families),
            "floating_point": floating_point,
            "sequential": sequential,
            **({"most_guesses": most_guesses(trials)} if sequential else {}),
        },
        hazards=hazards,
        start=start,
    )


@dataclass(frozen=True)
class _Trials:
    """Outputs for learning and for the bound, each as (with, without) the record."""

    learning: tuple[Outputs, Outputs]
    testing: tuple[Outputs, Outputs]

    def rounded(self) -> "_Trials":
        """The same, far below their spread rounded; itself where there is nothing to round."""
        from ..attacks.black_box.rounding import Rounding

        rounding = Rounding.learn(*self.learning)
        if rounding is None:
            return self
        return _Trials(
            (rounding.apply(self.learning[0]), rounding.apply(self.learning[1])),
            (rounding.apply(self.testing[0]), rounding.apply(self.testing[1])),
        )


def _draw(sampler: Sampler, trials: int, progress: Progress | None) -> _Trials:
    done = 0

    def drawn(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, 2 * trials)

    half = trials // 2
    learning = [sampler.draw("learn", w, half, progress=drawn) for w in (1, 0)]
    testing = [sampler.draw("bound", w, trials - half, progress=drawn) for w in (1, 0)]
    return _Trials((learning[0], learning[1]), (testing[0], testing[1]))


def _attack(
    trials: _Trials,
    claim: PrivacyClaim,
    confidence: float,
    seed: int,
    budget: Budget,
    families: tuple[str, ...] | None,
) -> tuple[AttackResult, str]:
    """The result of the learnt attack, and what it looks at."""
    start = time.monotonic()
    scores, looks = _scores(trials, claim, seed, budget, families)
    found = result_of(scores, claim, confidence=confidence, seconds=time.monotonic() - start)
    return found, (
        f"the attack was learnt on {len(trials.learning[0])} + {len(trials.learning[1])} of its "
        f"outputs and looks at {looks}"
    )


def _scores(
    trials: _Trials,
    claim: PrivacyClaim,
    seed: int,
    budget: Budget,
    families: tuple[str, ...] | None,
) -> tuple[Scores, str]:
    from ..attacks.black_box import learn

    attack = learn(
        *trials.learning,
        rng=np.random.default_rng(seed_of(seed, "attack")),
        budget=budget,
        families=families,
        criterion="epsilon" if claim.epsilon is not None and not claim.is_curve else "mu",
        delta=claim.delta or 0.0,
    )
    scores = Scores(
        values_in=attack.score(trials.testing[0]),
        values_out=attack.score(trials.testing[1]),
        design="many_runs",
        adversary=adversary(claim),
        attack=attack.name,
        adjacency=claim.adjacency,
        unit=claim.unit,
        tuned_on="the other half of the outputs",
        seed=seed,
    )
    return scores, attack.description


def _lowest_bits(
    trials: _Trials, claim: PrivacyClaim, confidence: float, seed: int
) -> tuple[Hazard, ...]:
    """Whether the number format alone refutes the claim: a finding, not part of the verdict."""
    if trials.rounded() is trials:
        return ()
    scores, _ = _scores(trials, claim, seed, "fast", ("bits",))
    bound = estimate_scores(scores, claim, confidence=confidence, method="band")
    failed = bound.refutes(claim)
    evidence = (
        "the lowest bits of the outputs alone contradict the claim (mu >= "
        f"{at_least(bound.mu_lower)} at confidence {confidence:g}); release values on "
        "a fixed grid, or use an exact sampler. The verdict leaves these bits aside"
        if failed
        else "an attack on the lowest bits of the outputs found nothing that contradicts the claim"
    )
    return (
        Hazard(
            item="H12",
            text="floating-point noise",
            severity="T",
            status=FAILED if failed else OPEN,
            evidence=evidence,
        ),
    )


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
        limits=(
            "One pair of neighbouring data sets was tested; another pair may leak more.",
            "An attack that was learnt may miss what another one would find.",
        ),
        given="",
        changes=(),
        resolved=resolved,
        seed=seed,
        environment=provenance.environment(
            seconds=time.monotonic() - start, config_sha256="", data_sha256={}
        ),
        verdict=rows[0].verdict,  # the only one: no controls, whose failure would overrule it
    ).sealed()


def _assumptions(event: dpe.DpEvent | None) -> tuple[Assumption, ...]:
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

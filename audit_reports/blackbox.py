"""`audit_mechanism`: a bound and a verdict on anything that gives outputs in two worlds.

Half of the outputs teach an attack, the other half gives the bound, so nothing that was chosen by
looking is tested on what was looked at. What a function computes proves nothing: without an event
the verdict is REFUTED or INCONCLUSIVE. With an event the accountant's bound holds if the function
implements it, which the audit tries to disprove; then it can be CONSISTENT.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports
import numpy as np

from ..accountant import check
from ..accountant.account import account
from ..accountant.claim import PrivacyClaim, as_claim
from ..accountant.errors import DesignError
from ..accountant.event_json import to_dict
from ..attacks.scores import Scores
from .blackbox_record import (
    Budget,
    FloatingPoint,
    Outputs,
    adversary,
    assumptions_of,
    declared,
    most_guesses,
    nothing_proven,
    plain,
    result_of,
    seal,
)
from .estimators.band import MAX_TRIALS
from .estimators.estimate import claim_delta, estimate_scores
from .hazards import FAILED, OPEN
from .record import AuditRecord
from .results import PROFILE, AttackResult, Hazard, MechanismResult
from .sampler import Progress, Sample, Sampler, seed_of
from .text import at_least
from .verdict import judge_black_box

KIND = "black box"


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
    assumptions = assumptions_of(event)
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

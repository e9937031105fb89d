"""What the scores of one run show, as a record's row, and what that rests on."""

import json
import time
from functools import lru_cache

from ..accountant import jsonio
from ..accountant.assumption import Assumption
from ..accountant.claim import PrivacyClaim
from ..accountant.errors import DesignError
from ..attacks.scores import Scores
from .estimators.auc import auc
from .estimators.clopper_pearson import risk
from .estimators.estimate import estimate_scores
from .estimators.one_run_power import one_run_power
from .estimators.power import RefutablePower
from .record import AuditRecord
from .results import AttackResult
from .stages import array_hash


@lru_cache(maxsize=32)
def _power(canaries: int, text: str, confidence: float, method: str) -> RefutablePower:
    """`one_run_power`, kept: it simulates."""
    claim = jsonio.load(PrivacyClaim, json.loads(text))
    return one_run_power(canaries, claim, confidence=confidence, method=method)


def one_run_result(
    scores: Scores,
    claim: PrivacyClaim,
    *,
    confidence: float,
    share: float,
    method: str | None,
    guesses: tuple[int, int] | None,
    start: float,
) -> AttackResult:
    """The bound of one run's scores as a record's row."""
    confidence = 1.0 - risk(confidence) * share
    bound = estimate_scores(
        scores, claim, confidence=confidence, method=method, guesses=guesses, seed=0
    )
    n_in, n_out = scores.values_in.size, scores.values_out.size
    return AttackResult(
        attack=scores.attack,
        adversary=scores.adversary,
        sees="whatever the scores were computed from",
        design=scores.design,
        seed=scores.seed or 0,
        trials=n_in + n_out,
        question="trained on against not trained on, for each candidate",
        optimal=False,
        attainable_mu=None,
        error_share=share,
        auc=auc(scores.values_in, scores.values_out),
        scores_sha256=array_hash(scores.values_in, scores.values_out),
        seconds=round(time.monotonic() - start, 3),
        bound=bound,  # type: ignore[arg-type]  # one_run methods give a GuessBound
        power=_power(n_in + n_out, jsonio.canonical(jsonio.dump(claim)), confidence, bound.method),
    )


def assumptions_about(seal: str) -> tuple[Assumption, ...]:
    """What an audit of one run rests on."""
    return (
        Assumption(
            text="Each candidate was included by its own fair coin.",
            how=f"flipped by the kit; SHA-256 of salt and coins, sealed before: {seal}",
            holds=True,
        ),
        Assumption(
            text="Exactly the kit's training set was trained on, and the scores were made "
            "without knowing the coins.",
            how="the caller's word",
            holds=None,
        ),
    )


def check_control(control: AuditRecord, claim: PrivacyClaim, result: AttackResult) -> None:
    """Raise `DesignError` unless the record shows that this attack refutes this claim."""
    made = control.resolved.get("made_by") == "OneRunAudit" and control.mechanisms[0].attacks[0]
    fits = (
        made
        and control.verdict.word == "REFUTED"
        and jsonio.dump(control.claim) == jsonio.dump(claim)
        and (made.attack, made.bound.method) == (result.attack, result.bound.method)
        and made.trials <= result.trials
    )
    if not fits:
        raise DesignError(
            "control must be the record of a one-run audit that REFUTED the claim, by the same "
            f"attack and method, with no more candidates; it is {control.verdict.word} about "
            f"{control.claim.text()}"
        )

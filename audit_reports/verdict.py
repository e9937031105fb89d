"""The verdict: a pure function of what is recorded, five words and no others.

Tested in this order: INVALID, UNSUPPORTED, REFUTED, INCONCLUSIVE, CONSISTENT. Where a claim is
both unsupported and refuted, both reasons are listed. There is no word for "private": an audit
cannot show it, so an absence of evidence is always printed with the power of the search.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from ..accountant.assumption import Assumption
from ..accountant.bounds import ProvenBound
from ..accountant.claim import PrivacyClaim
from ..accountant.errors import ClaimError
from .estimators.bound import EmpiricalBound
from .estimators.power import RefutablePower
from .text import at_least, at_most

Word = Literal["INVALID", "UNSUPPORTED", "REFUTED", "INCONCLUSIVE", "CONSISTENT"]
WORDS: tuple[Word, ...] = get_args(Word)  # from worst to best
EXIT_CODES: dict[Word, int] = {
    "INVALID": 2,
    "UNSUPPORTED": 3,
    "REFUTED": 3,
    "INCONCLUSIVE": 4,
    "CONSISTENT": 0,
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One word, and why.

    Attributes:
        word: the verdict.
        exit_code: of the command line.
        sentence: the verdict for a reader, one sentence.
        reasons: what led to it, each one sentence.
        caveats: what it does not cover, at most three.
    """

    word: Word
    exit_code: int
    sentence: str
    reasons: tuple[str, ...]
    caveats: tuple[str, ...] = ()


class Measured(Protocol):
    """What the verdict needs of an attack's result."""

    @property
    def attack(self) -> str: ...  # noqa: D102
    @property
    def adversary(self) -> str: ...  # noqa: D102
    @property
    def bound(self) -> EmpiricalBound: ...  # noqa: D102
    @property
    def power(self) -> RefutablePower: ...  # noqa: D102
    @property
    def optimal(self) -> bool: ...  # noqa: D102


def judge(
    claim: PrivacyClaim,
    *,
    proven: ProvenBound | None,
    assumptions: Sequence[Assumption],
    measured: Sequence[Measured],
    releases: int,
    power_multiple: float,
) -> Verdict:
    """The verdict on `claim`.

    Args:
        claim: what is asserted.
        proven: the accountant's bound on everything in the ledger; None if nothing is supported.
        assumptions: of that proof.
        measured: the attacks' results, all of them, whatever they found.
        releases: number of entries in the ledger.
        power_multiple: CONSISTENT needs an attack that would have refuted, with the probability in
            its `power`, a mechanism with at most this multiple of the claimed mu.
    """
    inside = [m for m in measured if m.adversary in claim.adversaries]
    broken = [a for a in assumptions if a.holds is False]
    caveats = _caveats(claim, assumptions, measured)
    if releases == 0:
        return _verdict("INVALID", "nothing was released under a ledger", [], caveats)

    unsupported = [
        f'an assumption of the proof does not hold: "{a.text}" ({a.how})' for a in broken
    ]
    if proven is None:
        unsupported.append("no accountant proves anything about the released event")
    elif not claim.is_proven_by(proven):
        unsupported.append(_exceeds(claim, proven))
    refuted = [_refutation(claim, m) for m in inside if m.bound.refutes(claim)]
    if unsupported:
        return _verdict(
            "UNSUPPORTED",
            f"the claim {claim.text()} is not supported: {unsupported[0]}",
            [*unsupported, *refuted],
            caveats,
        )
    if refuted:
        return _verdict(
            "REFUTED",
            f"the claim {claim.text()} is refuted: {refuted[0]}",
            refuted,
            caveats,
        )
    strong = [m for m in inside if m.optimal]
    best = min(strong, key=lambda m: m.power.epsilon, default=None)
    if best is None:
        reason = "no attack with known power was made by an adversary that the claim covers"
        return _verdict("INCONCLUSIVE", f"the audit decides nothing: {reason}", [reason], caveats)
    power = (
        f"the {best.attack} attack of the {best.adversary} would have refuted "
        f"epsilon >= {at_most(best.power.epsilon)} (mu >= {at_most(best.power.mu)}) "
        f"with probability {best.power.probability:g}"
    )
    multiple = math.inf if best.power.multiple is None else best.power.multiple
    if multiple > power_multiple:
        reason = f"{power}, which is more than {power_multiple:g} times the claim"
        return _verdict(
            "INCONCLUSIVE", f"the audit has too little power: {reason}", [reason], caveats
        )
    assert_proven = "the proven bound" if proven is None else _within(claim, proven)
    return _verdict(
        "CONSISTENT",
        f"{assert_proven}; no attack refutes the claim, and {power}, "
        f"{at_most(multiple, 3)} times the claimed mu",
        [assert_proven, power],
        caveats,
    )


def overall(words: Sequence[tuple[str, Word, Word | None]]) -> Verdict:
    """The verdict on a whole run: the worst of its subjects, if its controls behaved.

    Args:
        words: (name, verdict, expected verdict or None for a subject) of each mechanism.
    """
    failed = [
        f"control {name} should be {expected} but is {word}"
        for name, word, expected in words
        if expected is not None and word != expected
    ]
    subjects = [(name, word) for name, word, expected in words if expected is None]
    if failed:
        return _verdict("INVALID", f"the audit does not work: {failed[0]}", failed, [])
    if not subjects:
        return _verdict("INVALID", "there is no subject: every mechanism is a control", [], [])
    worst = min((word for _, word in subjects), key=WORDS.index)
    named = [name for name, word in subjects if word == worst]
    controls = sum(expected is not None for _, _, expected in words)
    behaved = f"; {controls} of {controls} controls came out as expected" if controls else ""
    return _verdict(
        worst,
        f"{', '.join(named)}: {worst}{behaved}",
        [f"{name}: {word}" for name, word in subjects],
        [],
    )


def _verdict(word: Word, sentence: str, reasons: Sequence[str], caveats: Sequence[str]) -> Verdict:
    return Verdict(
        word=word,
        exit_code=EXIT_CODES[word],
        sentence=sentence,
        reasons=tuple(reasons),
        caveats=tuple(caveats[:3]),
    )


def _terms(claim: PrivacyClaim) -> tuple[str, float, float]:
    """('mu' or 'epsilon', claimed value, delta at which epsilon is printed)."""
    delta = 1e-5 if claim.delta is None else claim.delta
    if claim.mu is not None:
        return "mu", claim.mu, delta
    if claim.epsilon is None:
        raise ClaimError("the claim has no guarantee")
    return "epsilon", claim.epsilon, delta


def _exceeds(claim: PrivacyClaim, proven: ProvenBound) -> str:
    name, claimed, delta = _terms(claim)
    value = proven.mu.lower if name == "mu" else proven.epsilon(delta).lower
    at = "" if name == "mu" else f" at delta {delta:g}"
    if math.isinf(value):
        return "the release has no privacy guarantee at all"
    return f"exact accounting gives {name} = {at_least(value)}{at}, above the claimed {claimed:g}"


def _within(claim: PrivacyClaim, proven: ProvenBound) -> str:
    name, claimed, delta = _terms(claim)
    value = proven.mu.upper if name == "mu" else proven.epsilon(delta).upper
    at = "" if name == "mu" else f" at delta {delta:g}"
    return f"exact accounting gives {name} <= {at_most(value)}{at}, within the claimed {claimed:g}"


def _refutation(claim: PrivacyClaim, measured: Measured) -> str:
    bound, name = measured.bound, _terms(claim)[0]
    if claim.is_curve:
        shown = f"mu >= {at_least(bound.mu_lower)} against {at_most(claim.gaussian_mu().upper)}"
    else:
        shown = f"{name} >= {at_least(bound.epsilon_lower)} at delta {bound.delta:g}"
    return (
        f"the {measured.attack} attack of the {measured.adversary} shows {shown} claimed, "
        f"at confidence {bound.confidence:.4g}"
    )


def _caveats(
    claim: PrivacyClaim, assumptions: Sequence[Assumption], measured: Sequence[Measured]
) -> list[str]:
    unchecked = [a.text for a in assumptions if a.holds is None]
    outside = sorted({m.adversary for m in measured if m.adversary not in claim.adversaries})
    caveats = []
    if outside:
        caveats.append(
            f"The claim does not cover the {', '.join(outside)}; those results refute nothing."
        )
    if unchecked:
        caveats.append("Not checked: " + " ".join(unchecked))
    if not claim.unprotected:
        caveats.append("Which quantities are treated as public is not stated.")
    return caveats

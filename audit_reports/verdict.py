"""The verdict: a pure function of what is recorded, five words and no others.

Tested in this order: INVALID, UNSUPPORTED, REFUTED, INCONCLUSIVE, CONSISTENT. Where a claim is
both unsupported and refuted, both reasons are listed. There is no word for "private": an audit
cannot show it, so an absence of evidence is always printed with the power of the search.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ..accountant.assumption import Assumption
from ..accountant.bounds import ProvenBound
from ..accountant.claim import PrivacyClaim
from .estimators.tradeoff import TradeOff
from .text import at_least, at_most
from .verdict_reasons import Measured, exceeds, refutation, within
from .verdict_reasons import caveats as caveats_of

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
    caveats = caveats_of(claim, assumptions, measured)
    if releases == 0:
        return _verdict("INVALID", "nothing was released under a ledger", [], caveats)

    unsupported = [
        f'an assumption of the proof does not hold: "{a.text}" ({a.how})' for a in broken
    ]
    if proven is None:
        unsupported.append("no accountant proves anything about the released event")
    elif not claim.is_proven_by(proven):
        unsupported.append(exceeds(claim, proven))
    refuted = [refutation(claim, m) for m in inside if m.bound.refutes(claim)]
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
    assert_proven = "the proven bound" if proven is None else within(claim, proven)
    return _verdict(
        "CONSISTENT",
        f"{assert_proven}; no attack refutes the claim, and {power}, "
        f"{at_most(multiple, 3)} times the claimed mu",
        [assert_proven, power],
        caveats,
    )


def judge_black_box(
    claim: PrivacyClaim,
    *,
    proven: ProvenBound | None,
    assumptions: Sequence[Assumption],
    measured: Sequence[Measured],
    power_multiple: float,
    control: bool | None = False,
) -> Verdict:
    """The verdict on a mechanism that is known by its outputs or its scores only.

    Args:
        claim: what is asserted.
        proven: of the event that the mechanism is meant to be; None if no event was given. Then
            nothing is proven, and an audit that finds nothing decides nothing.
        assumptions: of the audit.
        measured: the attacks' results, all of them.
        power_multiple: CONSISTENT needs that a mechanism with this multiple of the claimed mu would
            have been refuted: by the design, and by the attack, which must have found enough of
            what is there to find that much more.
        control: True if the same attack refuted a system that leaks `power_multiple` times the
            claim; False if no such control is needed; None if it is needed and missing.
    """
    caveats = caveats_of(claim, assumptions, measured)
    unsupported = []
    if proven is not None and claim.event is None:
        if not claim.is_proven_by(proven):
            unsupported.append(exceeds(claim, proven))
        unsupported += [
            f"the {m.attack} attack shows more than the declared event allows: the mechanism does "
            "not implement it, so accounting proves nothing"
            for m in measured
            if m.bound.contradicts(TradeOff.of(proven))
        ]
    refuted = [refutation(claim, m) for m in measured if m.bound.refutes(claim)]
    if unsupported:
        return _verdict(
            "UNSUPPORTED",
            f"the claim {claim.text()} is not supported: {unsupported[0]}",
            [*unsupported, *refuted],
            caveats,
        )
    if refuted:
        text = f"the claim {claim.text()} is refuted: {refuted[0]}"
        return _verdict("REFUTED", text, refuted, caveats)
    best = min(measured, key=lambda m: m.power.mu)
    multiple = math.inf if best.power.multiple is None else best.power.multiple
    design = (
        f"an attack as good as any would have refuted mu >= {at_most(best.power.mu)} "
        f"({at_most(multiple, 3)} times the claim) with probability {best.power.probability:g}"
    )
    if proven is None:
        reason = f"no event is declared, so nothing is proven; {design}"
        return _verdict(
            "INCONCLUSIVE", f"no attack refutes {claim.text()}: {reason}", [reason], caveats
        )
    if multiple > power_multiple:
        reason = f"{design}, which is more than {power_multiple:g} times the claim"
        return _verdict(
            "INCONCLUSIVE", f"the audit has too little power: {reason}", [reason], caveats
        )
    found = max(m.bound.mu_lower or 0.0 for m in measured)
    if control is False and found * power_multiple < best.power.mu:
        reason = (
            f"the attack found mu >= {at_least(found)} only; if {power_multiple:g} times the leak "
            f"showed {power_multiple:g} times as much, that would be less than the mu of "
            f"{at_most(best.power.mu)} that is refuted reliably: the attack may be too weak"
        )
        return _verdict(
            "INCONCLUSIVE", f"the audit has too little power: {reason}", [reason], caveats
        )
    if control is None:
        reason = (
            "that the attack sees what this training leaks was not shown: give control=, the "
            f"record of a run that is known to leak {power_multiple:g} times the claim"
        )
        return _verdict(
            "INCONCLUSIVE", f"no attack refutes {claim.text()}, but {reason}", [reason], caveats
        )
    proof = "the claim is the declared event" if claim.event else within(claim, proven)
    return _verdict(
        "CONSISTENT",
        f"{proof}; no attack refutes the claim, the attack found mu >= {at_least(found)}, and "
        f"{design}",
        [proof, design],
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

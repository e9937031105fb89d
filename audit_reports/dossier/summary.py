"""The first thing a hurried reviewer reads: claim, exact numbers, verdict, three worst findings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...accountant.digits import at_least, at_most
from ..lint.declaration import Declaration
from ..lint.findings import Finding
from ..verdict import WORDS, Word
from .objects import Account

WORST = 3
# Said by the verdict itself: the claim is incomplete, and the claim against exact accounting.
_IN_THE_VERDICT = ("D1", "V1")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A dossier in five lines.

    Attributes:
        claim: what is claimed, in words.
        released: exact accounting as released, view by view.
        sound: what a sound release gives.
        word: verdict on the claim as it is stated; `verdict` says why.
        findings: the worst ones, at most three.
    """

    claim: str
    released: str
    sound: str
    word: Word
    verdict: str
    findings: tuple[str, ...]


def summary(
    declaration: Declaration, accounts: Sequence[Account], findings: Sequence[Finding]
) -> Summary:
    """Of the published claim, the exact accounts of all modes, and what lint found in it."""
    released = [a for a in accounts if a.mode == "released"]
    word, verdict = _verdict(declaration, [a for a in released if a.in_claim])
    return Summary(
        claim=_claim(declaration),
        released=_numbers([a for a in released if a.in_claim or a.epsilon.upper == math.inf])
        or "no guarantee is stated or implied, so that none is counted",
        sound=_numbers([a for a in accounts if a.mode == "sound"]),
        word=word,
        verdict=verdict,
        findings=worst(findings),
    )


def epsilon(account: Account, digits: int = 4) -> str:
    """Epsilon as an upper limit, or that there is none."""
    upper = account.epsilon.upper
    return at_most(upper, digits) if upper < math.inf else "no bound"


def _enclosed(account: Account) -> str:
    """Both ends of epsilon where they differ in print: verdicts quote the lower one."""
    low, high = at_least(account.epsilon.lower), epsilon(account)
    if high == "no bound" or low == high:
        return high if high == "no bound" else f"epsilon {high}"
    if account.epsilon.lower == 0.0:
        return f"epsilon at most {high}"
    return f"epsilon between {low} and {high}"


def worst(findings: Sequence[Finding]) -> tuple[str, ...]:
    """The three errors that move epsilon furthest, one for each pattern; unbounded ones first."""
    errors = [f for f in findings if f.severity == "error" and f.code not in _IN_THE_VERDICT]
    ranked = sorted(errors, key=_loss, reverse=True)  # stable: equal ones keep the lint's order
    found: dict[str, str] = {}
    for finding in ranked:
        if finding.code not in found and len(found) < WORST:
            refs = f" ({', '.join(finding.refs)})" if finding.refs else ""
            found[finding.code] = f"{finding.code} {finding.title}{refs}: {_effect(finding)}"
    return tuple(found.values())


def _loss(finding: Finding) -> float:
    return max((e.epsilon.upper for e in finding.exact), default=0.0)


def _effect(finding: Finding) -> str:
    if not finding.exact:
        return finding.reason
    top = max(finding.exact, key=lambda e: e.epsilon.upper)
    if top.epsilon.upper < math.inf:
        return f"epsilon {at_most(top.epsilon.upper)} ({top.adjacency}, {top.view})"
    low = top.epsilon.lower
    least = f", at least {at_least(low)}" if 0.0 < low < math.inf else ""
    return f"no bound{least} ({top.adjacency}, {top.view})"


def _claim(declaration: Declaration) -> str:
    claim = declaration.claim
    if claim.kind == "none":
        return f"no differential privacy; {claim.covers}"
    stated = "no epsilon" if claim.epsilon is None else f"epsilon {claim.epsilon:g}"
    at = "no delta" if claim.delta is None else f"delta {claim.delta:g}"
    unit = "unit not stated" if claim.unit is None else f"one {claim.unit}"
    return f"{stated} at {at}, {unit}, adjacency {claim.adjacency or 'not stated'}: {claim.covers}"


def _numbers(accounts: Sequence[Account]) -> str:
    parts: dict[str, list[str]] = {}
    for account in accounts:
        number = _enclosed(account)
        outside = "" if account.in_claim else "; outside the claim"
        key = f"{number} ({account.what}; {account.adjacency}, one {account.unit}{outside})"
        parts.setdefault(key, []).append(account.view)
    return "; ".join(f"{', '.join(views)}: {text}" for text, views in parts.items())


def _verdict(declaration: Declaration, accounts: Sequence[Account]) -> tuple[Word, str]:
    claim = declaration.claim
    if claim.kind == "none":
        return (
            "INVALID",
            "as a claim of differential privacy: no guarantee, unit or delta is stated",
        )
    missing = [
        name
        for name, value in (
            ("epsilon", claim.epsilon if claim.mu is None else claim.mu),
            ("delta", claim.delta),
            ("unit", claim.unit),
            ("adjacency", claim.adjacency),
        )
        if value is None
    ]
    first = min(accounts, key=lambda a: (WORDS.index(a.word), -a.epsilon.lower))
    completed = (
        f"{first.word} for {first.view}, one {first.unit}, {first.adjacency}: {first.reason}"
    )
    if missing:
        return (
            "INVALID",
            f"the claim does not state {' and '.join(missing)}; completed, {completed}",
        )
    return first.word, completed

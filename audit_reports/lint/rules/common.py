"""What rules share: making a finding of a pattern, and printing numbers on the safe side."""

import math
from collections.abc import Iterable

from ....accountant.digits import at_least, at_most
from ..declaration import Declaration
from ..findings import Exact, Finding, Severity
from ..patterns import PATTERNS
from ..release import Release


def finding(
    code: str,
    severity: Severity,
    where: str,
    reason: str,
    fix: str,
    *,
    exact: Iterable[Exact] = (),
    refs: Iterable[str] = (),
) -> Finding:
    """A finding of pattern `code`; of `refs`, those that belong to it."""
    pattern = PATTERNS[code]
    known = {*pattern.vpdr, *pattern.dp_fpl, *pattern.dp_fedlora}
    others = {r for p in PATTERNS.values() for r in (*p.vpdr, *p.dp_fpl, *p.dp_fedlora)} - known
    return Finding(
        code=code,
        severity=severity,
        title=pattern.title,
        where=where,
        reason=reason,
        fix=fix,
        exact=tuple(exact),
        refs=tuple(ref for ref in refs if ref not in others) if code[0] != "S" else (code,),
        hazards=pattern.hazards,
    )


PAY = (
    "declare a [[release]] with rounds = 0 for it, outside the rounds, and name it in paid_by; "
    'what is computed from releases of the rounds is "noised", not "accounted"'
)


def unpaid(d: Declaration, paid_by: Iterable[str], *, own: bool) -> str:
    """Why these releases do not pay for something, in words; empty if they do.

    Args:
        d: the system.
        paid_by: names of releases.
        own: it is a mechanism or a run of its own, so that it takes releases of its own: those
            that are made in the rounds are used up by them. Else it is computed from what the
            rounds release anyway.
    """
    named = [r for r in d.release if r.name in set(paid_by)]
    if not named:
        return "no release is named that pays for it"
    free = [r.name for r in named if r.kind == "none" or not r.charged]
    if free:
        return f"{quoted(free)} carry no noise, or are not counted"
    used = [r.name for r in named if own and r.releases <= in_rounds(d, r)]
    if used:
        return f"the rounds use up all releases of {quoted(used)}: nothing is left to pay with"
    return ""


def in_rounds(d: Declaration, release: Release) -> float:
    """How many releases of one unit the rounds take, at most; inf if their number is not stated."""
    rounds = d.sampling.rounds if release.rounds is None else release.rounds
    if d.sampling.participations is not None and rounds is not None:
        rounds = min(rounds, d.sampling.participations)
    return math.inf if rounds is None else rounds * release.per_round


def only_itself(d: Declaration, shaped: Iterable[Release], paid_by: Iterable[str]) -> str:
    """Why what is computed from `paid_by` cannot shape these releases; empty if it can.

    A release can follow earlier ones of its name, and a release made once has none before it.
    """
    listed = list(shaped)
    if not listed or any(r.releases > 1 or r.name not in set(paid_by) for r in listed):
        return ""
    return f"{quoted(r.name for r in listed)} would have to be made before itself"


def quoted(names: Iterable[str]) -> str:
    """'a', 'b'."""
    return ", ".join(map(repr, names))


def shown(exact: Exact) -> str:
    """One line: epsilon rounded up (or at least so much), and the terms it is stated in."""
    low, high = exact.epsilon.lower, exact.epsilon.upper
    if high < float("inf"):
        value = f"epsilon {at_most(high, 5)}"
    elif 0.0 < low < float("inf"):
        value = f"epsilon at least {at_least(low, 5)}, no upper bound"
    else:
        value = "no bound"
    return (
        f"{value} at delta {exact.delta:g}, {exact.adjacency} one {exact.unit}, {exact.view}: "
        f"{exact.facts}"
    )

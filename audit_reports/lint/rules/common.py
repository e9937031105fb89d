"""What rules share: making a finding of a pattern, and printing numbers on the safe side."""

from collections.abc import Iterable

from ....accountant.digits import at_least, at_most
from ..declaration import Declaration
from ..findings import Exact, Finding, Severity
from ..patterns import PATTERNS


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


def unpaid(d: Declaration, paid_by: Iterable[str]) -> str:
    """Why these releases do not pay for something, in words; empty if they do."""
    named = [r for r in d.release if r.name in set(paid_by)]
    if not named:
        return "no release is named that pays for it"
    free = [r.name for r in named if r.kind == "none" or not r.charged]
    return f"{quoted(free)} carry no noise, or are not counted" if free else ""


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

"""`Finding`: something that a rule found, with the number that it changes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from ...accountant.bounds import Interval

Severity = Literal["error", "warning", "info"]
_RANK = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, kw_only=True)
class Exact:
    """What the accountant proves under named facts.

    Attributes:
        facts: which of the declared facts are counted, in words.
        adjacency: what a neighbour is.
        unit: whose data.
        view: who looks.
        delta: where epsilon is given.
        mu_upper: the mechanism is mu-GDP for this mu; infinite where nothing is proven.
        epsilon: enclosure of the smallest epsilon at delta; (inf, inf): no bound exists;
            [low, inf]: at least low, and nothing proven above.
    """

    facts: str
    adjacency: str
    unit: str
    view: str
    delta: float
    mu_upper: float
    epsilon: Interval


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding.

    Attributes:
        code: of the pattern (`patterns.PATTERNS`), e.g. "D3".
        severity: "error" breaks or voids the guarantee; "warning" leaves it open; "info".
        title: the pattern's title.
        where: the place in the declaration.
        reason: what was declared, and why that matters.
        exact: epsilon under the declared facts; empty where no number exists.
        fix: what would mend it.
        refs: numbers of the defect in the system's specification, as far as declared.
        hazards: items of the hazards checklist.
    """

    code: str
    severity: Severity
    title: str
    where: str
    reason: str
    fix: str
    exact: tuple[Exact, ...] = ()
    refs: tuple[str, ...] = ()
    hazards: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; infinities as strings."""
        from dataclasses import asdict

        from ...accountant.jsonio import dump

        found: dict[str, Any] = dump(asdict(self))
        return found


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then warnings; within one severity by code."""
    return sorted(findings, key=lambda f: (_RANK[f.severity], f.code[0], int(f.code[1:]), f.where))


def exit_code(findings: Iterable[Finding]) -> int:
    """3 if there is an error, 4 if there are warnings only, 0 otherwise."""
    seen = {finding.severity for finding in findings}
    return 3 if "error" in seen else 4 if "warning" in seen else 0

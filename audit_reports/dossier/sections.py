"""A dossier as inert blocks: the page and the terminal show the same ones."""

import math

from ...accountant.digits import at_least, at_most
from ..lint.declaration import Declaration
from ..lint.findings import Exact, Finding
from ..lint.patterns import PATTERNS
from ..lint.show import counts
from ..render.blocks import Block, Facts, Section, Table, Tag, Text, VerdictBox
from .build import Dossier, Mode
from .objects import Account
from .reference import RefTable
from .summary import epsilon as account_epsilon

_KIND = {"error": "failed", "warning": "open", "info": "ok"}
_WORD = {"CONSISTENT": "ok", "INCONCLUSIVE": "open"}


def sections(made: Dossier) -> tuple[Section, ...]:
    """Summary, claim, exact accounting as released and sound, patterns, findings, tables."""
    return (
        Section("summary", "In short", (_summary(made),)),
        Section("claim", "What is claimed", (_claim(made.released[0].declaration),)),
        Section("released", "Exact accounting as released", (_accounts(made, "released"),)),
        Section("sound", "Exact accounting, sound", (_accounts(made, "sound"),)),
        Section("patterns", "Defect patterns", (_patterns(made),)),
        Section(
            "findings",
            "Findings",
            (
                Text(
                    "Epsilons are computed from the declarations by the lint, rounded up. Other "
                    "numbers in the reasons are quoted from the declarations."
                ),
                *(_findings(m) for m in (*made.released, *made.sound)),
            ),
        ),
        Section("tables", "Reference numbers", tuple(map(_reference, made.tables))),
    )


def number(value: float) -> str:
    """Six digits, to nearest; whole numbers in full.

    >>> number(160.8307), number(35195.0), number(35195.4966), number(math.inf), number(1e-9)
    ('160.831', '35,195', '35,195.5', 'no bound', '1e-09')
    """
    if value == math.inf:
        return "no bound"
    if value == round(value) and abs(value) < 1e15:
        return f"{round(value):,}"
    return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:.6g}"


def epsilon(exact: Exact) -> str:
    """Epsilon as an upper limit, or why there is none."""
    if exact.epsilon.upper < math.inf:
        return at_most(exact.epsilon.upper, 6)
    if 0.0 < exact.epsilon.lower < math.inf:
        return f"no bound; at least {at_least(exact.epsilon.lower, 5)}"
    return "no bound"


def _summary(made: Dossier) -> Block:
    short = made.summary
    return VerdictBox(
        word=Tag(short.word, _WORD.get(short.word, "failed")),
        sentence=short.verdict,
        lines=(
            ("claim", short.claim),
            ("as released", short.released),
            ("sound", short.sound),
        ),
        caveats=short.findings,
    )


def _claim(declaration: Declaration) -> Block:
    claim = declaration.claim
    rows = [
        ("declaration", declaration.title),
        ("source", declaration.source),
        (
            "guarantee",
            "no differential privacy is claimed"
            if claim.kind == "none"
            else f"epsilon {_or_missing(claim.epsilon)}, delta {_or_missing(claim.delta)}",
        ),
        ("unit", claim.unit or "not stated"),
        ("adjacency", claim.adjacency or "not stated"),
        ("trust", claim.trust),
        ("adversaries", ", ".join(claim.views) or "not stated"),
        ("covers", claim.covers),
        ("unprotected", ", ".join(claim.unprotected) or "not stated"),
    ]
    return Facts(tuple(rows))


def _or_missing(value: float | None) -> str:
    return "not stated" if value is None else f"{value:g}"


def _accounts(made: Dossier, mode: str) -> Block:
    """One table of the mechanism objects in this mode."""
    found = [account for account in made.accounts if account.mode == mode]
    if not found:
        return Text("No differential privacy is claimed, so that no epsilon exists.")
    claimed = sorted({(account.claimed, account.delta) for account in found})
    return Table(
        caption="the mechanism objects, accounted exactly and rounded up, for a claimed "
        + ", ".join(f"({e:g}, {d:g})" for e, d in claimed),
        header=(
            "what",
            "view",
            "adjacency",
            "unit",
            "mu at most",
            "epsilon at most",
            "verdict",
            "why",
        ),
        rows=tuple(_account(account) for account in found),
        numeric=(4, 5),
    )


def _account(account: Account) -> tuple[str | Tag, ...]:
    mu = "no bound" if account.mu == math.inf else at_most(account.mu, 6)
    outside = "" if account.in_claim else " (outside the claim)"
    return (
        account.what + outside,
        account.view,
        account.adjacency,
        account.unit,
        mu,
        account_epsilon(account, 6),
        Tag(account.word, _WORD.get(account.word, "failed")),
        account.reason,
    )


def _patterns(made: Dossier) -> Block:
    """Each pattern: how bad it was found to be, in which mode."""
    modes = (*made.released, *made.sound)
    codes = [c for c in PATTERNS if any(f.code == c for m in modes for f in m.findings)]
    rows = []
    for code in codes:
        cells: list[str | Tag] = []
        for mode in modes:
            found = [f for f in mode.findings if f.code == code]
            worst = next((s for s in ("error", "warning", "info") if _has(found, s)), "")
            cells.append(Tag(worst, _KIND[worst]) if worst else "")
        rows.append((f"{code} {PATTERNS[code].title}", *cells))
    return Table(
        caption="worst severity of each pattern",
        header=("pattern", *(m.declaration.title for m in modes)),
        rows=tuple(rows),
    )


def _has(findings: list[Finding], severity: str) -> bool:
    return any(f.severity == severity for f in findings)


def _findings(mode: Mode) -> Block:
    rows = []
    for finding in mode.findings:
        numbers = "; ".join(
            f"{epsilon(e)} ({e.adjacency}, {e.unit}, {e.view}; {e.facts})" for e in finding.exact
        )
        rows.append(
            (
                f"{finding.code} {finding.title}{_listed(finding)}",
                Tag(finding.severity, _KIND[finding.severity]),
                finding.where,
                finding.reason,
                numbers,
                finding.fix,
            )
        )
    return Table(
        caption=f"{mode.declaration.title}: {counts(mode.findings)}",
        header=("pattern", "severity", "where", "reason", "exact epsilon", "mend"),
        rows=tuple(rows),
        folded=mode.exit_code == 0,
    )


def _listed(finding: Finding) -> str:
    """Where the system's specification and the checklist list it."""
    listed = (*finding.refs, *finding.hazards)
    return f" ({', '.join(listed)})" if listed else ""


def _reference(table: RefTable) -> Block:
    rows = tuple(
        tuple(cell if isinstance(cell, str) else number(cell) for cell in row) for row in table.rows
    )
    quoted = f"Quoted, not computed: {table.quoted}" if table.quoted else ""
    caption = ". ".join(part.rstrip(".") for part in (table.caption, table.reading, quoted) if part)
    numeric = tuple(
        i
        for i in range(len(table.header))
        if any(not isinstance(row[i], str) for row in table.rows)
    )
    return Table(caption=caption + ".", header=table.header, rows=rows, numeric=numeric)

"""A dossier as inert blocks: the page and the terminal show the same ones."""

import math

from ...accountant.digits import at_least, at_most
from ..lint.declaration import Declaration
from ..lint.findings import Exact, Finding
from ..lint.patterns import PATTERNS
from ..lint.show import counts
from ..render.blocks import Block, Facts, Section, Table, Tag, Text
from .build import Dossier, Mode
from .reference import RefTable

_KIND = {"error": "failed", "warning": "open", "info": "ok"}


def sections(made: Dossier) -> tuple[Section, ...]:
    """Claim, exact accounting as released and sound, patterns, findings, tables."""
    return (
        Section(
            "claim", "What is claimed", tuple(_claim(m.declaration) for m in made.released[:1])
        ),
        Section("released", "Exact accounting as released", tuple(_accounts(made.released))),
        Section("sound", "Exact accounting, sound", tuple(_accounts(made.sound))),
        Section("patterns", "Defect patterns", (_patterns(made),)),
        Section(
            "findings",
            "Findings",
            tuple(_findings(m) for m in (*made.released, *made.sound)),
        ),
        Section("tables", "Reference numbers, computed now", tuple(map(_reference, made.tables))),
    )


def number(value: float) -> str:
    """Six digits, whole numbers in full.

    >>> number(160.8307), number(35195.0), number(math.inf), number(1e-9)
    ('160.831', '35,195', 'no bound', '1e-09')
    """
    if value == math.inf:
        return "no bound"
    if value == round(value) and abs(value) < 1e15:
        return f"{round(value):,}"
    return f"{value:.6g}"


def epsilon(exact: Exact) -> str:
    """Epsilon as an upper limit, or why there is none."""
    if exact.epsilon.upper < math.inf:
        return at_most(exact.epsilon.upper, 6)
    if 0.0 < exact.epsilon.lower < math.inf:
        return f"no bound; at least {at_least(exact.epsilon.lower, 5)}"
    return "no bound"


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


def _accounts(modes: tuple[Mode, ...]) -> list[Block]:
    blocks: list[Block] = []
    for mode in modes:
        found = (*mode.accounted, *mode.noised)
        found += tuple(e for e in mode.declared if e.epsilon.upper == math.inf)
        if not found:
            blocks.append(
                Text(f"{mode.declaration.title}: no DP claim, so that no epsilon exists.")
            )
            continue
        claim = mode.declaration.claim
        blocks.append(
            Table(
                caption=f"{mode.declaration.title}: claimed epsilon "
                f"{_or_missing(claim.epsilon)} at delta {found[0].delta:g}",
                header=("counted", "adjacency", "unit", "view", "mu at most", "epsilon at most"),
                rows=tuple(
                    (e.facts, e.adjacency, e.unit, e.view, _mu(e), epsilon(e)) for e in found
                ),
                numeric=(4, 5),
            )
        )
    return blocks


def _mu(exact: Exact) -> str:
    return "no bound" if exact.mu_upper == math.inf else at_most(exact.mu_upper, 6)


def _patterns(made: Dossier) -> Block:
    """Each pattern: how often it was found, in which mode."""
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
                f"{finding.code} {finding.title}",
                Tag(finding.severity, _KIND[finding.severity]),
                finding.where,
                finding.reason,
                numbers,
                finding.fix,
                ", ".join((*finding.refs, *finding.hazards)),
            )
        )
    return Table(
        caption=f"{mode.declaration.title}: {counts(mode.findings)}",
        header=("pattern", "severity", "where", "reason", "exact epsilon", "mend", "listed as"),
        rows=tuple(rows),
        folded=mode.exit_code == 0,
    )


def _reference(table: RefTable) -> Block:
    rows = tuple(
        tuple(cell if isinstance(cell, str) else number(cell) for cell in row) for row in table.rows
    )
    caption = table.caption + (f". {table.reading}" if table.reading else "")
    numeric = tuple(
        i
        for i in range(len(table.header))
        if any(not isinstance(row[i], str) for row in table.rows)
    )
    return Table(caption=caption, header=table.header, rows=rows, numeric=numeric)

"""A lint in words for the terminal."""

import textwrap
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from ...accountant.jsonio import dump
from .declaration import Declaration
from .findings import Finding
from .rules.common import shown

_WIDTH = 100


def lines(declaration: Declaration, findings: Iterable[Finding]) -> list[str]:
    """One paragraph a finding, and a line with the counts."""
    found = list(findings)
    out = [_clean(f"{declaration.title}: {counts(found)}")]
    for finding in found:
        out += ["", *paragraph(finding)]
    return out


def paragraph(finding: Finding) -> list[str]:
    """Severity, code and title; place and reason; numbers; what mends it."""
    refs = f" ({', '.join(finding.refs)})" if finding.refs else ""
    hazards = f" [{', '.join(finding.hazards)}]" if finding.hazards else ""
    out = [_clean(f"{finding.severity.upper():<7} {finding.code} {finding.title}{refs}{hazards}")]
    out += _wrapped(f"at {finding.where}: {finding.reason}")
    for exact in finding.exact:
        out += _wrapped("= " + shown(exact))
    if finding.severity != "info":
        out += _wrapped(f"mend: {finding.fix}")
    return out


def counts(findings: Iterable[Finding]) -> str:
    """E.g. "2 errors, 1 warning, 3 notes"."""
    found = list(findings)
    words = []
    for severity, word in (("error", "error"), ("warning", "warning"), ("info", "note")):
        n = sum(f.severity == severity for f in found)
        words.append(f"{n} {word}{'' if n == 1 else 's'}")
    return ", ".join(words)


def plain_declaration(declaration: Declaration) -> dict[str, Any]:
    """Title, system, mode, source and claim, as plain JSON types."""
    found: dict[str, Any] = dump(
        {
            "title": declaration.title,
            "system": declaration.system,
            "mode": declaration.mode,
            "source": declaration.source,
            "claim": asdict(declaration.claim),
        }
    )
    return found


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(_clean(text), _WIDTH, initial_indent="    ", subsequent_indent="      ")


def _clean(text: str) -> str:
    # a declaration is a stranger's file: no control characters reach the terminal
    return "".join(c if c.isprintable() else " " for c in text)

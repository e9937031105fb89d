"""The terminal's words: a line per mechanism, and the verdict box in exactly five lines."""

from ..record import AuditRecord
from ..results import MechanismResult
from ..text import at_least, at_most
from .reading import controls_line, measured_line, plain, proven_line, strongest

COLUMNS = 100


def summary(record: AuditRecord) -> list[str]:
    """One line per mechanism: word, exit code, proven and measured epsilon, how a control did."""
    width = max((len(plain(m.name, 24)) for m in record.mechanisms), default=0)
    return [_line(record, row, width) for row in record.mechanisms]


def _line(record: AuditRecord, row: MechanismResult, width: int) -> str:
    best = strongest(record, row)
    if best is None:
        found = "nothing"
    elif record.claim.is_curve:  # what is held against a curve is mu; no conversion is assumed
        found = f"mu >= {at_least(best.bound.mu_lower)}"
    else:
        found = f"epsilon >= {at_least(best.bound.epsilon_lower)}"
    if row.expect is None:
        note = ""
    elif row.verdict.word == row.expect:
        note = "expected"
    else:
        note = f"UNEXPECTED, not {row.expect}"
    text = (
        f"{plain(row.name, 24):<{width}}  {row.verdict.word:<12} (exit {row.verdict.exit_code})  "
        f"proven {_proven(record, row):<26} "
        f"measured {found:<15} {note}"
    )
    return text.rstrip()


def _proven(record: AuditRecord, row: MechanismResult) -> str:
    if record.claim.is_curve:
        epsilon = at_most(row.proven_epsilon.upper)
        return f"mu <= {at_most(row.proven.mu.upper)} (epsilon {epsilon})"
    return f"epsilon <= {at_most(row.proven_epsilon.upper)}"


def box(record: AuditRecord) -> list[str]:
    """The verdict in five lines of at most 100 columns."""
    verdict = record.verdict
    lines = (
        ("VERDICT", f"{verdict.word} (exit {verdict.exit_code}): {verdict.sentence}"),
        ("claim", record.claim.text()),
        ("proven", proven_line(record)),
        ("measured", measured_line(record)),
        ("controls", controls_line(record, short=True)),
    )
    return [plain(f"{name:<9} {text}", COLUMNS) for name, text in lines]

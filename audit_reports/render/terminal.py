"""The terminal's words: a line per mechanism, and the verdict box in exactly five lines."""

import math

from ..hazards import FAILED
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
        found = f"mu >= {at_least(best.bound.mu_lower or 0.0)}"
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


def sheet(record: AuditRecord) -> list[str]:
    """A record of one mechanism without controls: verdict, numbers, and every reason in full."""
    row = record.mechanisms[0]
    lines = [
        ("verdict", f"{record.verdict.word} (exit {record.verdict.exit_code})"),
        ("claim", record.claim.text()),
    ]
    for attack in row.attacks:
        bound = attack.bound
        if bound.mu_lower is not None:
            gaussian = at_least(bound.epsilon_lower_gaussian or 0.0)
            lines.append(
                ("measured", f"mu >= {at_least(bound.mu_lower)} (epsilon {gaussian} if Gaussian)")
            )
        lines.append(
            ("measured", f"epsilon >= {at_least(bound.epsilon_lower)} at delta {bound.delta:g}")
        )
        lines.append(
            ("by", f"{attack.attack}; {bound.method}, {bound.guarantee}, at {bound.confidence:g}")
        )
        lines.append(
            (
                "power",
                f"{attack.power.probability:g} from mu {at_most(attack.power.mu)} on, for an "
                f"attack as good as any ({attack.power.how})",
            )
        )
    if not math.isinf(row.proven_epsilon.upper):
        lines.append(("proven", f"epsilon <= {at_most(row.proven_epsilon.upper)} for the event"))
    lines += [("because", reason) for reason in record.verdict.reasons]
    lines += [("looked at", row.description)]
    lines += [
        ("hazard", f"{hazard.text}: {hazard.evidence}")
        for hazard in record.hazards
        if hazard.status == FAILED
    ]
    return [plain(f"{name:<9} {text}", 400) for name, text in lines]

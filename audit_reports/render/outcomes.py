"""What accuracies and reconstructions say, in words. No statistics here, as in `reading`."""

import math
from collections.abc import Sequence

from ..record import AuditRecord
from ..results import InversionRow, UtilityRow
from ..text import at_least, at_most
from .reading import plain

METRICS = {
    "head": "own model (head) accuracy",
    "prototype": "nearest-prototype accuracy",
}
SMALL_GAP = 3.0  # dB, half the squared error; one pair has no interval, so less is not read


def mean_row(record: AuditRecord, variant: str, metric: str) -> UtilityRow | None:
    """The mean over clients of one variant."""
    for row in record.utility:
        if (row.variant, row.client, row.metric) == (variant, "mean", metric):
            return row
    return None


def variants(record: AuditRecord, *, equal_budget: bool) -> list[str]:
    """Names in the first or second group of the leaderboard, the best head accuracy first."""
    names = dict.fromkeys(r.variant for r in record.utility if r.equal_budget == equal_budget)

    def height(name: str) -> float:
        row = mean_row(record, name, "head")
        return math.inf if row is None else -row.mean

    return sorted(names, key=height)


def accuracy(row: UtilityRow) -> str:
    """Mean and interval, the interval rounded outwards."""
    return f"{row.mean:.3f} [{_padded(at_least(row.lower, 3))}, {_padded(at_most(row.upper, 3))}]"


def _padded(number: str) -> str:
    """At least three decimals, so that a column lines up."""
    return f"{number:0<5}" if "." in number and "e" not in number else number


def overlap(a: UtilityRow, b: UtilityRow) -> bool:
    """Whether the two intervals have a point in common."""
    return a.lower <= b.upper and b.lower <= a.upper


def against(row: UtilityRow, other: UtilityRow) -> str:
    """Where `row` lies relative to `other`, by the intervals."""
    if overlap(row, other):
        return "not distinguishable from"
    return "above" if row.lower > other.upper else "below"


def utility_readings(record: AuditRecord) -> list[str]:
    """The honest reading of the leaderboard, a sentence each; mean over clients."""
    found = []
    equal = variants(record, equal_budget=True)
    for metric, words in METRICS.items():
        rows = [r for name in equal if (r := mean_row(record, name, metric)) is not None]
        if len(rows) >= 2:
            found.append(f"{words.capitalize()} at equal budget: {_ranking(rows)}")
    if not equal:
        found.append("No mechanism is at the claimed budget, so there is no comparison.")
    for baseline, metric, meaning in (
        ("local-only", "head", "no exchange of prototypes at all"),
        ("random-prototypes", "head", "prototypes that carry no information"),
        ("random-prototypes", "prototype", "chance level"),
    ):
        base = mean_row(record, baseline, metric)
        rows = [r for name in equal if (r := mean_row(record, name, metric)) is not None]
        if base is not None and rows:
            found.append(_versus(rows, base, f"{baseline} ({meaning})", METRICS[metric]))
    return found


def _ranking(rows: Sequence[UtilityRow]) -> str:
    ordered = sorted(rows, key=lambda r: -r.mean)
    listed = ", ".join(f"{plain(r.variant, 30)} {accuracy(r)}" for r in ordered)
    best, *rest = ordered
    tied = [plain(r.variant, 30) for r in rest if overlap(best, r)]
    if tied:
        names = ", ".join([plain(best.variant, 30), *tied])
        return f"{listed}. The intervals of {names} overlap: no order between them is shown."
    return f"{listed}. {plain(best.variant, 30)} is ahead: its interval overlaps no other."


def _versus(rows: Sequence[UtilityRow], base: UtilityRow, name: str, words: str) -> str:
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(against(row, base), []).append(plain(row.variant, 30))
    parts = []
    for relation in ("above", "not distinguishable from", "below"):
        if relation in groups:
            verb = "is" if len(groups[relation]) == 1 else "are"
            parts.append(f"{', '.join(groups[relation])} {verb} {relation}")
    said = "; ".join(parts)
    tail = "" if "above" in groups else " No private mechanism beats it."
    return f"{words.capitalize()}: {said} {name} at {accuracy(base)}.{tail}"


def leakage(row: InversionRow) -> str:
    """The gap to the control in words."""
    gap = row.psnr - row.control_psnr
    if not gap > 0:
        return "no more than the control: class-typical, no leakage shown"
    if gap < SMALL_GAP:
        return (
            f"{at_least(gap, 2)} dB more than the control: below {SMALL_GAP:g} dB, too little for "
            "one pair of pictures; no leakage shown"
        )
    return f"{at_least(gap, 2)} dB more than the control: leakage"


def leaks(row: InversionRow) -> bool:
    """Whether the gap is large enough to be read."""
    return row.psnr - row.control_psnr >= SMALL_GAP


def inversion_readings(record: AuditRecord) -> list[str]:
    """What the cases show together: did the attack work at all, and how large is chance?"""
    found = []
    able = {r.label: leaks(r) for r in record.inversion if "positive control" in r.case}
    works = [plain(label, 20) for label, leaked in able.items() if leaked]
    fails = [plain(label, 20) for label, leaked in able.items() if not leaked]
    if works:
        found.append(
            f"The positive control leaks for class {', '.join(works)}: the attack works there."
        )
    if fails:
        found.append(
            f"The positive control does not leak for class {', '.join(fails)}: the attack has no "
            "power there, and finding nothing in the other cases of that class shows nothing."
        )
    behind = max((r.control_psnr - r.psnr for r in record.inversion), default=0.0)
    if behind > 0.0:
        found.append(
            f"In this record the control comes closer by up to {at_most(behind, 2)} dB: "
            "differences of that size arise by chance."
        )
    return found

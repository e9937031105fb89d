"""What the numbers of a system's comparison say, in sentences that follow from them alone."""

import math
from collections.abc import Sequence

from ...fl_core.systems.base import NO_RECORDS, Metric, SystemFile
from ..text import at_most
from .system_record import SystemContrast, SystemRow

NO_BOUND = "no bound"


def epsilon(row: SystemRow) -> str:
    """The epsilon that is proven for a row, rounded up; never that which a program claims.

    With what it does not cover, where the row's view says so.
    """
    if row.proven is None:
        return row.dp
    text = NO_BOUND if math.isinf(row.proven.upper) else at_most(row.proven.upper)
    over = row.asked is not None and not row.released and not at_budget(row)
    text = f"{text} (over {row.asked:g})" if over else text
    # A finite number must not stand alone where the row also serves what nothing bounds.
    partial = NO_BOUND in row.view and 0.0 < row.proven.upper < math.inf
    return f"{text} ({row.view})" if partial else text


def at_budget(row: SystemRow) -> bool:
    """Whether the proven epsilon is no more than the one that was asked for."""
    return row.asked is not None and row.proven is not None and row.proven.upper <= row.asked


def named(row: SystemRow) -> str:
    """Name and epsilon asked for or claimed, in words."""
    if row.asked is None:
        return row.name
    return f"{row.name} {'claiming' if row.released else 'at'} {row.asked:g}"


def control(contrast: SystemContrast) -> str:
    """What a row is compared with, in words; its own twin is called the same in all rows."""
    if contrast.against == contrast.name + NO_RECORDS:
        return "the same on no records"
    return contrast.against


def reading(
    file: SystemFile, rows: Sequence[SystemRow], contrasts: Sequence[SystemContrast]
) -> tuple[str, ...]:
    """One honest paragraph, a sentence or two per question."""
    found = []
    if file.label():
        found.append(
            f"The models are the {file.label()}: read how rows differ from controls, not how good "
            "they are."
        )
    first = file.metrics()[0]
    for part in file.parts():
        mine = [row for row in rows if row.part == part.name]
        judged = [c for c in contrasts if c.part == part.name and c.metric == first.name]
        start = f"{part.name}: " if part.name else ""
        for against in dict.fromkeys(control(c) for c in judged):
            those = [c for c in judged if control(c) == against]
            found.append(start + _against(first, against, those, mine))
        found += [start + words for words in _gaps(file, mine)]
    found += _released(rows)
    found += _no_claim(rows)
    found.append(_by_chance(file, rows, contrasts))
    return tuple(found)


def _by_chance(
    file: SystemFile, rows: Sequence[SystemRow], contrasts: Sequence[SystemContrast]
) -> str:
    """Of the differences that the tables show; those that are 0 by construction are none."""
    first = file.metrics()[0].name
    differences = [c.difference for c in contrasts if c.metric == first]
    words = f"{len(differences)} differences in {first}"
    names = file.gap()
    if names is not None:
        gaps = [r.gap for r in rows if r.gap is not None and (r.gap.lower, r.gap.upper) != (0, 0)]
        words += f" and {len(gaps)} of {names[0]} less {names[1]}"
        differences += gaps
    return (
        f"Each interval holds with 95 % by itself: of {words}, about "
        f"{round(0.05 * len(differences))} would exclude 0 by chance if nothing differed; "
        f"{sum(each.excludes_zero for each in differences)} do."
    )


def limits(file: SystemFile) -> tuple[str, ...]:
    """What the comparison does not show."""
    return (
        *file.limits(),
        f"Intervals are Student's t over {file.compare.seeds} seeds: wide, and right only as far "
        "as means of seeds are normal.",
        "Numbers of training were not chosen under differential privacy.",
        f"All noise comes from the published seed {file.seed}; noise of a deployed system must not "
        "come from any.",
    )


def _against(
    metric: Metric, against: str, found: Sequence[SystemContrast], rows: Sequence[SystemRow]
) -> str:
    known = {row.key: named(row) for row in rows}
    sign = 1.0 if metric.better == "higher" else -1.0
    better: list[str] = []
    worse: list[str] = []
    for contrast in found:
        if contrast.difference.excludes_zero:
            name = known[(contrast.part, contrast.name, contrast.asked)]
            (better if sign * contrast.difference.value > 0 else worse).append(name)
    return (
        f"In {metric.name}, against {against}, visibly better: {_list(better)}. Visibly worse: "
        f"{_list(worse)}. No difference visible in {len(found) - len(better) - len(worse)} of "
        f"{len(found)} rows."
    )


def _gaps(file: SystemFile, rows: Sequence[SystemRow]) -> list[str]:
    names = file.gap()
    if names is None:
        return []
    with_gap = [row for row in rows if row.gap is not None]
    above = [named(row) for row in with_gap if row.gap is not None and row.gap.lower > 0.0]
    below = [named(row) for row in with_gap if row.gap is not None and row.gap.upper < 0.0]
    return [
        f"{names[0]} is visibly above {names[1]} in {len(above)} of {len(with_gap)} rows: "
        f"{_list(above)}. Visibly below in {len(below)}: {_list(below)}."
    ]


def _released(rows: Sequence[SystemRow]) -> list[str]:
    found = []
    for name in dict.fromkeys(row.name for row in rows if row.released):
        words = [
            f"{row.asked:g} costs {epsilon(row)}"
            for row in rows
            if row.name == name and row.released and row.asked is not None
        ]
        found.append(
            f"{name}: what is claimed, and what is proven of the program: {', '.join(words)} "
            f"({next(row.view for row in rows if row.name == name)})."
        )
    return found


def _no_claim(rows: Sequence[SystemRow]) -> list[str]:
    names = list(dict.fromkeys(row.name for row in rows if row.dp == "no DP claim"))
    if not names:
        return []
    return [
        f"{_list(names)} make no DP claim: they protect what clients send from those who compute "
        "with it, not what comes out from those who read it. Their accuracy is not the price of "
        "any epsilon, so they stand in a table of their own and in no figure with the others."
    ]


def _list(names: Sequence[str]) -> str:
    """Joined so that a comma in a name ends nothing."""
    return "; ".join(dict.fromkeys(names)) or "none"

"""comparison.html of a system: the same kind of page as that of mechanisms, other tables."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...fl_core.systems.base import NO_RECORDS, Metric, SystemFile
from ..dossier.page import block_html
from ..figures import Drawing
from ..render import svg
from ..render.blocks import Table
from ..text import at_most
from .page import document, figure, items, reproduce
from .system_reading import epsilon
from .system_record import SystemRecord, SystemRow
from .system_tables import (
    Grid,
    asked,
    differences,
    groups,
    in_sense,
    protections,
    sections,
    senses,
    summary,
    terms,
)
from .tables import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKS = "os^Dv<P>"
_LEVELS: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (1, 2)), (0, (4, 1.5, 1, 1.5)), (0, (2, 3)))
_TWINS = "grey and hollow: on no records"


def render(record: SystemRecord, file: SystemFile) -> str:
    """The page; all text is escaped."""
    parts = [("reading", "What the numbers say", items(record.reading))]
    for part in file.parts():
        rows = [r for r in record.rows if r.part == part.name and r.proven is not None]
        start, kinds = f"{part.name}: " if part.name else "", senses(rows)
        for kind in kinds:
            mine = _of_figure(rows, kind)
            words = f"{start}{kind}: " if len(kinds) > 1 else start
            place = sum(key.startswith("figure") for key, *_ in parts)
            drawing = against_epsilon(file, mine, f"part-{place}", words)
            heading = _sentence(f"{words}accuracy and epsilon")
            parts.append((f"figure-{place}", heading, figure(drawing, marks(mine))))
    for place, (heading, rows) in enumerate(sections(record, file)):
        tables = [
            ("Means over clients and seeds, and half the width of their 95 % intervals.",
             summary(file, rows)),
            ("Differences, paired over seeds.", differences(record, file, rows)),
            ("By group of clients.", groups(file, rows)),
            ("What each row is.", protections(rows)),
        ]  # fmt: skip
        shown = [each for each in tables if len(each[1][0]) > 2 and each[1][1]]
        blocks = [block_html(_table(*each)) for each in shown]
        parts.append((f"rows-{place}", _sentence(heading), "\n".join(blocks)))
    metrics = [f"{m.name}: {m.words} ({m.unit}, {m.better} is better)" for m in file.metrics()]
    parts += [
        ("metrics", "What is measured", items(metrics)),
        ("limits", "Limits", items(record.limits)),
        ("reproduce", "How to repeat it", reproduce(record)),
    ]
    return document(record.title, terms(record), parts)


def _of_figure(rows: Sequence[SystemRow], kind: str) -> list[SystemRow]:
    """Rows with a budget in one sense, the same methods without noise, and levels."""
    names = {row.name for row in rows if in_sense(row, kind)}
    return [
        row
        for row in rows
        if in_sense(row, kind) or (row.asked is None and (row.name in names or _is_level(row)))
    ]


def _is_level(row: SystemRow) -> bool:
    return row.control and row.asked is None and not row.name.endswith(NO_RECORDS)


def marks(rows: Sequence[SystemRow]) -> str:
    """What the marks of a figure mean: of those that it has, and no others."""
    lines = [row for row in rows if not _is_level(row)]
    idle = [row for row in lines if _x(row) == 0.0 and row.asked is not None]
    found = (
        ("Lines: rows at proven budgets", any(_is_paid(row) for row in lines)),
        (
            "Coloured and hollow: published programs, at what they are proven to cost",
            any(row.released for row in lines),
        ),
        ('"none": no bound', any(math.isinf(_x(row)) for row in lines)),
        ("Bars: 95 % intervals over seeds", bool(lines)),
        ("Points of one budget are drawn side by side", len({_owner(r) for r in lines}) > 1),
        ("Levels: controls without a budget", any(_is_level(row) for row in rows)),
        (
            "Grey and hollow: rows that no record enters, at the number that their noise was "
            "chosen for, with the mark of the row that they belong to; they cost nothing",
            bool(idle),
        ),
        ("Rows without a DP claim, and other methods without noise, are in no figure", True),
    )
    return " ".join(f"{words}." for words, there in found if there)


def _is_paid(row: SystemRow) -> bool:
    return row.asked is not None and not row.released and _x(row) > 0.0


def against_epsilon(file: SystemFile, rows: Sequence[SystemRow], name: str, words: str) -> Drawing:
    """Metrics against the proven epsilon, a panel each; at most the first two metrics."""
    shown = file.metrics()[:2]

    def paint(drawn: "Figure") -> None:
        panels: Any = drawn.subplots(1, len(shown), squeeze=False)[0]
        handles: dict[str, Any] = {}
        for axes, metric in zip(panels, shown, strict=True):
            svg.quiet(axes)
            axes.set_title(metric.name, fontsize=9.5, loc="left", color=svg.INK)
            axes.set_xlabel("epsilon, proven (nats)")
            axes.set_ylabel(f"{metric.name} ({metric.unit})")
            _panel(axes, rows, metric, handles)
        svg.legend(drawn, list(handles.values()), list(handles), columns=3)

    size = (4.2 * len(shown) + 0.6, 4.6)
    title = f"{words}{' and '.join(m.name for m in shown)} against proven epsilon"
    return Drawing(
        svg.draw(f"system-{name}", title, size, paint),
        _sentence(title),
        ("row", "asked", "epsilon, proven", *(m.name for m in shown)),
        tuple(
            (
                r.name,
                asked(r),
                epsilon(r),
                *(interval(r.means[m.name]) if m.name in r.means else "" for m in shown),
            )
            for r in rows
        ),
    )


def _panel(
    axes: "Axes", rows: Sequence[SystemRow], metric: Metric, handles: dict[str, Any]
) -> None:
    mine = [row for row in rows if metric.name in row.means]
    finite = [_x(r) for r in mine if r.proven is not None and 0.0 < r.proven.upper < math.inf]
    nothing = 6.0 * max(finite, default=1.0)  # where rows without a bound stand
    lines = [r for r in mine if not _is_level(r)]
    names = list(dict.fromkeys(_owner(r) for r in lines))
    axes.set_xscale("log")
    for place, row in enumerate(filter(_is_level, mine)):
        dash = _LEVELS[place % len(_LEVELS)]
        level = axes.axhline(row.means[metric.name].value, color=svg.FAINT, lw=1.2, ls=dash)
        handles.setdefault(f"level: {row.name}", level)
    for place, name in enumerate(names):
        # Side by side, not on top of each other: x is moved by some percent; the table has it.
        shift = 1.0 + 0.06 * (place - (len(names) - 1) / 2.0)
        own = [r for r in lines if _owner(r) == name]
        for idle in (False, True):
            # First values, which have neither budget nor cost, have no place on the axis.
            found = ((r.asked if idle else _x(r), r) for r in own if (_x(r) == 0.0) == idle)
            at = sorted(((x, r) for x, r in found if x is not None), key=lambda each: each[0])
            points = [r for _, r in at]
            if not points:
                continue
            line = not idle and not any(r.released for r in points)
            bars = axes.errorbar(
                [min(x, nothing) * shift * (1.03 if idle else 1.0) for x, _ in at],
                [r.means[metric.name].value for r in points],
                yerr=[r.means[metric.name].upper - r.means[metric.name].value for r in points],
                color=svg.FAINT if idle else svg.COLOURS[place % len(svg.COLOURS)],
                marker=_MARKS[place % len(_MARKS)],
                ls=svg.DASHES[place % len(svg.DASHES)] if line else "",
                mfc=None if line else "none",
                ms=4.0, lw=1.1, elinewidth=0.8,
            )  # fmt: skip
            handles.setdefault(_TWINS if idle else name, bars)
    paid = [row for row in mine if _x(row) > 0.0 and not row.released]
    ticks = sorted({row.asked for row in paid if row.asked is not None})
    large = sorted({_x(r) for r in mine if r.released and max(ticks, default=0.0) < _x(r)})
    large = [x for x in large if x < math.inf]
    none = [nothing] if any(math.isinf(_x(row)) for row in lines) else []
    axes.set_xticks([*ticks, *large[-1:], *none], [*(f"{t:g}" for t in ticks),
                    *(at_most(x, 3) for x in large[-1:]), *("none" for _ in none)])  # fmt: skip
    axes.minorticks_off()


def _owner(row: SystemRow) -> str:
    """The row that a twin belongs to, else the row itself."""
    return row.name.removesuffix(NO_RECORDS)


def _sentence(text: str) -> str:
    """With a capital first, and names as they are."""
    return text[:1].upper() + text[1:]


def _x(row: SystemRow) -> float:
    return math.inf if row.proven is None else row.proven.upper


def _table(caption: str, found: Grid) -> Table:
    header, rows = found
    return Table(caption=caption, header=header, rows=tuple(rows))

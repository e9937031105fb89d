"""comparison.html of a system: the same kind of page as that of mechanisms, other tables."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...fl_core.systems.base import Metric, SystemFile
from ..dossier.page import _block
from ..figures import Drawing
from ..render import svg
from ..render.blocks import Table
from ..text import at_most
from .page import document, figure, items, reproduce
from .system_reading import epsilon
from .system_record import SystemRecord, SystemRow
from .system_tables import Grid, asked, differences, groups, protections, sections, summary, terms
from .tables import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKS = "os^Dv<P>"
_LEVELS: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (1, 2)), (0, (4, 1.5, 1, 1.5)), (0, (2, 3)))
_WORDS = (
    "Lines: rows at proven budgets; hollow marks: published programs at what they are proven to "
    'cost; "none": no bound; bars: 95 % intervals over seeds. Points of one budget are drawn side '
    "by side. Levels: controls without a budget. Rows without a DP claim are in no figure."
)


def render(record: SystemRecord, file: SystemFile) -> str:
    """The page; all text is escaped."""
    parts = [("reading", "What the numbers say", items(record.reading))]
    for place, part in enumerate(file.parts()):
        rows = [r for r in record.rows if r.part == part.name and r.proven is not None]
        start = f"{part.name}: " if part.name else ""
        drawing = against_epsilon(record, file, rows, f"part-{place}", start)
        heading = f"{start}accuracy and epsilon".capitalize()
        parts.append((f"figure-{place}", heading, figure(drawing, _WORDS)))
    for place, (heading, rows) in enumerate(sections(record, file)):
        tables = [
            ("Means over clients and seeds, and half the width of their 95 % intervals.",
             summary(file, rows)),
            ("Differences, paired over seeds.", differences(record, file, rows)),
            ("By group of clients.", groups(file, rows)),
            ("What each row is.", protections(rows)),
        ]  # fmt: skip
        blocks = [_block(_table(*each)) for each in tables if len(each[1][0]) > 2 and each[1][1]]
        parts.append((f"rows-{place}", heading.capitalize(), "\n".join(blocks)))
    words = [f"{m.name}: {m.words} ({m.unit}, {m.better} is better)" for m in file.metrics()]
    parts += [
        ("metrics", "What is measured", items(words)),
        ("limits", "Limits", items(record.limits)),
        ("reproduce", "How to repeat it", reproduce(record)),
    ]
    return document(record.title, terms(record), parts)


def against_epsilon(
    record: SystemRecord, file: SystemFile, rows: Sequence[SystemRow], name: str, words: str
) -> Drawing:
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
        next((s for s in record.reading if s.startswith(f"{words}In {shown[0].name}")), title),
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
    lines = [r for r in mine if not (r.control and r.asked is None)]
    names = list(dict.fromkeys(r.name for r in lines))
    axes.set_xscale("log")
    for place, row in enumerate(r for r in mine if r.control and r.asked is None):
        dash = _LEVELS[place % len(_LEVELS)]
        level = axes.axhline(row.means[metric.name].value, color=svg.FAINT, lw=1.2, ls=dash)
        handles.setdefault(row.name, level)
    for place, name in enumerate(names):
        points = sorted((r for r in lines if r.name == name), key=_x)
        # Side by side, not on top of each other: x is moved by some percent; the table has it.
        shift = 1.0 + 0.06 * (place - (len(names) - 1) / 2.0)
        points = [r for r in points if _x(r) > 0.0]
        released = any(r.released for r in points)
        bars = axes.errorbar(
            [min(_x(r), nothing) * shift for r in points],
            [r.means[metric.name].value for r in points],
            yerr=[r.means[metric.name].upper - r.means[metric.name].value for r in points],
            color=svg.COLOURS[place % len(svg.COLOURS)],
            marker=_MARKS[place % len(_MARKS)],
            ls="" if released else svg.DASHES[place % len(svg.DASHES)],
            mfc="none" if released else None,
            ms=4.0, lw=1.1, elinewidth=0.8,
        )  # fmt: skip
        handles.setdefault(name, bars)
    ticks = sorted({row.asked for row in mine if row.asked is not None and not row.released})
    large = sorted({_x(r) for r in mine if r.released and max(ticks, default=0.0) < _x(r)})
    large = [x for x in large if x < math.inf]
    axes.set_xticks([*ticks, *large[-1:], nothing], [*(f"{t:g}" for t in ticks),
                    *(at_most(x, 3) for x in large[-1:]), "none"])  # fmt: skip
    axes.minorticks_off()


def _x(row: SystemRow) -> float:
    return math.inf if row.proven is None else row.proven.upper


def _table(caption: str, found: Grid) -> Table:
    header, rows = found
    return Table(caption=caption, header=header, rows=tuple(rows))

"""Accuracy against epsilon: a panel per method, a line per mechanism, controls as levels."""

import math
from typing import TYPE_CHECKING, Any

from ...fl_core.comparison import (
    DISTILLED,
    FEDAVG,
    LOCAL_ONLY,
    NONE,
    RANDOM_ONCE,
    RANDOM_PROTOTYPES,
    CompareSection,
)
from ..figures import Drawing
from ..render import svg
from .reading import from_which_epsilon
from .record import ComparisonRecord, Row
from .tables import epsilon, interval, methods, rows_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKS = "os^Dv<"
_LEVELS: dict[str, tuple[str, Any]] = {
    NONE: ("no noise", (0, (6, 2))),
    RANDOM_PROTOTYPES: ("random prototypes, fresh", (0, (1, 2))),
    RANDOM_ONCE: ("random prototypes, the same", (0, (4, 1.5, 1, 1.5))),
    "alone": ("training alone", "-"),
}


def accuracy(record: ComparisonRecord) -> Drawing:
    """The figure; x is the epsilon that is proven, logarithmic."""
    names = [m for m in methods(record) if m not in (LOCAL_ONLY, FEDAVG)]
    mechanisms = list(dict.fromkeys(r.name for r in record.rows if r.asked is not None))
    wide = min(3, len(names))
    high = math.ceil(len(names) / wide)
    same_training = DISTILLED if _compare(record).distillation else LOCAL_ONLY
    alone = next(r for r in rows_of(record, LOCAL_ONLY) if r.name == same_training)

    def paint(figure: "Figure") -> None:
        panels: Any = figure.subplots(high, wide, squeeze=False).flatten()
        handles: dict[str, Any] = {}
        for axes, method in zip(panels, names, strict=False):
            svg.quiet(axes)
            axes.set_xscale("log")
            axes.set_title(method, fontsize=9.5, loc="left", color=svg.INK)
            _panel(axes, rows_of(record, method), mechanisms, alone, handles)
            ticks = sorted({r.asked for r in record.rows if r.asked is not None})
            axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
            axes.minorticks_off()
        for axes in panels[len(names) :]:
            axes.set_axis_off()
        for axes in panels[: len(names)]:
            axes.set_xlabel("epsilon, proven (nats)")
        for axes in panels[::wide]:
            axes.set_ylabel("mean accuracy (fraction)")
        svg.legend(figure, list(handles.values()), list(handles), columns=4)

    return Drawing(
        svg.draw(
            "comparison",
            "Accuracy against proven epsilon, a panel per method",
            (3.1 * wide + 0.6, 2.6 * high + 0.8),
            paint,
        ),
        from_which_epsilon(record.contrasts, _compare(record)),
        ("method", "protection", "epsilon, proven", "mean accuracy"),
        tuple((r.method, r.name, epsilon(r), interval(r.mean)) for r in record.rows),
    )


def _compare(record: ComparisonRecord) -> CompareSection:
    return CompareSection.model_validate(record.resolved["compare"])


def _panel(
    axes: "Axes", rows: list[Row], mechanisms: list[str], alone: Row, handles: dict[str, Any]
) -> None:
    levels = {r.name: r for r in rows if r.asked is None} | {"alone": alone}
    band = axes.axhspan(alone.mean.lower, alone.mean.upper, color=svg.ALLOWED, linewidth=0)
    handles.setdefault("training alone, 95 %", band)
    for name, (words, dash) in _LEVELS.items():
        line = axes.axhline(levels[name].mean.value, color=svg.FAINT, lw=1.2, ls=dash)
        handles.setdefault(words, line)
    for place, name in enumerate(mechanisms):
        mine = [r for r in rows if r.name == name and 0.0 < r.proven.upper < math.inf]
        # Side by side, not on top of each other: x is moved by some percent, and the table has it.
        shift = 1.0 + 0.035 * (place - (len(mechanisms) - 1) / 2.0)
        bars = axes.errorbar(
            [r.proven.upper * shift for r in mine],
            [r.mean.value for r in mine],
            yerr=[r.mean.upper - r.mean.value for r in mine],
            color=svg.COLOURS[place % len(svg.COLOURS)],
            marker=_MARKS[place % len(_MARKS)],
            ls=svg.DASHES[place % len(svg.DASHES)],
            ms=3.5, lw=1.1, elinewidth=0.8,
        )  # fmt: skip
        handles.setdefault(name, bars)

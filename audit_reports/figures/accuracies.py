"""Accuracy of each variant, with intervals."""

from typing import TYPE_CHECKING, Any

from ..record import AuditRecord
from ..render import svg
from ..render.outcomes import METRICS, mean_row, utility_readings, variants
from ..render.reading import plain
from ..text import at_least, at_most
from .drawing import Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def leaderboard(record: AuditRecord) -> Drawing:
    """Accuracy of each variant, mean over clients, those at equal budget above the controls."""
    groups = [variants(record, equal_budget=True), variants(record, equal_budget=False)]
    places: dict[str, float] = {}
    for names in groups:
        start = 0.0 if not places else max(places.values()) + 2.0
        places |= {name: start + i for i, name in enumerate(names)}
    shown = [m for m in METRICS if any(mean_row(record, name, m) for name in places)]

    def paint(figure: "Figure") -> None:
        panels: Any = figure.subplots(1, max(1, len(shown)), sharey=True, squeeze=False)[0]
        for axes, metric in zip(panels, shown, strict=False):
            svg.quiet(axes)
            axes.grid(False, axis="y")
            for name, y in places.items():
                _leader_mark(axes, record, name, metric, y, equal=name in groups[0])
            for names, text in zip(groups, ("equal budget", "controls and baselines"), strict=True):
                if names and axes is panels[0]:
                    axes.annotate(
                        text, (0.0, places[names[0]] - 0.75), xycoords=("axes fraction", "data"),
                        xytext=(4, 0), textcoords="offset points", fontsize=8.0,
                        color=svg.FAINT, va="center", style="italic",
                    )  # fmt: skip
            if all(groups):
                axes.axhline(places[groups[1][0]] - 1.2, color=svg.FAINT, lw=0.8)
            axes.set_xlabel(METRICS[metric] + " (fraction)")
            axes.tick_params(axis="y", length=0)
            axes.margins(x=0.08)
        panels[0].set_yticks(list(places.values()), [plain(n, 28) for n in places])
        panels[0].set_ylim(max(places.values(), default=0.0) + 0.6, -1.1)

    readings = utility_readings(record)
    return Drawing(
        svg.draw(
            "utility",
            "Accuracy of each variant, mean over clients, with 95 % intervals",
            (8.0, 1.1 + 0.3 * (max(places.values(), default=0.0) + 2.0)),
            paint,
        ),
        readings[0] if readings else "There is no mechanism to compare.",
        ("variant", "group", "metric", "mean (fraction)", "lower 95 %", "upper 95 %", "seeds"),
        tuple(
            (
                plain(name),
                "equal budget" if name in groups[0] else "control or baseline",
                METRICS[metric],
                f"{row.mean:.4f}",
                at_least(row.lower),
                at_most(row.upper),
                str(row.seeds),
            )
            for name in places
            for metric in shown
            if (row := mean_row(record, name, metric)) is not None
        ),
    )


def _leader_mark(
    axes: "Axes", record: AuditRecord, name: str, metric: str, y: float, *, equal: bool
) -> None:
    row = mean_row(record, name, metric)
    if row is None:
        axes.annotate(
            "not applicable", (0.02, y), xycoords=("axes fraction", "data"), fontsize=8.0,
            color=svg.FAINT, va="center",
        )  # fmt: skip
        return
    colour = svg.COLOURS[0] if equal else svg.FAINT
    axes.plot([row.lower, row.upper], [y, y], color=colour, lw=2.0, solid_capstyle="butt")
    axes.plot([row.lower, row.upper], [y, y], "|", color=colour, ms=7)
    axes.plot([row.mean], [y], "o" if equal else "s", color=colour, ms=5.5)

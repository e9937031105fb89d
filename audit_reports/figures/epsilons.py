"""Claimed, proven and measured epsilon of each mechanism."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..record import AuditRecord
from ..render import svg
from ..render.reading import (
    by,
    claimed_epsilon,
    controls,
    delta_of,
    measured,
    plain,
    strongest,
    subjects,
)
from ..results import MechanismResult
from ..text import at_least, at_most
from .drawing import Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def bounds(record: AuditRecord) -> Drawing:
    """A row per mechanism: claimed, proven and measured epsilon at the claim's delta."""
    claimed, delta = claimed_epsilon(record), delta_of(record)
    kinds = list(
        dict.fromkeys((a.attack, a.adversary) for m in record.mechanisms for a in m.attacks)
    )
    edge = _edge(record, claimed)
    lanes = 1 + max((len(m.attacks) for m in record.mechanisms), default=0)
    step = 0.8 / lanes

    def paint(figure: "Figure") -> None:
        axes: Any = figure.add_subplot()
        svg.quiet(axes)
        axes.grid(False, axis="y")
        handles: dict[str, Any] = {}
        for place, row in enumerate(record.mechanisms):
            if place:
                axes.axhline(place - 0.5, color=svg.GRID, lw=0.8)
            top = place - 0.4 + step / 2
            handles["proven, at most"] = _proven_mark(axes, row, top, edge)
            for lane, attack in enumerate(row.attacks, start=1):
                at = kinds.index((attack.attack, attack.adversary))
                handle = _measured_bar(
                    axes, measured(record, attack), top + lane * step, step, at, edge
                )
                handles.setdefault(f"measured, at least: {by(attack)}", handle)
        if claimed <= edge:
            rule = axes.axvline(claimed, color=svg.INK, lw=1.2, ls=(0, (5, 2)), zorder=1.5)
            handles[f"claimed epsilon = {claimed:.4g}"] = rule
        axes.set(xlim=(0.0, edge), ylim=(len(record.mechanisms) - 0.45, -0.55))
        names = [_row_name(m) for m in record.mechanisms]
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"epsilon at delta = {delta:g} (nats)")
        svg.legend(figure, list(handles.values()), list(handles), columns=2)

    return Drawing(
        svg.draw(
            "bounds",
            "Claimed, proven and measured epsilon of each mechanism",
            (8.0, 1.5 + 0.22 * lanes * max(1, len(record.mechanisms)) + 0.1),
            paint,
        ),
        _bounds_conclusion(record, claimed, delta),
        ("mechanism", "role", "claimed epsilon", "proven, at most", *_kind_names(kinds)),
        tuple(
            (
                plain(m.name),
                "subject" if m.expect is None else "control",
                at_most(claimed),
                at_most(m.proven_epsilon.upper),
                *_measured_cells(record, m, kinds),
            )
            for m in record.mechanisms
        ),
    )


def _kind_names(kinds: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{plain(a, 30)} ({plain(b, 12)}), at least" for a, b in kinds]


def _measured_cells(
    record: AuditRecord, mechanism: MechanismResult, kinds: Sequence[tuple[str, str]]
) -> list[str]:
    found = {(a.attack, a.adversary): measured(record, a) for a in mechanism.attacks}
    return [at_least(found[kind]) if kind in found else "not run" for kind in kinds]


def _edge(record: AuditRecord, claimed: float) -> float:
    """Right end of the axis: what lies beyond five times the claim becomes an arrow."""
    values = [m.proven_epsilon.upper for m in record.mechanisms]
    values += [measured(record, a) for m in record.mechanisms for a in m.attacks]
    limit = 5.0 * claimed if 0.0 < claimed < math.inf else math.inf
    drawn = [v for v in [*values, claimed] if math.isfinite(v) and v <= limit]
    return max(1.25 * max(drawn, default=0.0), 1e-3)


def _row_name(mechanism: MechanismResult) -> str:
    return plain(mechanism.name, 28) + ("" if mechanism.expect is None else "\n(control)")


def _proven_mark(axes: "Axes", row: MechanismResult, y: float, edge: float) -> Any:
    upper = row.proven_epsilon.upper
    beyond = upper > edge
    if beyond:
        _arrow(axes, y, edge, f"proven <= {at_most(upper)}", svg.INK)
    else:
        _label(axes, upper, y, f"<= {at_most(upper)}", edge)
    (mark,) = axes.plot(
        [] if beyond else [upper], [] if beyond else [y], "D", color=svg.INK, ms=5, zorder=3
    )
    return mark


def _measured_bar(axes: "Axes", value: float, y: float, step: float, kind: int, edge: float) -> Any:
    colour = svg.COLOURS[kind % len(svg.COLOURS)]
    hatch = ("", "////", "....", "xxxx")[kind % 4]
    (bar,) = axes.barh(
        [y], [min(value, edge)], height=0.6 * step, facecolor=colour, edgecolor="white",
        hatch=hatch, linewidth=0, zorder=2,
    )  # fmt: skip
    if value > edge:
        _arrow(axes, y, edge, f">= {at_least(value)}", colour)
    else:
        axes.plot([value], [y], ">", color=colour, ms=4, zorder=3, clip_on=False)
        _label(axes, value, y, f">= {at_least(value)}", edge)
    return bar


def _label(axes: "Axes", x: float, y: float, text: str, edge: float) -> None:
    """`text` right of x, or left of it where the right has no room."""
    left = x > 0.88 * edge
    axes.annotate(
        text, (x, y), xytext=(-7 if left else 7, 0), textcoords="offset points", fontsize=8.0,
        ha="right" if left else "left", va="center", zorder=4,
        bbox={"facecolor": svg.PAPER, "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
    )  # fmt: skip


def _arrow(axes: "Axes", y: float, edge: float, text: str, colour: str) -> None:
    """At the right edge: the value lies beyond, and is printed."""
    axes.plot([edge], [y], ">", color=colour, ms=7, zorder=3, clip_on=False)
    axes.annotate(
        text, (edge, y), xytext=(-9, 0), textcoords="offset points", fontsize=8.0, ha="right",
        va="center", zorder=4,
        bbox={"facecolor": svg.PAPER, "edgecolor": "none", "pad": 0.8, "alpha": 0.9},
    )  # fmt: skip


def _bounds_conclusion(record: AuditRecord, claimed: float, delta: float) -> str:
    rows = subjects(record)
    found = [measured(record, a) for m in rows if (a := strongest(record, m)) is not None]
    parts = []
    if rows:
        upper, names = max(m.proven_epsilon.upper for m in rows), _names(rows)
        fit = "" if math.isinf(upper) else f" against {at_most(claimed)} claimed"
        parts.append(f"{names}: epsilon at most {at_most(upper)} by proof{fit}")
    if found:
        parts.append(f"at least {at_least(max(found))} by measurement; what lies between is open")
    loud = [
        m
        for m in controls(record)
        if m.proven_epsilon.lower > claimed
        or ((a := strongest(record, m)) is not None and a.bound.refutes(record.claim))
    ]
    if controls(record):
        total = len(controls(record))
        parts.append(f"{len(loud)} of {total} controls exceed the claim, by proof or by attack")
    return "; ".join(parts) + f". All at delta = {delta:g}."


def _names(rows: Sequence[MechanismResult]) -> str:
    return ", ".join(plain(m.name, 30) for m in rows)

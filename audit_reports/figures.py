"""The figures: pure functions from the record to SVG text, a conclusion and the data behind it.

No statistics is done here beyond turning recorded counts into the limits that the record already
rests on (`clopper_pearson.upper_limit` at the recorded level). One file over 300 lines, because the
three figures share their marks, labels and rounding.
"""

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..accountant import gaussian
from ..accountant.claim import PrivacyClaim
from .estimators.bound import EmpiricalBound
from .estimators.clopper_pearson import Floats, upper_limit
from .estimators.guess_bound import GuessBound
from .estimators.tradeoff import TradeOff
from .record import AuditRecord
from .render import svg
from .render.reading import (
    METRICS,
    by,
    claimed_epsilon,
    controls,
    delta_of,
    inside,
    mean_row,
    measured,
    plain,
    proven_bound,
    strongest,
    subjects,
    utility_readings,
    variants,
)
from .results import MechanismResult
from .text import at_least, at_most

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWEST = 10  # false positives that a point of the raw ROC needs: fewer are noise
_GRID = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


class Drawing(NamedTuple):
    """A figure.

    Attributes:
        svg: its text; also usable alone.
        conclusion: what it shows, one line, computed from the numbers.
        header: of the data table.
        rows: of the data table.
    """

    svg: str
    conclusion: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def all_figures(record: AuditRecord) -> dict[str, Drawing]:
    """Every figure for which the record has data, by file stem."""
    found = {}
    for number, row in enumerate(record.mechanisms, start=1):
        if any(isinstance(a.bound, EmpiricalBound) for a in row.attacks):
            found[tradeoff_name(number, row)] = tradeoff(record, row, number)
    if record.mechanisms:
        found["bounds"] = bounds(record)
    if record.utility:
        found["utility"] = leaderboard(record)
    return found


def tradeoff_name(number: int, mechanism: MechanismResult) -> str:
    """File stem; the number keeps it unique, whatever the mechanism is called."""
    return f"tradeoff-{number}-{re.sub(r'[^a-z0-9_-]', '-', mechanism.name.lower())[:40]}"


# Trade-off.


def certified_curve(bound: EmpiricalBound | GuessBound) -> tuple[Floats, Floats]:
    """(FPR upper limits, TPR lower limits): what the trials certify, all thresholds together.

    Only the band's limits hold at all thresholds at once; other methods certify one point.
    """
    if isinstance(bound, GuessBound):  # right guesses say nothing about the two rates
        return np.empty(0), np.empty(0)
    if bound.method != "band" or not bound.roc:
        return np.array([bound.fpr_upper]), np.array([1.0 - bound.fnr_upper])
    counts = np.asarray(bound.roc, dtype=np.int64)
    fpr = upper_limit(counts[:, 0], bound.n_out, bound.rate_level)
    tpr = 1.0 - upper_limit(bound.n_in - counts[:, 1], bound.n_in, bound.rate_level)
    order = np.argsort(fpr, kind="stable")
    return fpr[order], np.maximum.accumulate(tpr[order])


def raw_curve(bound: EmpiricalBound | GuessBound) -> tuple[Floats, Floats]:
    """(FPR, TPR) as counted, only where at least 10 false positives carry the point."""
    if isinstance(bound, GuessBound):
        return np.empty(0), np.empty(0)
    points = [(fp, tp) for fp, tp in bound.roc if fp >= FEWEST and tp > 0]
    counts = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    return counts[:, 0] / bound.n_out, counts[:, 1] / bound.n_in


def raw_tpr(bound: EmpiricalBound, fpr: float) -> float | None:
    """TPR as counted at the last recorded point up to `fpr`; None where counts cannot carry it."""
    if fpr * bound.n_out < FEWEST:
        return None
    hits = [tp for fp, tp in bound.roc if fp <= fpr * bound.n_out]
    return max(hits) / bound.n_in if hits else None


def allowed_tpr(claim: PrivacyClaim, fpr: float) -> float:
    """Largest TPR that the claim allows at `fpr`; rounded in favour of the claim."""
    if claim.is_curve:
        return gaussian.tpr_interval(fpr, mu=claim.gaussian_mu().upper)[1]
    if claim.epsilon is None or claim.delta is None:
        return float(TradeOff.of_claim(claim).tpr(fpr)[0])
    return _point_tpr(claim.epsilon, claim.delta, fpr)


def proven_tpr(mechanism: MechanismResult, fpr: Floats) -> Floats:
    """Largest TPR of any attack at each of `fpr`, as proven; rounded up."""
    bound = proven_bound(mechanism)
    if math.isinf(bound.mu.upper):
        return np.ones(len(fpr))
    if bound.method == "gaussian":
        return np.array([bound.tpr(float(x)).upper for x in fpr])
    return TradeOff.of(bound).tpr(fpr)


def _point_tpr(epsilon: float, delta: float, fpr: float) -> float:
    high = math.exp(min(epsilon, 700.0))
    return min(1.0, high * fpr + delta, 1.0 - max(0.0, 1.0 - delta - fpr) / high)


def tradeoff(record: AuditRecord, mechanism: MechanismResult, number: int = 1) -> Drawing:
    """TPR against FPR: what the claim allows, what is proven, what the attacks certify.

    Args:
        record: for the claim.
        mechanism: one of its rows.
        number: of the row, for the figure's name.
    """
    claim = record.claim
    trials = max((_without(a.bound) for a in mechanism.attacks), default=10_000)
    lowest = 10.0 ** -min(6, max(2, math.floor(math.log10(max(trials, 2)))))
    grid = np.geomspace(lowest, 1.0, 160)
    proven = proven_tpr(mechanism, grid)
    rates = [x for x in _GRID if x >= lowest]
    at_rates = proven_tpr(mechanism, np.array(rates))
    exact = mechanism.proven.method in ("gaussian", "none")
    which = f"proven, mu <= {at_most(mechanism.proven.mu.upper)}" if exact else "proven"
    allowed = [allowed_tpr(claim, float(x)) for x in grid]

    def paint(figure: "Figure") -> None:
        axes: Any = figure.add_subplot()
        svg.quiet(axes)
        axes.set(xscale="log", yscale="log", xlim=(lowest, 1.0), ylim=(lowest, 1.15))
        region = axes.fill_between(grid, lowest, allowed, color=svg.ALLOWED, linewidth=0)
        handles, labels = [region], ["region that the claim allows"]
        if claim.epsilon is not None and claim.delta is not None:
            line = [_point_tpr(claim.epsilon, claim.delta, float(x)) for x in grid]
            handles += axes.plot(grid, line, color=svg.FAINT, lw=1.0, ls=(0, (1, 2)))
            labels.append(f"({claim.epsilon:g}, {claim.delta:g})-DP alone")
        chance = axes.plot([lowest, 1.0], [lowest, 1.0], color=svg.FAINT, lw=0.8, ls=(0, (6, 4)))
        handles += chance
        labels.append("chance")
        handles += axes.plot(grid, proven, color=svg.INK, lw=1.3, ls=(0, (4, 1.5, 1, 1.5)))
        labels.append(which)
        for place, attack in enumerate(mechanism.attacks):
            colour, dash = _style(place)
            x, y = raw_curve(attack.bound)
            if x.size:
                handles += axes.plot(x, y, color=colour, lw=0.8, alpha=0.9, ls=dash)
                labels.append(f"as counted, {by(attack)}")
            x, y = certified_curve(attack.bound)
            x, y = x[y > 0.0], y[y > 0.0]
            if x.size > 1:
                bold = axes.plot(x, y, color=colour, lw=2.4, ls=dash, drawstyle="steps-post")
            else:
                bold = axes.plot(x, y, color=colour, marker="os^D"[place % 4], ls="")
            handles += bold
            labels.append(f"certified, {by(attack)}")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(svg.decimal)
            axis.set_minor_formatter(lambda _value, _position: "")
        axes.set_xlabel("false-positive rate (fraction of trials without the record)")
        axes.set_ylabel("true-positive rate (fraction of trials with it)")
        svg.legend(figure, handles, labels, columns=2)

    return Drawing(
        svg.draw(
            tradeoff_name(number, mechanism),
            f"Trade-off of {plain(mechanism.name)}: true-positive against false-positive rate",
            (6.0, 5.1),
            paint,
        ),
        _tradeoff_conclusion(record, mechanism),
        (
            "false-positive rate",
            "claim allows TPR up to",
            "proven TPR at most",
            *(f"{by(a)}: {kind}" for a in mechanism.attacks for kind in ("counted", "certified")),
        ),
        tuple(
            (
                svg.decimal(x),
                at_most(allowed_tpr(claim, x)),
                at_most(float(most)),
                *(cell for a in mechanism.attacks for cell in _tpr_cells(a.bound, x)),
            )
            for x, most in zip(rates, at_rates, strict=True)
        ),
    )


def _without(bound: EmpiricalBound | GuessBound) -> int:
    return bound.n_out if isinstance(bound, EmpiricalBound) else bound.canaries // 2


def _tpr_cells(bound: EmpiricalBound | GuessBound, fpr: float) -> tuple[str, str]:
    if isinstance(bound, GuessBound):
        return "not by guesses", "not by guesses"
    raw = raw_tpr(bound, fpr)
    x, y = certified_curve(bound)
    reached = y[x <= fpr]
    return (
        "too few" if raw is None else f"{raw:.4g}",
        at_least(max(0.0, float(reached.max()))) if reached.size else "too few",
    )


def _style(place: int) -> tuple[str, Any]:
    return svg.COLOURS[place % len(svg.COLOURS)], svg.DASHES[place % len(svg.DASHES)]


def _tradeoff_conclusion(record: AuditRecord, mechanism: MechanismResult) -> str:
    name = plain(mechanism.name, 40)
    outside = [a for a in mechanism.attacks if a.bound.refutes(record.claim)]
    counted = [a for a in outside if inside(record, a)]
    if counted:
        return f"{name}: {_join(map(by, counted))} is certified outside what the claim allows."
    if outside:
        return (
            f"{name}: {_join(map(by, outside))} is certified outside what the claim allows, but "
            "by an adversary that the claim does not cover: this refutes nothing."
        )
    best = strongest(record, mechanism)
    certified = "" if best is None else f" (mu >= {at_least(best.bound.mu_lower or 0.0)})"
    start = f"{name}: nothing certified{certified} lies outside what the claim allows"
    upper = mechanism.proven.mu.upper
    if math.isinf(upper):
        return f"{start}; but nothing is proven (mu <= inf)."
    if record.claim.event is not None:
        return f"{start}; the claim is the declared event's own curve."
    if not record.claim.is_proven_by(proven_bound(mechanism)):
        return f"{start}; but the proven curve, mu <= {at_most(upper)}, does."
    return f"{start}; the proven curve, mu <= {at_most(upper)}, does not either."


def _join(names: Any) -> str:
    return ", ".join(names)


# Bounds.


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


# Utility.


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

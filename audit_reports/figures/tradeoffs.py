"""Trade-off of one mechanism: true-positive against false-positive rate."""

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from ..estimators.bound import EmpiricalBound
from ..estimators.guess_bound import GuessBound
from ..record import AuditRecord
from ..render import svg
from ..render.reading import by, inside, plain, proven_bound, strongest
from ..results import MechanismResult
from ..text import at_least, at_most
from .drawing import Drawing
from .rates import allowed_tpr, certified_curve, point_tpr, proven_tpr, raw_curve, raw_tpr

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GRID = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def tradeoff_name(number: int, mechanism: MechanismResult) -> str:
    """File stem; the number keeps it unique, whatever the mechanism is called."""
    return f"tradeoff-{number}-{re.sub(r'[^a-z0-9_-]', '-', mechanism.name.lower())[:40]}"


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
            line = [point_tpr(claim.epsilon, claim.delta, float(x)) for x in grid]
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
        return f"{name}: {', '.join(map(by, counted))} is certified outside what the claim allows."
    if outside:
        return (
            f"{name}: {', '.join(map(by, outside))} is certified outside what the claim allows, "
            "but by an adversary that the claim does not cover: this refutes nothing."
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

"""A bound as data frames, as a figure, and as a table for a notebook.

pandas and matplotlib are imported when they are needed, since accounting does without them.
"""

import html as markup
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import check
from .conversions import Bound, profile
from .digits import at_least, at_most, percent_at_most
from .errors import ParameterError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

_DELTA = 1e-5
_RATE = 1e-2
_LEAST_DELTA = 1e-12
_LEAST_RATE = 1e-6
# Okabe and Ito's blue and vermillion, told apart by everyone; a grey that can be read on white and
# on black.
_BLUE, _RED, _GREY = "#0072B2", "#D55E00", "#7F7F7F"


def to_frame(bound: Bound, epsilons: Any = None) -> "pd.DataFrame":
    """The privacy profile as a data frame: epsilon, delta_lower, delta_upper.

    Args:
        bound: what is proven.
        epsilons: >= 0; by default 61 from 0 to where delta is 1e-12.

    Raises:
        ParameterError: an epsilon is negative or NaN.
    """
    import pandas as pd

    found = profile(bound, _epsilons(bound, 61) if epsilons is None else epsilons)
    columns = ("epsilon", "delta_lower", "delta_upper")
    return pd.DataFrame(dict(zip(columns, found, strict=True)))


def tradeoff_frame(bound: Bound, fprs: Any = None) -> "pd.DataFrame":
    """The trade-off curve as a data frame: fpr, tpr_lower, tpr_upper.

    Args:
        bound: what is proven.
        fprs: in [0, 1]; by default 31 between 1e-6 and 1.

    Raises:
        ParameterError: a rate outside [0, 1].
    """
    import pandas as pd

    rates = _rates() if fprs is None else np.atleast_1d(np.asarray(fprs, dtype=np.float64))
    for rate in rates:
        check.probability(fprs=float(rate))
    found = [bound.tpr(float(rate)) for rate in rates]
    lower, upper = [each.lower for each in found], [each.upper for each in found]
    return pd.DataFrame({"fpr": rates, "tpr_lower": lower, "tpr_upper": upper})


def plot(bound: Bound, ax: Any = None) -> "tuple[Axes, Axes]":
    """Privacy profile and trade-off curve side by side; each title says what it shows.

    The thick line is the proven upper limit, the band reaches down to the lower limit. The
    background is transparent and all else can be read on light and on dark.

    Args:
        bound: what is proven.
        ax: two axes to draw on; by default those of a new figure.

    Raises:
        ParameterError: `ax` is not two axes.
    """
    pair = _new_axes() if ax is None else tuple(np.ravel(ax))
    if len(pair) != 2:
        raise ParameterError(f"ax must be two axes, one per curve, but holds {len(pair)}")
    _draw_profile(bound, pair[0])
    _draw_tradeoff(bound, pair[1])
    for axes in pair:
        axes.patch.set_alpha(0.0)
        axes.tick_params(colors=_GREY, which="both")
        axes.grid(color=_GREY, alpha=0.25, linewidth=0.6)
        for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
            label.set_color(_GREY)
        for spine in axes.spines.values():
            spine.set_color(_GREY)
        legend = axes.legend(frameon=False, labelcolor=_GREY, fontsize="small")
        legend.set_in_layout(False)
    return pair[0], pair[1]


def html(bound: Bound, *, deltas: tuple[float, ...] = (1e-5, 1e-6, 1e-9)) -> str:
    """A small table for a notebook: epsilon at `deltas`, rates of the best attack, advantage.

    >>> from .bounds import Interval, ProvenBound
    >>> "4.378" in html(ProvenBound(mu=Interval(1.0, 1.0), adjacency="add-remove"))
    True
    """
    rows = []
    for name in ("adjacency", "unit", "group_size", "method"):
        if hasattr(bound, name):
            rows.append((name.replace("_", " "), "", str(getattr(bound, name))))
    for delta in deltas:
        found = bound.epsilon(delta)
        label = f"epsilon at delta {at_most(delta, 17)}"
        rows.append((label, at_least(found.lower), at_most(found.upper)))
    for rate in (1e-3, 1e-2):
        found = bound.tpr(rate)
        label = f"best TPR at FPR {at_most(rate, 17)}"
        rows.append((label, at_least(found.lower), at_most(found.upper)))
    found = bound.delta(0.0)
    rows.append(("best TPR - FPR", at_least(found.lower), at_most(found.upper)))
    body = "".join(
        "<tr>" + "".join(f"<td>{markup.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    head = "<tr><th>proven</th><th>at least</th><th>at most</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def _epsilons(bound: Bound, count: int) -> Array:
    ends = (bound.epsilon(delta).upper for delta in (_LEAST_DELTA, 1e-6, 1e-2, 0.5))
    end = next((each for each in ends if 0.0 < each < math.inf), 1.0)
    return np.linspace(0.0, end, count)


def _rates() -> Array:
    return np.geomspace(_LEAST_RATE, 1.0, 31)  # few: one may cost an engine 0.1 s


def _new_axes() -> Any:
    import matplotlib.pyplot as plt

    figure, pair = plt.subplots(1, 2, figsize=(10.0, 4.2), layout="constrained")
    figure.patch.set_alpha(0.0)
    return tuple(pair)


def _draw_profile(bound: Bound, axes: Any) -> None:
    epsilons = _epsilons(bound, 121)
    found = profile(bound, epsilons)
    _draw(axes, found.epsilon, found.lower, found.upper, _LEAST_DELTA)
    end = bound.epsilon(_DELTA).upper
    if end < math.inf:
        axes.plot([end], [_DELTA], "o", color=_RED, zorder=4)
        title = f"epsilon at most {at_most(end)} at delta {at_most(_DELTA, 17)}"
    else:
        title = f"no finite epsilon at delta {at_most(_DELTA, 17)}"
    axes.set(title=title, xlabel="epsilon (nats)", ylabel="delta (probability)", yscale="log")
    axes.set_xlim(0.0, float(epsilons[-1]))
    axes.set_ylim(_LEAST_DELTA, 1.5)


def _draw_tradeoff(bound: Bound, axes: Any) -> None:
    rates = _rates()
    found = [bound.tpr(float(rate)) for rate in rates]
    lower, upper = np.array([f.lower for f in found]), np.array([f.upper for f in found])
    _draw(axes, rates, lower, upper, _LEAST_RATE)
    axes.plot(rates, rates, "--", color=_GREY, linewidth=1.0, label="guessing")
    best = bound.tpr(_RATE).upper
    axes.plot([_RATE], [best], "o", color=_RED, zorder=4)
    title = f"at most {percent_at_most(best)} true at {percent_at_most(_RATE)} false positives"
    axes.set(title=title, xlabel="false-positive rate", ylabel="true-positive rate")
    axes.set(xscale="log", yscale="log")
    axes.set_xlim(_LEAST_RATE, 1.0)
    axes.set_ylim(_LEAST_RATE, 1.3)


def _draw(axes: Any, x: Array, lower: Array, upper: Array, floor: float) -> None:
    # a logarithmic axis has no zero; what is below the floor is outside the figure
    low, high = np.maximum(lower, 0.1 * floor), np.maximum(upper, 0.1 * floor)
    axes.plot(x, high, color=_BLUE, linewidth=2.2, label="proven upper limit")
    if (high > low * 1.001).any():
        axes.fill_between(x, low, high, color=_BLUE, alpha=0.2, linewidth=0.0)
        axes.plot(x, low, ":", color=_BLUE, linewidth=1.4, label="lower limit")

"""What a score is worth: the largest mu, or epsilon, that its best threshold seems to show.

The area under the curve would not do: a claim is broken by a few outputs that are nearly
impossible in the other world, and these leave the area where it is. The limits are Clopper-Pearson
limits, so that three lucky hits are not mistaken for a find; the best threshold is not paid for,
because these numbers only rank. Nothing here is a bound.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri

from ...accountant import check

Floats = NDArray[np.float64]
Criterion = Literal["mu", "epsilon"]

LEVEL = 0.003  # of each limit; stricter ones choose more steadily, as measured on the zoo
NOTHING = -10.0  # of a constant score, in place of minus infinity


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What the attack is to show.

    Attributes:
        criterion: "mu" against a claimed curve, "epsilon" against a claimed point.
        delta: of the point, in [0, 1).
    """

    criterion: Criterion = "mu"
    delta: float = 0.0

    def __post_init__(self) -> None:
        check.one_of(("mu", "epsilon"), criterion=self.criterion)
        check.probability(delta=self.delta)


@lru_cache(maxsize=32)
def _limits(n: int) -> Floats:
    """Upper limit of a rate after k of n, for k = 0..n."""
    k = np.arange(n)
    return np.append(betaincinv(k + 1.0, n - k, 1.0 - LEVEL), 1.0)


@lru_cache(maxsize=32)
def _normal_limits(n: int) -> Floats:
    return np.asarray(ndtri(_limits(n)))


def worth_columns(inside: Floats, outside: Floats, goal: Goal) -> tuple[Floats, Floats]:
    """The worth of each column as a score, and of its negative.

    All columns at once: one sort, then counts at every distinct value. Ties share a threshold.

    Args:
        inside: float[n_in, k], finite.
        outside: float[n_out, k], finite.
        goal: what is to be shown.

    Returns:
        float[k] for "large says member" and float[k] for "small says member"; may be negative.

    >>> x = np.arange(200.0)[:, None]
    >>> up, down = worth_columns(x + 100.0, x, Goal())
    >>> bool(up[0] > 1.0 > 0.0 > down[0])
    True
    """
    n_in, n_out = inside.shape[0], outside.shape[0]
    values = np.concatenate((inside, outside))
    order = np.argsort(values, axis=0)[::-1]
    ordered = np.take_along_axis(values, order, axis=0)
    tp = np.cumsum(order < n_in, axis=0)
    fp = np.arange(1, n_in + n_out + 1)[:, None] - tp
    rule = np.ones(ordered.shape, dtype=bool)  # the last of a row of ties: "at least this value"
    rule[:-1] = ordered[:-1] != ordered[1:]
    up = _worth_of_counts(n_in, n_out, tp, fp, goal)
    down = _worth_of_counts(n_in, n_out, n_in - tp, n_out - fp, goal)
    return np.where(rule, up, -np.inf).max(axis=0), np.where(rule, down, -np.inf).max(axis=0)


def worth(inside: Floats, outside: Floats, goal: Goal) -> float:
    """The worth of one score, float[n_in] and float[n_out], large says member."""
    return max(NOTHING, float(worth_columns(inside[:, None], outside[:, None], goal)[0][0]))


def _worth_of_counts(
    n_in: int, n_out: int, tp: NDArray[np.int64], fp: NDArray[np.int64], goal: Goal
) -> Floats:
    if goal.criterion == "mu":
        return np.asarray(-_normal_limits(n_out)[fp] - _normal_limits(n_in)[n_in - tp])
    fpr, fnr = _limits(n_out), _limits(n_in)
    # Logarithms of the two tables, not of every entry: counts repeat in all columns.
    gain_in = np.log(np.maximum(1.0 - goal.delta - fnr, 1e-300))
    gain_out = np.log(np.maximum(1.0 - goal.delta - fpr, 1e-300))
    fn = n_in - tp
    one_way = gain_in[fn] - np.log(fpr)[fp]
    return np.asarray(np.maximum(one_way, gain_out[fp] - np.log(fnr)[fn]))

"""The wealth of the bets of an e-process, as a function of the counts; see `e_process`."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import betaincc, betaln, logsumexp, ndtr, ndtri, xlogy

from .clopper_pearson import Floats, Ints
from .tradeoff import TradeOff

_SHARES = np.array(
    [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999]
)
LOG_BETS = math.log(3 * _SHARES.size)


def crossing(
    log_e: Callable[[Floats], Floats], low: float, high: float, goal: float, cells: int
) -> float:
    """First parameter from `low` up where the evidence is below `goal`, on ever finer grids.

    Rounded down: the evidence was evaluated there and is enough.
    """
    for turn in range(16):
        at = np.linspace(low, high, (8 if turn else cells) + 1)
        below = log_e(at) < goal
        first = int(np.argmax(below))
        if first == 0:
            # none is below: only at the start may that be the whole range
            return high if not below[0] and turn == 0 else low
        low, high = float(at[first - 1]), float(at[first])
        if high - low <= 1e-11 * max(1.0, low):
            break
    return low


def right_rate(tradeoff: TradeOff) -> float:
    """Largest probability of a right guess about a fair coin, without abstaining; rounded up."""
    if tradeoff.mu is not None:
        return min(1.0, float(ndtr(0.5 * tradeoff.mu)) * (1.0 + 1e-14))
    shrunk = np.exp(-tradeoff.epsilon)
    delta = 0.5 * (tradeoff.delta_remove + tradeoff.delta_add)
    return min(1.0, float(np.min((1.0 + delta * shrunk) / (1.0 + shrunk))) * (1.0 + 1e-14))


def mu_from_rate(rate: float) -> float:
    """Smallest mu with Phi(mu/2) >= `rate`; rounded down."""
    return max(0.0, -2.0 * float(ndtri(1.0 - rate)) * (1.0 - 1e-13) - 1e-15) if rate > 0.5 else 0.0


def log_mixture(path: Ints, rate: float | Floats) -> Floats:
    """Logarithm of the mixture's likelihood ratio against `rate`, float[n]; 1 row or 1 rate."""
    right = (path[:, 0] + path[:, 2]).astype(np.float64)
    wrong = (path[:, 1] + path[:, 3]).astype(np.float64)
    p = np.atleast_1d(np.asarray(rate, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore", under="ignore"):
        above = np.log(betaincc(right + 0.5, wrong + 0.5, p))
        prior = math.log(math.pi) + np.log(betaincc(0.5, 0.5, p))
        null = right * np.log(p) + wrong * np.log1p(-p)
        found = betaln(right + 0.5, wrong + 0.5) + above - prior - null
    return np.asarray(np.where(p >= 1.0, -math.inf, found))


def large_log_mixture(path: Ints, rate: float, least: float) -> Floats:
    """`log_mixture` where it may be above `least`, else -inf.

    It is at most the likelihood ratio of the observed rate, which is cheap.
    """
    right = (path[:, 0] + path[:, 2]).astype(np.float64)
    wrong = (path[:, 1] + path[:, 3]).astype(np.float64)
    guesses = np.maximum(1.0, right + wrong)
    most = xlogy(right, right / guesses / rate)
    most += xlogy(wrong, wrong / guesses / (1.0 - rate))
    worth = most > least
    found = np.full(len(path), -math.inf)
    if worth.any():
        found[worth] = log_mixture(path[worth], rate)
    return found


class Lines(NamedTuple):
    """e^epsilon and the two deltas, float[k, 1] each."""

    grown: Floats
    remove: Floats
    add: Floats

    @classmethod
    def of(cls, tradeoff: TradeOff) -> "Lines":
        """Those of a curve, but the steepest."""
        kept = tradeoff.epsilon < 300.0
        return cls(
            np.exp(tradeoff.epsilon[kept])[:, None],
            tradeoff.delta_remove[kept][:, None],
            tradeoff.delta_add[kept][:, None],
        )

    @classmethod
    def point(cls, epsilon: float, delta: float) -> "Lines":
        """The two of (epsilon, delta)-DP."""
        both = np.array([[delta]])
        return cls(np.array([[math.exp(epsilon)]]), both, both)


def log_wealth(path: Ints, lines: Lines) -> Floats:
    """Logarithm of the wealth averaged over bets and lines, float[n]."""
    k = lines.grown.size
    if k == 0:
        return np.zeros(len(path))
    logs = log_bets(path, lines).reshape(len(path), -1)
    return np.asarray(logsumexp(logs, axis=1) - LOG_BETS - math.log(k))


def log_bets(path: Ints, lines: Lines) -> Floats:
    """Logarithm of the wealth of every bet, float[n, lines, bets]."""
    grown, remove, add = lines
    total = path.sum(axis=1)
    logs = []
    for columns, mean in (
        ((0, 1), 0.5 * remove),
        ((2, 3), 0.5 * add),
        ((0, 1, 2, 3), 0.5 * (remove + add)),
    ):
        right = path[:, columns[::2]].sum(axis=1)[:, None, None]
        wrong = path[:, columns[1::2]].sum(axis=1)[:, None, None]
        share = _SHARES / (grown + mean)  # of the wealth: not all of it can be lost
        gain, loss, rest = share * (1.0 - mean), -_SHARES, -share * mean
        log = right * np.log1p(gain) + wrong * np.log1p(loss)
        logs.append(log + (total[:, None, None] - right - wrong) * np.log1p(rest))
    return np.concatenate(logs, axis=2)

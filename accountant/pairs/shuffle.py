"""The shuffle model: n users, each through a local randomiser, seen in random order; replace-one.

Sources: Feldman, McMillan & Talwar, arXiv:2012.12803 (any epsilon0-DP randomiser, upper bound). The
"stronger clones" of arXiv:2208.04591 are withdrawn by their authors for general randomisers and are
not used. For binary randomised response the count of ones is all there is to see: exact.

Binomials are cut in their far tails. What is cut is given to a binary randomised response with
epsilon0, which is worse than anything epsilon0-DP, so the result stays an upper bound.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .. import check
from ..errors import ParameterError
from ..mills import UNIT
from .atom_table import AtomPair, AtomTable, build
from .base import Array, Pair

_DEPTH = 60.0  # what is cut is below about e^-60
_MOST_USERS = 100_000


@dataclass(frozen=True)
class ClonesPair(AtomPair):
    """(A + D, C - A + 1 - D) against (A + 1 - D, C - A + D).

    C ~ Bin(n-1, e^-epsilon0), A ~ Bin(C, 1/2), D ~ Bern(e^epsilon0/(1 + e^epsilon0)). It dominates
    every shuffled epsilon0-DP randomiser and is symmetric under exchange; its curve is no lower
    bound.
    """

    epsilon0: float
    users: int

    def __post_init__(self) -> None:
        _check(self.epsilon0, self.users)

    @property
    def table(self) -> AtomTable:  # noqa: D102
        return _clones(float(self.epsilon0), self.users)


@dataclass(frozen=True)
class CountOfOnes(AtomPair):
    """One user's bit flips, `ones` of the other users hold a one; binary randomised response.

    Bern(p) + W against Bern(1-p) + W, W = Bin(ones, p) + Bin(users - 1 - ones, 1 - p), with
    p = e^epsilon0/(1 + e^epsilon0). What is cut is given to randomised response, which is worse;
    with `sure` it is left out and charged, so that the pair is fit for lower ends.
    """

    epsilon0: float
    users: int
    ones: int
    sure: bool = False

    def __post_init__(self) -> None:
        _check(self.epsilon0, self.users)
        if isinstance(self.ones, bool) or not 0 <= self.ones < self.users:
            raise ParameterError(f"ones must be in 0 ... users - 1, but is {self.ones!r}")

    @property
    def table(self) -> AtomTable:  # noqa: D102
        return _ones(float(self.epsilon0), self.users, self.ones, self.sure)


def shuffled(epsilon0: float, users: int) -> Pair:
    """A pair that dominates any epsilon0-DP randomiser of `users` users, shuffled. Upper only."""
    return ClonesPair(epsilon0, users)


def shuffled_binary_randomized_response(epsilon0: float, users: int) -> list[CountOfOnes]:
    """One pair for each number of ones among the other users; the privacy is that of the worst.

    Each pair alone is attained, so it gives a lower bound. Made without work; atoms are computed
    when a pair is asked. Numbers k and users - 1 - k are each other's exchange.
    """
    _check(epsilon0, users)
    return [CountOfOnes(epsilon0, users, ones) for ones in range(users)]


def _check(epsilon0: float, users: int) -> None:
    check.positive(epsilon0=epsilon0)
    check.count(users=users)
    if epsilon0 > 50.0 or users > _MOST_USERS:
        raise ParameterError(
            f"epsilon0 must be at most 50 and users at most {_MOST_USERS}, but are {epsilon0} and "
            f"{users}; fewer users are a valid, larger bound"
        )


class _Binomial(NamedTuple):
    """Masses from the value `first` on, what is cut, and a relative error of the masses."""

    first: int
    masses: Array
    cut: float
    relative: float


def _binomial(number: int, chance: float, against: float) -> _Binomial:
    """Bin(number, chance) on a window.

    Ratios of neighbours are multiplied up from the mode: 4 roundings each and the error of
    chance/against, 18 UNIT. Each tail beyond is below the last term times
    ratio/(1 - ratio).
    """
    mode = min(number, int((number + 1) * chance))
    reach = math.ceil(math.sqrt(2.0 * _DEPTH * max(1.0, number * chance * against)) + _DEPTH)
    first, last = max(0, mode - reach), min(number, mode + reach)
    up = np.arange(mode, last, dtype=np.float64)
    down = np.arange(mode, first, -1, dtype=np.float64)
    rise = np.cumprod((number - up) / (up + 1.0) * (chance / against))
    fall = np.cumprod(down / (number - down + 1.0) * (against / chance))
    masses = np.concatenate([fall[::-1], [1.0], rise])
    total = float(masses.sum())
    cut = 0.0
    for end, value, factor in (
        (last < number, masses[-1], (number - last) / (last + 1.0) * (chance / against)),
        (first > 0, masses[0], first / (number - first + 1.0) * (against / chance)),
    ):
        if end:
            cut += float(value) * factor / (1.0 - factor) if factor < 1.0 else math.inf
    # the window's masses sum to 1 - cut, not to 1
    relative = 2.0 * UNIT * (24.0 * len(masses) + 32.0) + cut / total
    return _Binomial(first, masses / total, cut / total * (1.0 + 1e-9), relative)


def _odds(epsilon0: float) -> tuple[float, float]:
    tail = math.exp(-epsilon0)
    return 1.0 / (1.0 + tail), tail / (1.0 + tail)


def _with_rest(
    loss: Array, p: Array, q: Array, rest: float, epsilon0: float, relative: float
) -> AtomTable:
    high, low = _odds(epsilon0)
    return build(
        np.concatenate([loss, [-epsilon0, epsilon0]]),
        np.concatenate([p, [rest * low, rest * high]]),
        np.concatenate([q, [rest * high, rest * low]]),
        loss_error=UNIT * 16.0 * (1.0 + epsilon0),
        relative=relative,
    )


@lru_cache(maxsize=4)
def _clones(epsilon0: float, users: int) -> AtomTable:
    high, low = _odds(epsilon0)
    clone = math.exp(-epsilon0)
    start, counts, rest, relative = _binomial(users - 1, clone, -math.expm1(-epsilon0))
    parts: list[tuple[Array, Array, Array]] = []
    worst = 0.0
    for c, weight in enumerate(counts.tolist(), start):
        # what weighs next to nothing need not be spread out
        if weight < math.exp(-_DEPTH):
            rest += weight
            continue
        first, spread, cut, error = _binomial(c, 0.5, 0.5)
        rest, worst = rest + weight * cut, max(worst, error)
        mass = np.concatenate([[0.0], weight * spread, [0.0]])
        a = np.arange(first, first + len(spread) + 1, dtype=np.float64)
        before, here = mass[:-1], mass[1:]  # A = a - 1 and A = a
        p, q = high * before + low * here, low * before + high * here
        whole_p, whole_q = high * a + low * (c + 1 - a), low * a + high * (c + 1 - a)
        # A's ends, where one of two neighbours was cut: its loss is within +-epsilon0 all the same
        ratio = whole_p / whole_q
        if first > 0:
            ratio[0] = low / high
        if first + len(spread) - 1 < c:
            ratio[-1] = high / low
        parts.append((np.log(ratio), p, q))
    loss, p, q = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _with_rest(loss, p, q, rest, epsilon0, relative + worst + 64.0 * UNIT)


@lru_cache(maxsize=4)
def _ones(epsilon0: float, users: int, ones: int, sure: bool) -> AtomTable:
    high, low = _odds(epsilon0)
    left = _binomial(ones, high, low)
    right = _binomial(users - 1 - ones, low, high)
    others = np.convolve(left.masses, right.masses)
    relative = left.relative + right.relative + UNIT * (len(others) + 64.0)
    mass = np.concatenate([[0.0], others, [0.0]])
    before, here = mass[:-1], mass[1:]
    p, q = high * before + low * here, low * before + high * here
    # below the normal range losses are no longer accurate
    keep = (p > 1e-290) & (q > 1e-290)
    rest = (
        left.cut + right.cut + float(p[~keep].sum() + q[~keep].sum()) * (1.0 + math.exp(epsilon0))
    )
    p, q = p[keep], q[keep]
    if sure:
        slack = UNIT * 16.0 * (1.0 + epsilon0)
        table = build(np.log(p / q), p, q, lost=rest, loss_error=slack, relative=relative)
    else:
        table = _with_rest(np.log(p / q), p, q, rest, epsilon0, relative)
    return table._replace(loss_error=table.loss_error + 2.2 * relative)

"""How many guesses were right, against a whole trade-off curve; one run suffices.

m canaries, each included by its own fair coin in one training; c' are guessed, c guesses are right.
With F(x) = 1 - f(x), tau the allowed error and F^-1 the smallest FPR for a TPR,

    h = tau (c' - c)/m,  r = tau c/m;  for i = c - 1 .. 0:
        h' = max(h, F^-1(r)),  r += i/(c' - i) (h' - h),  h = h';

f is refuted if r + h > c'/m. Source: Mahloujifar, Melis & Chaudhuri, arXiv:2410.22235.

Rounding: in exact arithmetic r is a sum of the h's with coefficients >= 0, since i/(c' - i) falls,
so smaller h's give a smaller r. Each F^-1 and each r is rounded down, hence both stay below their
exact values, and what is refuted here is refuted in exact arithmetic. For the same reason a claim
with a larger f is refuted whenever one with a smaller f is.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from ...accountant import check, gaussian
from ...accountant.errors import ParameterError
from ...attacks.scores import Scores
from .clopper_pearson import risk
from .designs import require_allowed
from .guess_bound import GuessBound
from .guesses import coin_flips, fresh_seed, pick
from .tradeoff import TradeOff, gaussian_least_fpr

_SHRINK = 1.0 - 2.0**-49
_SMALLEST = 1e-6
_LARGEST = 200.0


def _check_counts(canaries: int, guesses: int, correct: int) -> None:
    check.count(canaries=canaries, guesses=guesses)
    check.whole(correct=correct)
    if not 0 <= correct <= guesses <= canaries:
        raise ParameterError(
            "0 <= correct <= guesses <= canaries is needed, but they are "
            f"{correct}, {guesses}, {canaries}"
        )


def _is_refuted(
    least_fpr: Callable[[float], float], m: int, guesses: int, correct: int, tau: float
) -> bool:
    if correct == 0:
        return False
    wrong, limit = tau * (guesses - correct) / m * _SHRINK, guesses / m * (1.0 + 1e-12)
    right = tau * correct / m * _SHRINK
    for i in range(correct - 1, -1, -1):
        following = least_fpr(right)
        if following <= wrong:
            return False  # nothing moves any more
        right = (right + i / (guesses - i) * (following - wrong)) * _SHRINK
        wrong = following
        if right + wrong > limit:
            return True  # both only grow
    return False


def one_run_refutes(
    tradeoff: TradeOff, *, canaries: int, guesses: int, correct: int, confidence: float = 0.95
) -> bool:
    """Whether so many right guesses contradict `tradeoff`.

    Exact: a mechanism with this trade-off, in both directions, is accused with probability at most
    1 - confidence, however the canaries interact in training.
    Source: Mahloujifar, Melis & Chaudhuri, arXiv:2410.22235.

    Args:
        tradeoff: what is claimed; at every epsilon the worse direction counts.
        canaries: each included by its own fair coin.
        guesses: how many were guessed, fixed beforehand or chosen on other canaries.
        correct: how many guesses were right.
        confidence: in (0, 1).

    Raises:
        ParameterError: numbers that do not fit together.

    >>> counts = {"canaries": 2000, "guesses": 300, "correct": 240}
    >>> [one_run_refutes(TradeOff.gaussian(mu), **counts) for mu in (0.43, 0.45)]
    [True, False]
    """
    _check_counts(canaries, guesses, correct)
    return _is_refuted(tradeoff.least_fpr(), canaries, guesses, correct, risk(confidence))


def one_run_mu(*, canaries: int, guesses: int, correct: int, alpha: float) -> float:
    """The largest mu such that mu-GDP is refuted, by bisection; 0 if not even mu = 1e-6 is.

    >>> round(one_run_mu(canaries=2000, guesses=300, correct=240, alpha=0.05), 8)
    0.43817453
    >>> one_run_mu(canaries=2000, guesses=300, correct=150, alpha=0.05)
    0.0
    """
    _check_counts(canaries, guesses, correct)
    check.open_probability(alpha=alpha)
    return _largest(gaussian_least_fpr, canaries, guesses, correct, alpha)


def one_run_fdp_epsilon(
    *, delta: float, canaries: int, guesses: int, correct: int, alpha: float
) -> float:
    """The largest epsilon such that (epsilon, delta)-DP, as a trade-off curve, is refuted.

    >>> options = {"canaries": 2000, "guesses": 300, "correct": 240, "alpha": 0.05}
    >>> round(one_run_fdp_epsilon(delta=1e-5, **options), 6)
    1.131888
    """
    _check_counts(canaries, guesses, correct)
    check.probability(delta=delta)
    check.open_probability(alpha=alpha)

    def point(epsilon: float) -> Callable[[float], float]:
        return _point_least_fpr(epsilon, delta)

    return _largest(point, canaries, guesses, correct, alpha)


def _point_least_fpr(epsilon: float, delta: float) -> Callable[[float], float]:
    """max(e^-epsilon (tpr - delta), 1 - delta - e^epsilon (1 - tpr)), rounded down."""
    grown = math.exp(min(epsilon, 690.0))
    shrunk = 1.0 / grown
    down, up = 1.0 - 1e-14, 1.0 + 1e-14

    def least_fpr(tpr: float) -> float:
        first = (tpr - delta) * shrunk * down
        second = (1.0 - delta) - grown * (1.0 - tpr) * up - 1e-15
        return first if first > second else second

    return least_fpr


def _largest(
    family: Callable[[float], Callable[[float], float]], m: int, r: int, v: int, tau: float
) -> float:
    """The largest parameter that is refuted; the family's claims grow weaker with it."""
    if 2 * v <= r and tau < 0.5:
        return 0.0

    def refuted(parameter: float) -> bool:
        return _is_refuted(family(parameter), m, r, v, tau)

    if not refuted(_SMALLEST):
        return 0.0
    low, high = _SMALLEST, 1.0
    while high < _LARGEST and refuted(high):
        low, high = high, 2.0 * high
    while high - low > 1e-10 * max(1.0, low):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


class MuByCount(NamedTuple):
    """`one_run_mu` at one allowed error."""

    alpha: float

    def bound(self, canaries: int, guesses: int, correct: int) -> float:
        """The lower bound; 0 without guesses."""
        if guesses == 0:
            return 0.0
        return one_run_mu(canaries=canaries, guesses=guesses, correct=correct, alpha=self.alpha)

    def exceeds(self, value: float, canaries: int, guesses: int, correct: int) -> bool:
        """Whether `value` is refuted too."""
        least_fpr = gaussian_least_fpr(max(value, _SMALLEST))
        return _is_refuted(least_fpr, canaries, guesses, correct, self.alpha)


def one_run_fdp_bound(
    scores: Scores,
    *,
    confidence: float,
    delta: float,
    seed: int | None = None,
    guesses: tuple[int, int] | None = None,
) -> GuessBound:
    """The bound on mu, and on epsilon, by the number of right guesses.

    Exact for "one_run" and "many_runs". The top k_in canaries are said to be in and the bottom
    k_out to be out; the two numbers are `guesses`, fixed beforehand, or chosen on a random half of
    the canaries while the bound rests on the other half.
    Source: Mahloujifar, Melis & Chaudhuri, arXiv:2410.22235.

    Args:
        scores: what the attack gave; each canary included by its own fair coin.
        confidence: in (0, 1).
        delta: in [0, 1), where epsilon is stated.
        seed: >= 0, of halving (and of ties where the order of trials is known), fixed before
            looking; a fresh one if None.
        guesses: (k_in, k_out), fixed before the scores were seen.

    Raises:
        DesignError: the design is neither, or the labels were no fair coins.
    """
    require_allowed(scores.design, "one_run_fdp")
    check.probability(delta=delta)
    alpha, seed = risk(confidence), fresh_seed(seed)
    statistic = MuByCount(alpha)

    def epsilon(m: int, r: int, v: int) -> float:
        if not r:
            return 0.0
        return one_run_fdp_epsilon(delta=delta, canaries=m, guesses=r, correct=v, alpha=alpha)

    counts, k, source = pick(coin_flips(scores, seed=seed), guesses, statistic, alpha, seed)
    m, r, v = counts
    found = statistic.bound(m, r, v)
    return GuessBound(
        method="one_run_fdp",
        guarantee="exact",
        confidence=confidence,
        adjacency=scores.adjacency,
        unit=scores.unit,
        delta=delta,
        canaries=m,
        guesses=r,
        correct=v,
        epsilon_lower=epsilon(m, r, v),
        mu_lower=found,
        epsilon_lower_gaussian=(
            gaussian.epsilon_interval(delta, mu=found)[0] if found > 0.0 else 0.0
        ),
        ceiling_epsilon=epsilon(m, r, r),
        ceiling_mu=statistic.bound(m, r, r),
        k_in=k[0],
        k_out=k[1],
        k_from=source,
    )

"""How many guesses were right, and what that says about (epsilon, delta); one run suffices.

m canaries, each included by its own fair coin in one and the same training; r of them are guessed,
v of the guesses are right. With W ~ Bin(r, q), q = e^epsilon/(1 + e^epsilon), under
(epsilon, delta)-DP

    P(at least v right) <= P(W >= v) + 2 m delta max_i P(v - i <= W <= v - 1)/i.

Source: Steinke, Nasr & Jagielski, arXiv:2305.08846.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from scipy.special import betainc, betaincc, betaincinv

from ...accountant import check
from ...accountant.errors import DesignError, ParameterError
from ...attacks.scores import Scores
from .clopper_pearson import lower_limit, risk
from .designs import require_allowed
from .guess_bound import GuessBound
from .guesses import coin_flips, fresh_seed, pick

_UP = 1.0 + 1e-12  # betainc is good to 1e-13; a p-value is rounded up
_CELLS = 8


def p_value(epsilon: float, *, delta: float, canaries: int, guesses: int, correct: int) -> float:
    """At least the probability of so many right guesses under (epsilon, delta)-DP.

    Source: Steinke, Nasr & Jagielski, arXiv:2305.08846. The maximum over i is a running mean of the
    masses below v, which rise and then fall; it is found by binary search with O(log v) calls of
    the distribution function.

    Args:
        epsilon: >= 0, nats.
        delta: in [0, 1].
        canaries: m >= guesses, those without a guess included.
        guesses: r, fixed beforehand.
        correct: v in 0..r.

    Raises:
        ParameterError: numbers that do not fit together.

    >>> round(p_value(0.0, delta=0.0, canaries=10, guesses=10, correct=8), 7)  # 56/1024
    0.0546875
    """
    check.non_negative(epsilon=epsilon)
    _check_counts(delta, canaries, guesses, correct)
    return _p_value(float(epsilon), delta, canaries, guesses, correct)


def _check_counts(delta: float, canaries: int, guesses: int, correct: int) -> None:
    check.probability(delta=delta)
    check.count(canaries=canaries)
    check.whole(guesses=guesses, correct=correct)
    if not 0 <= correct <= guesses <= canaries:
        raise ParameterError(
            "0 <= correct <= guesses <= canaries is needed, but they are "
            f"{correct}, {guesses}, {canaries}"
        )


def _p_value(epsilon: float, delta: float, m: int, r: int, v: int) -> float:
    if v == 0 or epsilon > 700.0:
        return 1.0
    wrong = 1.0 / (1.0 + math.exp(epsilon))
    beta = _at_least(v, r, wrong)
    if delta == 0.0:
        return min(1.0, beta * _UP)
    # The error of q in its last digit moves the tail by less than r 2^-52 of itself.
    return min(1.0, beta * _UP + 2.0 * m * delta * _largest_mean(v, r, wrong, beta) * (1.0 + 1e-9))


def _at_least(k: int, r: int, wrong: float) -> float:
    """P(W >= k), from the side that keeps its digits."""
    if k <= 0:
        return 1.0
    if k > r:
        return 0.0
    if wrong < 0.25:  # 1 - wrong would round
        return float(betaincc(r - k + 1.0, k, wrong))
    return float(betainc(k, r - k + 1.0, 1.0 - wrong))


def _largest_mean(v: int, r: int, wrong: float, beta: float) -> float:
    """The largest over i of P(v - i <= W <= v - 1)/i."""

    def mass_from(k: int) -> float:
        return _at_least(k, r, wrong) - beta

    def still_rises(i: int) -> bool:
        # pmf(v - i) against the mean of the first i
        upper, lower = mass_from(v - i), mass_from(v - i + 1)
        return (upper - lower) * i >= upper

    if v - 1 <= (1.0 - wrong) * (r + 1.0) - 1.0:  # below the mode the masses only fall
        return mass_from(v - 1)
    low, high = 1, v
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if still_rises(middle) else (low, middle - 1)
    around = range(max(1, low - 1), min(v, low + 1) + 1)
    return max(mass_from(v - i) / i for i in around)


def one_run_epsilon(
    *, delta: float, canaries: int, guesses: int, correct: int, alpha: float
) -> float:
    """Largest epsilon below which every (epsilon, delta) is refuted at level `alpha`; nats.

    In closed form for delta = 0. Else the first crossing of the p-value from 0 upwards, looked for
    on a grid and then by bisection: claims are nested, so it is valid where the p-value is not
    monotone in epsilon.

    Args:
        delta: in [0, 1].
        canaries: m >= guesses.
        guesses: r, fixed beforehand.
        correct: v in 0..r.
        alpha: in (0, 1).

    Raises:
        ParameterError: numbers that do not fit together.

    >>> options = {"canaries": 2000, "guesses": 300, "correct": 240, "alpha": 0.05}
    >>> [round(one_run_epsilon(delta=d, **options), 8) for d in (0.0, 1e-5)]
    [1.14280151, 1.14058865]
    """
    _check_counts(delta, canaries, guesses, correct)
    check.open_probability(alpha=alpha)
    if correct == 0 or 2 * correct <= guesses and alpha < 0.5:
        return 0.0
    wrong = float(1.0 - betaincinv(correct, guesses - correct + 1.0, alpha))
    if correct == guesses:
        wrong = -math.expm1(math.log(alpha) / guesses)
    high = math.log1p(-wrong) - math.log(wrong) if 0.0 < wrong < 0.5 else 0.0
    if high <= 0.0:
        return 0.0
    high *= 1.0 + 1e-9

    def excess(epsilon: float) -> float:
        return _p_value(epsilon, delta, canaries, guesses, correct) - alpha

    low = 0.0
    if excess(0.0) > 0.0:
        return 0.0
    if delta > 0.0:
        for cell in range(1, _CELLS + 1):
            epsilon = high * cell / _CELLS
            if excess(epsilon) > 0.0:
                high = epsilon
                break
            low = epsilon
    else:
        low = high * (1.0 - 1e-6)
        if excess(low) > 0.0:
            low = 0.0
    return _root(excess, low, high)


def _root(excess: Callable[[float], float], low: float, high: float) -> float:
    """The lower end of a bracket of relative width 1e-11; `excess` is <= 0 at `low`."""
    from scipy.optimize import brentq

    if excess(high) <= 0.0:
        return low
    found = float(brentq(excess, low, high, xtol=1e-12, rtol=1e-11))
    step = 1e-12 + 1e-11 * found
    while found > low and excess(found) > 0.0:
        found -= step
        step *= 2.0
    return max(low, found)


def sequential_epsilon(*, delta: float, trials: int, correct: int, alpha: float) -> float:
    """Largest refuted epsilon where each guess is right with at most (e^eps + delta)/(1 + e^eps).

    Given the past, that is: then the right guesses are dominated by a binomial, at a number of
    trials that was fixed beforehand and without abstaining.

    >>> round(sequential_epsilon(delta=0.0, trials=40, correct=40, alpha=0.05), 7)
    2.5540104
    """
    _check_counts(delta, trials, trials, correct)
    return epsilon_from_rate(float(lower_limit(correct, trials, alpha)), delta)


def epsilon_from_rate(rate: float, delta: float) -> float:
    """Smallest epsilon with (e^epsilon + delta)/(1 + e^epsilon) >= `rate`; rounded down."""
    if rate - delta <= 0.0 or rate <= 0.5:
        return 0.0
    if rate >= 1.0:
        return math.inf
    value = math.log(rate - delta) - math.log(1.0 - rate)
    spread = 2.0**-50 * (1.0 + abs(value) + 1.0 / (rate - delta))  # 1 - rate is exact
    return max(0.0, value - spread)


class EpsilonByCount(NamedTuple):
    """`one_run_epsilon` at one delta and one allowed error."""

    delta: float
    alpha: float

    def bound(self, canaries: int, guesses: int, correct: int) -> float:
        """The lower bound; 0 without guesses."""
        if guesses == 0:
            return 0.0
        return one_run_epsilon(
            delta=self.delta,
            canaries=canaries,
            guesses=guesses,
            correct=correct,
            alpha=self.alpha,
        )

    def exceeds(self, value: float, canaries: int, guesses: int, correct: int) -> bool:
        """Whether `value` is refuted too."""
        return _p_value(value, self.delta, canaries, guesses, correct) <= self.alpha


def guess_count_bound(
    scores: Scores,
    *,
    confidence: float,
    delta: float,
    seed: int | None = None,
    guesses: tuple[int, int] | None = None,
    threshold: float | None = None,
) -> GuessBound:
    """The bound on epsilon by the number of right guesses.

    Exact for "one_run" and "many_runs": the top k_in canaries are said to be in and the bottom
    k_out to be out. The two numbers are `guesses`, fixed beforehand, or chosen on a random half of
    the canaries while the bound rests on the other half. For "per_round", and for "sequential" at a
    number of trials fixed beforehand, `threshold` says in or out about every canary.
    Source: Steinke, Nasr & Jagielski, arXiv:2305.08846.

    Args:
        scores: what the attack gave; each canary included by its own fair coin.
        confidence: in (0, 1).
        delta: in [0, 1), where epsilon is stated.
        seed: >= 0, of halving (and of ties where the order of trials is known), fixed before
            looking; a fresh one if None.
        guesses: (k_in, k_out), fixed before the scores were seen.
        threshold: "score >= threshold" says in, fixed before the scores were seen.

    Raises:
        DesignError: options that do not fit the design, or labels that were no fair coins.
    """
    require_allowed(scores.design, "guess_count")
    check.probability(delta=delta)
    seed = fresh_seed(seed)
    alpha = risk(confidence)
    canaries = coin_flips(scores, seed=seed)
    if scores.design in ("per_round", "sequential"):
        if threshold is None or guesses is not None:
            raise DesignError(
                f'method "guess_count" for design "{scores.design}" guesses every canary in its '
                "turn: give threshold=, fixed before the scores were seen, and not guesses=.\n"
                '  Use method "e_process" to find the threshold on earlier trials.'
            )
        count = canaries.values.size
        right = int(((canaries.values >= threshold) == canaries.included).sum())
        counts, k, source = (count, count, right), None, f"threshold {threshold!r}, fixed before"
        ends = tuple(
            sequential_epsilon(delta=delta, trials=count, correct=v, alpha=alpha)
            for v in (right, count)
        )
    else:
        if threshold is not None:
            raise DesignError(
                f'method "guess_count" for design "{scores.design}" ranks the canaries; it takes '
                "guesses=(k_in, k_out) and no threshold"
            )
        statistic = EpsilonByCount(delta, alpha)
        counts, k, source = pick(canaries, guesses, statistic, alpha, seed)
        m, r, v = counts
        ends = statistic.bound(m, r, v), statistic.bound(m, r, r)
    return GuessBound(
        method="guess_count",
        guarantee="exact",
        confidence=confidence,
        adjacency=scores.adjacency,
        unit=scores.unit,
        delta=delta,
        canaries=counts[0],
        guesses=counts[1],
        correct=counts[2],
        epsilon_lower=ends[0],
        mu_lower=None,
        epsilon_lower_gaussian=None,
        ceiling_epsilon=ends[1],
        ceiling_mu=None,
        k_in=k[0] if k else None,
        k_out=k[1] if k else None,
        k_from=source,
    )

"""Exact probabilities that counts refute: sums over pairs of binomials, rounded down.

Scores are N(0, 1) without the record and N(mu, 1) with it. Which counts refute is a table: with fp
false positives, at most `most[fp]` misses; -1 where none do; non-increasing in fp.
"""

import math
from functools import lru_cache

import numpy as np
from scipy.special import betaincc, gammaln, ndtr

from .clopper_pearson import Floats, Ints


def power_at(mu: float, n_in: int, n_out: int, most: Ints, *, every: bool) -> float:
    """P(refuted) at the best fixed threshold; if `every`, at any of a row of thresholds.

    Args:
        mu: of the scores, >= 0.
        n_in: trials with the record.
        n_out: trials without it.
        most: int64[at most n_out + 1], the table.
        every: see above.
    """
    most = most[most >= 0]  # it is non-increasing in fp
    if most.size == 0:
        return 0.0
    cuts = np.linspace(-5.0, mu + 5.0, 41)
    alone = np.array([_power_at_cut(float(cut), mu, n_in, n_out, most) for cut in cuts])
    best = float(alone.max())
    worth = cuts[alone > 0.02 * best]
    for _ in range(2):
        step = float(cuts[1] - cuts[0])
        centre = float(cuts[int(np.argmax(alone))])
        cuts = np.linspace(centre - step, centre + step, 9)
        alone = np.array([_power_at_cut(float(cut), mu, n_in, n_out, most) for cut in cuts])
        best = max(best, float(alone.max()))
    length = _row_length(n_in, n_out) if every else 1
    if length < 4 or best > 0.999 or worth.size < 2:
        return best
    row = np.linspace(worth[0], worth[-1], length)
    return max(best, _power_at_any(row[::-1], mu, n_in, n_out, most))


def _row_length(n_in: int, n_out: int) -> int:
    """How many thresholds a second of arithmetic allows; fewer only lower the bound.

    With 100 the bound is at most .1 below a simulation, with 1 (n above about 80,000) up to .4.
    """
    width = 4.5 * math.sqrt(max(n_in, n_out))
    return int(min(100.0, 8e9 / width**3))


def _power_at_any(cuts: Floats, mu: float, n_in: int, n_out: int, most: Ints) -> float:
    """P(refuted at any of the falling thresholds `cuts`), by a chain over (fp, tp).

    From one threshold to the next each negative turns positive independently of the others. Mass
    that is refuted leaves the state and is summed; mass that leaves the window of 4.5 standard
    deviations is lost, which is safe.
    """
    rates, hits = ndtr(-cuts), ndtr(mu - cuts)
    fp, tp = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    state = np.ones((1, 1))
    rate = hit = refuted = 0.0
    for next_rate, next_hit in zip(rates.tolist(), hits.tolist(), strict=True):
        next_fp, next_tp = _window(n_out, next_rate), _window(n_in, next_hit)
        more_fp = _turning(fp, next_fp, n_out, (next_rate - rate) / (1.0 - rate))
        more_tp = _turning(tp, next_tp, n_in, (next_hit - hit) / (1.0 - hit))
        state = more_fp.T @ state @ more_tp
        rate, hit, fp, tp = next_rate, next_hit, next_fp, next_tp
        allowed = np.where(fp < most.size, most[np.minimum(fp, most.size - 1)], -1)
        found = n_in - tp <= allowed[:, None]
        refuted += float(state[found].sum())
        state[found] = 0.0
    # each step is good to about 1e-10; what they may add up to is taken off
    return max(0.0, min(1.0, refuted) * (1.0 - 1e-6))


def _window(n: int, rate: float) -> Ints:
    spread = 4.5 * math.sqrt(n * rate * (1.0 - rate)) + 4.0
    return np.arange(
        max(0, math.floor(n * rate - spread)), min(n, math.ceil(n * rate + spread)) + 1
    )


def _turning(before: Ints, after: Ints, n: int, rate: float) -> Floats:
    """P(after positives | before positives), if each of the n - before others turns with `rate`."""
    turned = after - before[:, None]
    if not 0.0 < rate < 1.0:
        return np.where(turned == (0 if rate <= 0.0 else n - before[:, None]), 1.0, 0.0)
    table = _log_factorials(n)
    steps = np.arange(int(after[-1]) - int(before[0]) + 1)
    # One column and one row of terms and a table of the difference: an index and an exp per entry.
    by_step = np.append(steps * math.log(rate) - table[steps], -np.inf)  # the last: turned < 0
    left = (n - after) * math.log1p(-rate) - table[n - after]
    log_mass = table[n - before][:, None] + left + by_step[np.maximum(turned, -1)]
    return np.asarray(np.exp(log_mass))


def _binomial(hits: Ints, n: int, rate: float) -> Floats:
    """P(Bin(n, rate) = hits)."""
    table = _log_factorials(n)
    log_mass = table[n] - table[hits] - table[n - hits]
    return np.asarray(np.exp(log_mass + hits * math.log(rate) + (n - hits) * math.log1p(-rate)))


@lru_cache(maxsize=8)
def _log_factorials(n: int) -> Floats:
    return np.asarray(gammaln(np.arange(n + 1) + 1.0))


def _power_at_cut(cut: float, mu: float, n_in: int, n_out: int, most: Ints) -> float:
    return power_at_rates(float(ndtr(-cut)), float(ndtr(cut - mu)), n_in, n_out, most)


def power_at_rates(rate: float, miss: float, n_in: int, n_out: int, most: Ints) -> float:
    """P(misses <= most[fp]) for fp ~ Bin(n_out, rate), misses ~ Bin(n_in, miss); rounded down."""
    # Counts further than 9 standard deviations out carry nothing; leaving them out is safe.
    spread = 9.0 * math.sqrt(n_out * rate * (1.0 - rate)) + 30.0
    first = max(0, math.floor(n_out * rate - spread))
    last = min(most.size - 1, math.ceil(n_out * rate + spread))
    if first > last or rate in (0.0, 1.0):
        return 0.0
    mass = _binomial(np.arange(first, last + 1), n_out, rate)
    allowed = most[first : last + 1]
    inside = np.minimum(allowed, n_in - 1)
    enough = np.where(allowed >= n_in, 1.0, betaincc(inside + 1.0, n_in - inside, miss))
    # gammaln of 1e4 is good to 1e-11: take that off, so that the sum stays a lower bound
    return max(0.0, min(1.0, float(mass @ enough)) * (1.0 - 1e-9))

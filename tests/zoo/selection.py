"""Choosing: exponential mechanism, report noisy max, and the sparse vector technique.

The broken variants of sparse vector are algorithms 3 to 6 of Lyu, Su & Li, arXiv:1603.01699.
"""

import numpy as np

from .entry import claim, on_grid, pair

PURE = claim(epsilon=1.0, delta=0.0)


def exponential(factor):
    """The record votes for one candidate and against another; utilities move by at most 1."""

    def sample(world, n, rng):
        votes = np.array([0.0, 3.0, -2.0]) + world * np.array([1.0, -1.0, 0.0])
        keys = factor * votes + rng.gumbel(size=(n, 3))
        return keys.argmax(axis=1)

    return sample


def noisy_max(value):
    """Which of ten counts is largest; the record is in all of them."""

    def sample(world, n, rng):
        noisy = np.zeros(10) + world + rng.laplace(0.0, 2.0, (n, 10))
        if not value:
            return noisy.argmax(axis=1)
        return np.column_stack((noisy.argmax(axis=1), on_grid(noisy.max(axis=1))))

    return sample


def above_threshold(threshold_scale, query_scale, stop, half):
    """2 half queries, 0 each without the record; with it half at 1 and half at -1; threshold 0.

    Answers: 1 above, 0 below, -1 not asked any more.
    """

    def sample(world, n, rng):
        queries = world * np.repeat([1.0, -1.0], half)
        rng_threshold = rng.laplace(0.0, threshold_scale, (n, 1))
        noisy = queries + (rng.laplace(0.0, query_scale, (n, 2 * half)) if query_scale else 0.0)
        answers = (noisy >= rng_threshold).astype(np.int64)
        if stop:
            done = np.cumsum(answers, axis=1) - answers >= stop
            answers[done] = -1
        return answers

    return sample


def first_above(value, count=6, epsilon=2.0):
    """The first of seven queries above a noisy threshold near .5; the value too, if `value`.

    As published the value's noise is the same that was compared: it is an upper limit of the
    threshold, and with it of all queries before.
    """

    def sample(world, n, rng):
        queries = np.append(np.full(count, float(world)), 1.0 - world)
        scale = 2.0 / epsilon if value else 4.0 / epsilon
        noisy = queries + rng.laplace(0.0, scale, (n, count + 1))
        above = noisy >= 0.5 + rng.laplace(0.0, 2.0 / epsilon, (n, 1))
        first = np.where(above.any(axis=1), above.argmax(axis=1), count + 1)
        if not value:
            return first
        shown = np.append(noisy, np.full((n, 1), np.nan), axis=1)[np.arange(n), first]
        return np.column_stack((first, on_grid(shown)))

    return sample


ENTRIES = [
    *pair(
        "exponential mechanism", exponential(0.5), PURE, "exp(epsilon u / 2)",
        ("exponential, off by two", exponential(1.0), "exp(epsilon u), utilities not monotone"),
    ),
    *pair(
        "report noisy max", noisy_max(False), PURE, "Laplace 2 / epsilon, the place only",
        ("noisy max with value", noisy_max(True), "the largest value is released unpaid"),
    ),
    *pair(
        "sparse vector", above_threshold(2.0, 8.0, 2, 8), PURE,
        "half for the threshold, 2 c / epsilon_2 for queries, c = 2",
        ("sparse vector, c forgotten", above_threshold(4.0, 4.0 / 3.0, 8, 8), "algorithm 4"),
        ("sparse vector, no query noise", above_threshold(2.0, 0.0, 0, 8), "algorithm 5"),
        ("sparse vector, no stop", above_threshold(2.0, 2.0, 0, 8), "algorithm 6"),
    ),
    *pair(
        "first above", first_above(False), claim(epsilon=2.0, delta=0.0), "c = 1, no value",
        ("sparse vector with value", first_above(True), "algorithm 3", 40_000),
    ),
]  # fmt: skip

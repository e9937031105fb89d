"""From scores to guesses about fair coins, so that nothing leaks from the labels.

The guess estimators are valid if every canary was included by its own fair coin and the guesses
depend on the coins through the scores only. Hence: scores are pooled and shuffled before they are
ranked, so that ties are broken by chance, which a seed does not decide where places could say who
was in; how many canaries are guessed is fixed beforehand or chosen on other canaries; and labels
that no fair coins would give are refused.
"""

import math
import secrets
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv

from ...accountant.errors import DesignError, ParameterError
from ...attacks.scores import Scores
from .clopper_pearson import Floats

_RARE = 1e-12


class Statistic(Protocol):
    """A bound by the number of right guesses; larger is better."""

    def bound(self, canaries: int, guesses: int, correct: int) -> float:
        """The lower bound, >= 0."""

    def exceeds(self, value: float, canaries: int, guesses: int, correct: int) -> bool:
        """Whether the bound is above `value`; cheaper than the bound."""


class Canaries(NamedTuple):
    """Scores float[m] and labels bool[m], in an order that says nothing about the labels."""

    values: Floats
    included: NDArray[np.bool_]


def fresh_seed(seed: int | None) -> int:
    """`seed`, or one of the system's generator."""
    return secrets.randbits(32) if seed is None else check_seed(seed)


def check_seed(seed: object) -> int:
    """`seed` if it is a whole number >= 0."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ParameterError(f"seed must be a whole number >= 0, but is {seed!r}")
    return seed


def coin_flips(scores: Scores, *, seed: int = 0) -> Canaries:
    """Canaries whose labels are fair coins.

    For "many_runs", where how many trials were run in each world is no coin, coins are thrown now:
    each takes the next unused trial of its world, and the few trials that are left are not used.
    For the other designs the labels were coins; too unequal numbers cannot have been.

    Where `Scores.order` is known, the seed shuffles the canaries in that order, which decides who
    is in which half and who of several with the same score comes first. In lists of in-scores and
    out-scores, and among coins that a seed threw, places say who was in: a fixed seed would decide
    tied guesses, and halves, alike in every audit. There the canaries are sorted by their scores,
    tied ones by the system's generator whatever the seed, before the seed shuffles them: without
    ties the same seed gives the same again, with ties it need not.

    Raises:
        DesignError: n_in and n_out are so unequal that fair coins give them with probability
            below 1e-9.
    """
    generator = np.random.default_rng(check_seed(seed))
    n_in, n_out = scores.values_in.size, scores.values_out.size
    if scores.design == "many_runs":
        inside, outside = (
            generator.permutation(scores.values_in),
            generator.permutation(scores.values_out),
        )
        labels = generator.random(_trials(n_in, n_out)) < 0.5
        heads = int(np.count_nonzero(labels))
        # With probability below 1e-12 the coins ask for more trials than there are.
        if heads > n_in or labels.size - heads > n_out:
            raise DesignError(
                f"the coins of seed {seed} ask for more than the {n_in} + {n_out} trials there "
                "are; that has probability below 1e-12. Use another seed."
            )
        values = np.empty(labels.size)
        values[labels] = inside[:heads]
        values[~labels] = outside[: labels.size - heads]
        return _shuffled(values, labels, generator)
    total = n_in + n_out
    least = min(n_in, n_out)
    # P(Bin(total, 1/2) <= least), twice
    tail = 2.0 * float(betainc(total - least, least + 1.0, 0.5))
    if tail < 1e-9:
        raise DesignError(
            f"{n_in} canaries were included and {n_out} were not; fair coins give numbers so "
            f'unequal with probability {tail:.1e}.\n  Design "{scores.design}" needs a fair coin '
            "for each canary: a guess would be right too often by always saying the larger side."
        )
    values = np.concatenate((scores.values_in, scores.values_out))
    labels = np.arange(total) < n_in
    if scores.order is None:
        return _shuffled(values, labels, generator)
    mixed = np.argsort(scores.order)[generator.permutation(total)]
    return Canaries(values[mixed], labels[mixed])


def _shuffled(
    values: Floats, labels: NDArray[np.bool_], generator: np.random.Generator
) -> Canaries:
    """In an order made of the values, the generator and, for ties, the system's randomness."""
    mixed = np.random.default_rng(secrets.randbits(128)).permutation(values.size)
    mixed = mixed[np.argsort(values[mixed], kind="stable")]
    mixed = mixed[generator.permutation(values.size)]
    return Canaries(values[mixed], labels[mixed])


def _trials(n_in: int, n_out: int) -> int:
    """The most coins for which either side suffices but for a probability of 1e-12."""
    least = min(n_in, n_out)
    low, high = least, 2 * least
    while low < high:
        coins = (low + high + 1) // 2
        over = 2.0 * float(betainc(least + 1.0, coins - least, 0.5)) if coins > least else 0.0
        low, high = (coins, high) if over <= _RARE else (low, coins - 1)
    return low


def halves(canaries: Canaries) -> tuple[Canaries, Canaries]:
    """For choosing, and for the bound, which gets the odd one."""
    half = canaries.values.size // 2
    return (
        Canaries(canaries.values[:half], canaries.included[:half]),
        Canaries(canaries.values[half:], canaries.included[half:]),
    )


def is_constant(canaries: Canaries) -> bool:
    """Whether no canary stands out, so that nothing is worth a guess."""
    return bool(canaries.values.size == 0 or np.ptp(canaries.values) == 0.0)


def right_guesses(canaries: Canaries, k_in: int, k_out: int) -> int:
    """How many are right if the top `k_in` are said to be in and the bottom `k_out` out."""
    if k_in + k_out > canaries.values.size:
        raise ParameterError(
            f"{k_in} + {k_out} guesses are more than the {canaries.values.size} canaries"
        )
    hits, misses = _ranked(canaries)
    return int(hits[k_in] + misses[k_out])


def _ranked(canaries: Canaries) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Right guesses among the top k and among the bottom k, for k = 0..m."""
    order = np.argsort(canaries.values, kind="stable")
    labels = canaries.included[order]
    hits = np.concatenate(([0], np.cumsum(labels[::-1])))
    misses = np.concatenate(([0], np.cumsum(~labels)))
    return hits, misses


def choose(canaries: Canaries, size: int, statistic: Statistic, alpha: float) -> tuple[int, int]:
    """(k_in, k_out) that make the bound large on these canaries, scaled to `size` others.

    First the limit of the rate of right guesses over a grid, then the bound itself for the best of
    the grid and for symmetric choices.

    Args:
        canaries: for choosing only.
        size: how many canaries the bound will rest on.
        statistic: the bound.
        alpha: of the limit.
    """
    m = canaries.values.size
    if m == 0:
        return size // 2, size - size // 2
    hits, misses = _ranked(canaries)
    steps = np.unique(np.rint(np.geomspace(1.0, m, 32)).astype(np.int64))
    steps = np.concatenate(([0], steps))
    k_in, k_out = (grid.ravel() for grid in np.meshgrid(steps, steps))
    fits = (k_in + k_out <= m) & (k_in + k_out > 0)
    half = steps[steps <= m // 2]
    k_in, k_out = np.concatenate((k_in[fits], half[1:])), np.concatenate((k_out[fits], half[1:]))
    guesses, correct = k_in + k_out, hits[k_in] + misses[k_out]
    rate = betaincinv(np.maximum(correct, 1), guesses - correct + 1.0, alpha)
    rate = np.where(correct == 0, 0.0, rate)
    # The rate alone would favour few guesses; with n guesses worth is felt to be about n (2p-1)^2
    # for weak attacks, so both rankings send candidates.
    by_rate = np.argsort(-rate, kind="stable")[:4]
    by_count = np.argsort(-np.maximum(0.0, rate - 0.5) * np.sqrt(guesses), kind="stable")[:4]
    even = np.flatnonzero((k_in == k_out) & (k_in >= max(1, m // 100)))[::3]
    best, found = (-1.0, -1.0), 0
    for index in np.unique(np.concatenate((by_rate, by_count, even))).tolist():
        counts = m, int(guesses[index]), int(correct[index])
        if statistic.exceeds(max(0.0, best[0]), *counts):
            best, found = (statistic.bound(*counts), float(rate[index])), index
        elif best[0] <= 0.0 and (0.0, float(rate[index])) > best:
            best, found = (0.0, float(rate[index])), index
    scale = size / m
    first = min(size, math.floor(k_in[found] * scale + 0.5))
    second = min(size - first, math.floor(k_out[found] * scale + 0.5))
    return (first, second) if first + second else (min(1, size), 0)


class Picked(NamedTuple):
    """The canaries of the bound: (canaries, guesses, right ones), (k_in, k_out), and why these."""

    counts: tuple[int, int, int]
    k: tuple[int, int]
    source: str


def pick(
    canaries: Canaries,
    guesses: tuple[int, int] | None,
    statistic: Statistic,
    alpha: float,
    seed: int,
) -> Picked:
    """Guesses with numbers that were fixed beforehand, or chosen on the other half.

    Where all scores are the same, no guess is made.

    Raises:
        ParameterError: `guesses` are not two whole numbers >= 0 with a sum in 1..canaries.
    """
    if guesses is None:
        first, canaries = halves(canaries)
        k = choose(first, canaries.values.size, statistic, alpha)
        source = (
            f"chosen on the other {first.values.size} canaries, drawn at random with seed {seed}"
        )
    else:
        k, source = (guesses[0], guesses[1]), "fixed beforehand"
        whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in guesses)
        if len(guesses) != 2 or not whole or not 0 < sum(guesses) <= canaries.values.size:
            raise ParameterError(
                f"guesses must be two whole numbers >= 0 with a sum in 1..{canaries.values.size}, "
                f"but is {guesses!r}"
            )
    m = canaries.values.size
    if is_constant(canaries):
        return Picked((m, 0, 0), (0, 0), "none: all scores are the same")
    return Picked((m, sum(k), right_guesses(canaries, *k)), k, source)

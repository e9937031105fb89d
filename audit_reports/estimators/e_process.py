"""`EProcess`: evidence that may be looked at after every trial, and stopped on, at no cost.

In every trial a fair coin puts the record in or leaves it out, and a guess is made that may depend
on everything seen so far. Under the null a wealth process has mean at most 1 at any stopping time,
so that it ever reaches 1/alpha has probability at most alpha (Ville's inequality).

Without abstention: a guess is right with probability at most p, (e^eps + delta)/(1 + e^eps)
under (epsilon, delta)-DP and Phi(mu/2) under mu-GDP. The wealth is the likelihood ratio of
a Beta(1/2, 1/2) mixture of rates above p against p; for a rate below p each factor is smaller.

With abstention: 1{said in, was in} - e^eps 1{said in, was out} has mean at most delta/2, likewise
for "out"; a fixed share of the wealth is bet that it is more, and the wealth is averaged over
shares, over bets on "in", on "out" and on both, and over the lines of a trade-off curve.

Source: Ville, 1939; Robbins & Siegmund, 1970 (mixtures); Waudby-Smith & Ramdas, arXiv:2010.09686
(betting); Wasserman & Zhou, arXiv:0811.2501 (what a curve says about a guess).
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from ...accountant import check, gaussian
from ...accountant.adjacency import Adjacency, Unit
from ...accountant.errors import DesignError, ParameterError
from ...attacks.scores import Scores
from .clopper_pearson import Floats, Ints, distinct_counts, risk
from .designs import require_allowed
from .guess_bound import GuessBound
from .guess_count import epsilon_from_rate
from .guesses import Canaries, coin_flips, fresh_seed, is_constant
from .tradeoff import TradeOff
from .wealth import (
    LOG_BETS,
    Lines,
    crossing,
    large_log_mixture,
    log_bets,
    log_mixture,
    log_wealth,
    mu_from_rate,
    right_rate,
)

_BURN_IN = 16


@dataclass(eq=False)
class EProcess:
    """Guesses about fair coins, one after the other.

    Attributes:
        delta: in [0, 1), where epsilon is stated.
        confidence: in (0, 1).
        abstention: whether a guess may be 0, "I do not say".
        counts: int[5]: said in and right, said in and wrong, said out and right, said out and
            wrong, abstained.

    >>> process = EProcess(delta=1e-5)
    >>> process.add(right=190, wrong=10)
    >>> round(process.epsilon_lower, 6), round(process.log_e_value(TradeOff.point(0.0, 0.0)), 6)
    (2.105647, 96.739784)
    """

    delta: float = 0.0
    confidence: float = 0.95
    abstention: bool = False
    counts: Ints = field(init=False)

    def __post_init__(self) -> None:
        check.probability(delta=self.delta)
        self._alpha = risk(self.confidence)
        self.counts = np.zeros(5, dtype=np.int64)
        self._best = 0.0 if self.abstention else 0.5  # epsilon, or the rate of right guesses
        self._best_mu = 0.0

    @property
    def trials(self) -> int:
        """How many so far."""
        return int(self.counts.sum())

    def update(self, guess: ArrayLike, included: ArrayLike) -> None:
        """One trial or several, in the order they were made.

        Args:
            guess: 1 for in, -1 for out, 0 for neither; int[n] or one number.
            included: whether the record was in; bool[n] or one.

        Raises:
            ParameterError: another guess, other lengths, or a 0 without `abstention`.
        """
        said = np.atleast_1d(np.asarray(guess))
        given = np.atleast_1d(np.asarray(included))
        if not np.all(np.isin(given, (0, 1))):
            raise ParameterError("included must be True (in) or False (out) for each trial")
        truth = given.astype(bool)
        if said.shape != truth.shape or said.ndim != 1:
            raise ParameterError(
                f"one label for each guess is needed, but there are {truth.size} for {said.size}"
            )
        if not np.all(np.isin(said, (-1, 0, 1))):
            raise ParameterError("a guess must be 1 (in), -1 (out) or 0 (neither)")
        if not self.abstention and np.any(said == 0):
            raise ParameterError("a guess of 0 needs EProcess(abstention=True)")
        kinds = np.stack(
            (
                (said == 1) & truth,
                (said == 1) & ~truth,
                (said == -1) & ~truth,
                (said == -1) & truth,
                said == 0,
            ),
            axis=1,
        )
        path = self.counts + np.cumsum(kinds, axis=0, dtype=np.int64)
        if path.size == 0:
            return
        self.counts = path[-1].copy()
        self._advance(path)

    def add(self, *, right: int, wrong: int = 0) -> None:
        """Several trials by their counts; only their end is looked at. Not with abstention."""
        for count in (right, wrong):
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise ParameterError(
                    f"counts must be whole numbers >= 0, but are {right} and {wrong}"
                )
        if self.abstention:
            raise ParameterError("with abstention the two kinds of guesses count; use update")
        self.counts = self.counts + np.array([right, wrong, 0, 0, 0], dtype=np.int64)
        self._advance(self.counts[None, :])

    @property
    def epsilon_lower(self) -> float:
        """The largest epsilon refuted so far, at `delta`; valid whenever one looks."""
        return self._best if self.abstention else epsilon_from_rate(self._best, self.delta)

    @property
    def mu_lower(self) -> float:
        """The largest mu refuted so far; with abstention, refuted when this was asked for."""
        if not self.abstention:
            return mu_from_rate(self._best)
        counts = self.counts[None, :]

        def log_e(mus: Floats) -> Floats:
            return np.concatenate(
                [log_wealth(counts, Lines.of(TradeOff.gaussian(float(mu)))) for mu in mus]
            )

        found = crossing(log_e, 0.0, 8.0, float(self._goal(counts)[0]), 8)
        self._best_mu = max(self._best_mu, found)
        return self._best_mu

    def log_e_value(self, tradeoff: TradeOff) -> float:
        """Logarithm of the evidence against `tradeoff` at this moment.

        The evidence of independent runs multiplies; of dependent runs, or of several attacks on one
        run, the average is valid.
        """
        if self.abstention:
            return float(log_wealth(self.counts[None, :], Lines.of(tradeoff))[0])
        return float(log_mixture(self.counts[None, :], right_rate(tradeoff))[0])

    def refutes(self, tradeoff: TradeOff) -> bool:
        """Whether the evidence against `tradeoff` is at least 1/alpha at this moment."""
        return self.log_e_value(tradeoff) >= float(self._goal(self.counts[None, :])[0])

    def _goal(self, path: Ints) -> Floats:
        # logarithms of Beta functions of n are right to about 1e-15 n
        return np.asarray(-math.log(self._alpha) + 1e-12 * (path.sum(axis=1) + 100.0))

    def _advance(self, path: Ints) -> None:
        goal = self._goal(path)
        for _ in range(100):
            # Where is more evidence than needed against what is refuted so far?
            excess = self._log_e(path, self._best) - goal
            more = excess > 0.0
            if not more.any():
                return
            at = int(np.argmax(excess))
            found = self._first_crossing(path[at : at + 1], float(goal[at]))
            if found <= self._best:
                return
            self._best = found
            path, goal = path[more], goal[more]

    def _log_e(self, path: Ints, parameter: float) -> Floats:
        if self.abstention:
            return log_wealth(path, Lines.point(parameter, self.delta))
        return large_log_mixture(path, parameter, -math.log(self._alpha) - 1e-6)

    def _first_crossing(self, row: Ints, goal: float) -> float:
        right = int(row[0, 0] + row[0, 2])
        if self.abstention:

            def averaged(epsilons: Floats) -> Floats:
                delta = np.full((epsilons.size, 1), self.delta)
                lines = Lines(np.exp(epsilons)[:, None], delta, delta)
                return np.asarray(logsumexp(log_bets(row, lines)[0], axis=1) - LOG_BETS)

            # wealth is at most (1 + e^-epsilon)^right
            return crossing(averaged, 0.0, math.log(right + 1.0) + 1.0, goal, 32)
        # Above the observed rate the likelihood falls, so the evidence is at most 1.
        guesses = int(row[0, :4].sum())
        high = max(0.5, right / guesses)
        return crossing(lambda rates: log_mixture(row, rates), 0.5, high, goal, 48)


def e_process_bound(
    scores: Scores,
    *,
    confidence: float,
    delta: float,
    seed: int | None = None,
    threshold: float | None = None,
) -> GuessBound:
    """The bound on epsilon and mu by an e-process over the trials.

    Exact whenever the trials were stopped. With `threshold` every trial is guessed. Without it, the
    threshold is the best one on the trials before, chosen anew after 16, 32, 64, .. trials, and
    the first 16 are not guessed; that needs the order of the trials: `scores.order`, or "many_runs"
    whose trials are exchangeable.

    Args:
        scores: what the attack gave; each record included by its own fair coin.
        confidence: in (0, 1).
        delta: in [0, 1), where epsilon is stated.
        seed: >= 0, of the order of "many_runs", fixed before looking; a fresh one if None.
        threshold: "score >= threshold" says in, fixed before the scores were seen.

    Raises:
        DesignError: no threshold and no order, "one_run", or labels that were no fair coins.
    """
    require_allowed(scores.design, "e_process")
    canaries = coin_flips(scores, seed=fresh_seed(seed))  # checks the labels; shuffled
    ordered = scores.design == "many_runs"
    if scores.order is not None and not ordered:
        time = np.argsort(scores.order)
        values = np.concatenate((scores.values_in, scores.values_out))[time]
        canaries = Canaries(values, time < scores.values_in.size)
        ordered = True
    if threshold is None and not ordered:
        raise DesignError(
            f'method "e_process" for design "{scores.design}" chooses its threshold on earlier '
            "trials, but Scores.order does not say which were earlier.\n"
            "  Give order= in Scores, or threshold=, fixed before the scores were seen."
        )
    process = EProcess(delta=delta, confidence=confidence)
    total = canaries.values.size
    if is_constant(canaries):
        source = "none: all scores are the same"
    elif threshold is not None:
        if not math.isfinite(threshold):
            raise ParameterError(f"threshold must be a finite number, but is {threshold!r}")
        source = f"threshold {threshold!r}, fixed before"
        said = np.where(canaries.values >= threshold, 1, -1)
        if ordered:
            process.update(said, canaries.included)
        else:  # only the counts at the end mean anything
            right = int(np.count_nonzero((said == 1) == canaries.included))
            process.add(right=right, wrong=total - right)
    else:
        source = f"best threshold on the trials before, from trial {_BURN_IN + 1} on"
        start = _BURN_IN
        while start < total:
            stop = min(total, 2 * start)
            cut = _best_threshold(Canaries(canaries.values[:start], canaries.included[:start]))
            said = np.where(canaries.values[start:stop] >= cut, 1, -1)
            process.update(said, canaries.included[start:stop])
            start = stop
    return process_bound(
        process, adjacency=scores.adjacency, unit=scores.unit, source=source, canaries=total
    )


def process_bound(
    process: EProcess,
    *,
    adjacency: Adjacency,
    unit: Unit,
    source: str,
    canaries: int | None = None,
) -> GuessBound:
    """What a process without abstention has shown so far.

    Args:
        process: stopped whenever its user liked.
        adjacency: how the worlds differ.
        unit: whose data differs.
        source: where the guesses came from, in words.
        canaries: trials with those that were not guessed; the process's own if None.
    """
    guesses = process.trials
    perfect = EProcess(delta=process.delta, confidence=process.confidence)
    perfect.add(right=guesses)
    mu = process.mu_lower
    return GuessBound(
        method="e_process",
        guarantee="exact",
        confidence=process.confidence,
        adjacency=adjacency,
        unit=unit,
        delta=process.delta,
        canaries=guesses if canaries is None else canaries,
        guesses=guesses,
        correct=int(process.counts[0] + process.counts[2]),
        epsilon_lower=process.epsilon_lower,
        mu_lower=mu,
        epsilon_lower_gaussian=gaussian.epsilon_interval(process.delta, mu=mu)[0] if mu else 0.0,
        ceiling_epsilon=perfect.epsilon_lower,
        ceiling_mu=perfect.mu_lower,
        k_in=None,
        k_out=None,
        k_from=source,
    )


def _best_threshold(past: Canaries) -> float:
    """The threshold with the most right guesses; infinite if saying out is always better."""
    inside, outside = past.values[past.included], past.values[~past.included]
    thresholds, tp, fp = distinct_counts(inside, outside)
    gain = tp - fp
    best = int(np.argmax(gain))
    return float(thresholds[best]) if gain[best] > 0 else math.inf

"""`GuessBound`: a lower bound from how many guesses about canaries were right."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...accountant import check, gaussian
from ...accountant.adjacency import ADJACENCIES, UNITS, Adjacency, Unit, same_terms
from ...accountant.claim import PrivacyClaim
from ...accountant.errors import ClaimError, ParameterError
from .bound import Guarantee

if TYPE_CHECKING:
    from .tradeoff import TradeOff


@dataclass(frozen=True, kw_only=True)
class GuessBound:
    """A lower bound on what leaks, from right and wrong guesses about fair coins.

    Too high with probability at most 1 - confidence. The numbers hold together: a mechanism for
    which one of them is too high is one on which the same test has failed.

    Attributes:
        method: "guess_count", "one_run_fdp" or "e_process".
        guarantee: "exact": the confidence holds at every number of canaries.
        confidence: in (0, 1).
        adjacency: how the worlds of a canary differ.
        unit: whose data differs.
        delta: where the epsilons are stated.
        canaries: how many coins the bound rests on, those without a guess included.
        guesses: how many of them were guessed.
        correct: how many guesses were right.
        epsilon_lower: no mechanism that is (epsilon, delta)-DP for a smaller epsilon; nats. Assumes
            no curve.
        mu_lower: no mu-GDP mechanism for a smaller mu; None if the method says nothing about mu.
        epsilon_lower_gaussian: `mu_lower` converted at delta, rounded down; None with it. It holds
            for Gaussian-DP mechanisms only.
        ceiling_epsilon: `epsilon_lower` if all guesses had been right.
        ceiling_mu: `mu_lower` if all guesses had been right.
        k_in: how many canaries were guessed to be in, where the number was fixed; else None.
        k_out: how many were guessed to be out, where the number was fixed; else None.
        k_from: where the numbers, or the threshold, came from, in words.

    Raises:
        ParameterError: numbers that do not fit together.
    """

    method: str
    guarantee: Guarantee
    confidence: float
    adjacency: Adjacency
    unit: Unit
    delta: float
    canaries: int
    guesses: int
    correct: int
    epsilon_lower: float
    mu_lower: float | None
    epsilon_lower_gaussian: float | None
    ceiling_epsilon: float
    ceiling_mu: float | None
    k_in: int | None
    k_out: int | None
    k_from: str

    def __post_init__(self) -> None:
        check.open_probability(confidence=self.confidence)
        check.probability(delta=self.delta)
        check.one_of(ADJACENCIES, adjacency=self.adjacency)
        check.one_of(UNITS, unit=self.unit)
        check.one_of(("exact", "asymptotic", "Bayesian"), guarantee=self.guarantee)
        check.non_negative(epsilon_lower=self.epsilon_lower, ceiling_epsilon=self.ceiling_epsilon)
        if not 0 <= self.correct <= self.guesses <= self.canaries:
            raise ParameterError(
                "0 <= correct <= guesses <= canaries is needed, but they are "
                f"{self.correct}, {self.guesses}, {self.canaries}"
            )
        for name in ("mu_lower", "epsilon_lower_gaussian", "ceiling_mu"):
            value = getattr(self, name)
            if value is not None:
                check.non_negative(**{name: value})

    def refutes(self, claim: PrivacyClaim) -> bool:
        """Whether the guesses contradict `claim` at this confidence.

        A claim of a curve is refuted by `mu_lower`, or by `epsilon_lower` where the method knows no
        mu; a claim of one point by `epsilon_lower`.

        Raises:
            ClaimError: another adjacency or unit, or a point claim at another delta.
        """
        same_terms(claim, self, "the empirical bound")
        if claim.is_curve:
            mu = claim.gaussian_mu().upper
            if self.mu_lower is not None:
                return self.mu_lower > mu
            return self.epsilon_lower > gaussian.epsilon_interval(self.delta, mu=mu)[1]
        if claim.epsilon is None:
            return self._contradicts_curve(claim)
        if claim.delta != self.delta:
            raise ClaimError(
                f"the claim is for delta = {claim.delta} but the empirical bound was computed at "
                f"delta = {self.delta}.\n  Estimate again with delta = {claim.delta}."
            )
        return self.epsilon_lower > claim.epsilon

    def _contradicts_curve(self, claim: PrivacyClaim) -> bool:
        from .tradeoff import TradeOff

        return self.contradicts(TradeOff.of_claim(claim))

    def contradicts(self, curve: "TradeOff") -> bool:
        """Whether the guesses contradict a trade-off curve, at this confidence."""
        from .one_run_fdp import one_run_refutes

        if curve.mu is not None and self.mu_lower is not None:
            return self.mu_lower > curve.mu
        if self.guesses == 0:
            return False
        if self.method == "one_run_fdp":
            return one_run_refutes(
                curve,
                canaries=self.canaries,
                guesses=self.guesses,
                correct=self.correct,
                confidence=self.confidence,
            )
        if self.method == "e_process":
            from .e_process import EProcess

            process = EProcess(delta=self.delta, confidence=self.confidence)
            process.add(right=self.correct, wrong=self.guesses - self.correct)
            return process.refutes(curve)
        # the claim's own epsilon at this delta: the smallest of its lines that is below it
        known = np.maximum(curve.delta_remove, curve.delta_add) <= self.delta
        return bool(known.any() and self.epsilon_lower > curve.epsilon[known].min())

    def __repr__(self) -> str:
        mu = "" if self.mu_lower is None else f"mu >= {self.mu_lower:.6g}, "
        return (
            f"GuessBound({mu}epsilon >= {self.epsilon_lower:.6g} at delta={self.delta:g}, "
            f"{self.correct} of {self.guesses} guesses right among {self.canaries} canaries, "
            f"confidence={self.confidence:g}, {self.guarantee}, method={self.method}, "
            f"unit={self.unit}, adjacency={self.adjacency})"
        )

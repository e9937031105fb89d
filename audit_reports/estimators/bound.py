"""`EmpiricalBound`: what was measured, with everything needed to compute it again."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...accountant import check
from ...accountant.adjacency import ADJACENCIES, UNITS, Adjacency, Unit, same_terms
from ...accountant.claim import PrivacyClaim
from ...accountant.errors import ClaimError, DesignError, ParameterError
from ...attacks.scores import Scores
from .designs import require_allowed

if TYPE_CHECKING:
    from .tradeoff import TradeOff

Guarantee = Literal["exact", "asymptotic", "Bayesian"]


def require_independent(scores: Scores, method: str) -> None:
    """Raise `DesignError` unless the trials are independent runs ("many_runs")."""
    require_allowed(scores.design, method)
    if scores.design != "many_runs":
        raise DesignError(f'method "{method}" needs independent trials, design "many_runs"')


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The four outcomes of the rule "score >= threshold says member".

    Attributes:
        tp: trials with the record, said member.
        fn: trials with the record, said non-member.
        fp: trials without the record, said member.
        tn: trials without the record, said non-member.

    Raises:
        ParameterError: not whole numbers >= 0, or a side without trials.

    >>> Counts(tp=3, fn=1, fp=0, tn=4).n_in
    4
    """

    tp: int
    fn: int
    fp: int
    tn: int

    def __post_init__(self) -> None:
        for name in ("tp", "fn", "fp", "tn"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ParameterError(f"{name} must be a whole number >= 0, but is {value!r}")
        check.count(n_in=self.n_in, n_out=self.n_out)

    @property
    def n_in(self) -> int:
        """Trials with the record."""
        return self.tp + self.fn

    @property
    def n_out(self) -> int:
        """Trials without the record."""
        return self.fp + self.tn


@dataclass(frozen=True, kw_only=True)
class EmpiricalBound:
    """A lower bound on what leaks, from finitely many trials.

    Too high with probability at most 1 - confidence. It is evidence about the trials that were run
    and never becomes a `ProvenBound`. `mu_lower` and `epsilon_lower` come from the same limits, so
    with the built-in methods they hold together.

    Attributes:
        method: "band", "split" or "clopper_pearson".
        guarantee: "exact": the confidence holds at every number of trials.
        confidence: in (0, 1).
        adjacency: how the two worlds of the trials differ.
        unit: whose data differs.
        delta: where the epsilons are stated.
        epsilon_lower: no mechanism that is (epsilon, delta)-DP for a smaller epsilon; nats. Assumes
            no curve.
        mu_lower: no mu-GDP mechanism for a smaller mu; no unit.
        epsilon_lower_gaussian: `mu_lower` converted at delta, rounded down; nats. It holds for
            Gaussian-DP mechanisms only. Infinite at delta = 0 if mu_lower > 0.
        n_in: trials with the record that the bound rests on.
        n_out: trials without the record that the bound rests on.
        counts_mu: outcomes at the threshold behind `mu_lower`.
        counts_epsilon: outcomes at the threshold behind `epsilon_lower`.
        fpr_upper: upper limit of the false-positive rate at `counts_mu`.
        fnr_upper: upper limit of the false-negative rate at `counts_mu`.
        rate_level: error level of each Clopper-Pearson limit, on both sides.
        ceiling_mu: `mu_lower` if no error had been seen in these trials.
        ceiling_epsilon: `epsilon_lower` if no error had been seen in these trials.
        threshold_from: where the thresholds came from, in words.
        roc: (fp, tp) at the distinct thresholds, at most 200 of them, denser at low fp.
    """

    method: str
    guarantee: Guarantee
    confidence: float
    adjacency: Adjacency
    unit: Unit
    delta: float
    epsilon_lower: float
    mu_lower: float
    epsilon_lower_gaussian: float
    n_in: int
    n_out: int
    counts_mu: Counts
    counts_epsilon: Counts
    fpr_upper: float
    fnr_upper: float
    rate_level: float
    ceiling_mu: float
    ceiling_epsilon: float
    threshold_from: str
    roc: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        check.open_probability(confidence=self.confidence, rate_level=self.rate_level)
        check.probability(delta=self.delta, fpr_upper=self.fpr_upper, fnr_upper=self.fnr_upper)
        check.one_of(ADJACENCIES, adjacency=self.adjacency)
        check.one_of(UNITS, unit=self.unit)
        check.one_of(("exact", "asymptotic", "Bayesian"), guarantee=self.guarantee)
        check.count(n_in=self.n_in, n_out=self.n_out)
        check.non_negative(
            epsilon_lower=self.epsilon_lower,
            mu_lower=self.mu_lower,
            epsilon_lower_gaussian=self.epsilon_lower_gaussian,
            ceiling_mu=self.ceiling_mu,
            ceiling_epsilon=self.ceiling_epsilon,
        )
        for name in ("counts_mu", "counts_epsilon"):
            counts: Counts = getattr(self, name)
            if (counts.n_in, counts.n_out) != (self.n_in, self.n_out):
                raise ParameterError(
                    f"{name} has {counts.n_in} + {counts.n_out} trials, but the bound rests on "
                    f"{self.n_in} + {self.n_out}"
                )

    def refutes(self, claim: PrivacyClaim) -> bool:
        """Whether the trials contradict `claim` at this confidence.

        A claim of a Gaussian curve is refuted by `mu_lower`, a claim of one point by
        `epsilon_lower`, any other by error rates that its trade-off curve does not allow.

        Raises:
            ClaimError: another adjacency or unit, or a point claim at another delta.
        """
        same_terms(claim, self, "the empirical bound")
        if claim.is_curve:
            return self.mu_lower > claim.gaussian_mu().upper
        if claim.epsilon is None:
            return self.beyond(claim) is not None
        if claim.delta != self.delta:
            raise ClaimError(
                f"the claim is for delta = {claim.delta} but the empirical bound was computed at "
                f"delta = {self.delta}.\n  Estimate again with delta = {claim.delta}."
            )
        return self.epsilon_lower > claim.epsilon

    def beyond(self, claim: PrivacyClaim) -> tuple[float, float, float] | None:
        """(FPR, TPR, claimed TPR) where the trials are farthest above the claimed trade-off curve.

        The true FPR is at most the first and the true TPR at least the second number, at this
        confidence; the claim allows no attack more than the third. None if no point is above.
        """
        from .tradeoff import TradeOff

        return self.above(TradeOff.of_claim(claim))

    def contradicts(self, curve: "TradeOff") -> bool:
        """Whether the trials contradict a trade-off curve, at this confidence."""
        if curve.mu is not None:
            return self.mu_lower > curve.mu
        return self.above(curve) is not None

    def above(self, curve: "TradeOff") -> tuple[float, float, float] | None:
        """As `beyond`, for any curve.

        Raises:
            DesignError: "multi_split", whose limits belong to one of its splits.
        """
        from .clopper_pearson import upper_limit

        if self.method == "multi_split":
            raise DesignError(
                'method "multi_split" is proven for mu and for one (epsilon, delta), not for other '
                'curves; use "band" or "split"'
            )
        fpr, fnr = np.array([self.fpr_upper]), np.array([self.fnr_upper])
        if self.method == "band" and self.roc:  # every threshold is paid for
            fp, tp = np.asarray(self.roc, dtype=np.int64).T
            fpr = np.append(fpr, upper_limit(fp, self.n_out, self.rate_level))
            fnr = np.append(fnr, upper_limit(self.n_in - tp, self.n_in, self.rate_level))
        allowed = curve.fnr(fpr)
        at = int(np.argmax(allowed - fnr))
        if not fnr[at] < allowed[at]:
            return None
        return float(fpr[at]), float(1.0 - fnr[at]), float(1.0 - allowed[at])

    def __repr__(self) -> str:
        def four(counts: Counts) -> str:
            return f"(tp={counts.tp}, fn={counts.fn}, fp={counts.fp}, tn={counts.tn})"

        return (
            f"EmpiricalBound(mu >= {self.mu_lower:.6g} at {four(self.counts_mu)}, "
            f"epsilon >= {self.epsilon_lower:.6g} at delta={self.delta:g} at "
            f"{four(self.counts_epsilon)}, confidence={self.confidence:g}, {self.guarantee}, "
            f"method={self.method}, rate_level={self.rate_level:.7g}, unit={self.unit}, "
            f"adjacency={self.adjacency})"
        )

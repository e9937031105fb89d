"""How often a reconstruction succeeds, against the best attacker who has only the prior."""

from dataclasses import dataclass

from ...accountant import check, gaussian
from ...accountant.adjacency import Adjacency, Unit, same_terms
from ...accountant.claim import PrivacyClaim
from ...accountant.errors import ParameterError
from .bound import Guarantee
from .clopper_pearson import epsilon_from_limits, lower_limit, mu_from_limits, risk, upper_limit
from .tradeoff import TradeOff


@dataclass(frozen=True, kw_only=True)
class ReconstructionBound:
    """What the rate of successful reconstructions says about epsilon and mu.

    Attributes:
        method: "reconstruction".
        guarantee: "exact", if the trials are independent.
        confidence: in (0, 1), of both limits together.
        adjacency: how the worlds differ; of a record drawn from the prior.
        unit: whose data is reconstructed.
        delta: where the epsilons are stated.
        hits: successful reconstructions; trials: of how many.
        trials: reconstructions that were tried.
        success_lower: lower limit of their rate.
        kappa_upper: upper limit of the success of the data-free attacker, on trials of its own.
        epsilon_lower: the larger of ln((success_lower - delta)/kappa_upper) and the same for
            failures, at least 0; nats.
        mu_lower: Phi^-1(success_lower) - Phi^-1(kappa_upper), at least 0.
        epsilon_lower_gaussian: `mu_lower` converted at delta, rounded down.
    """

    method: str
    guarantee: Guarantee
    confidence: float
    adjacency: Adjacency
    unit: Unit
    delta: float
    hits: int
    trials: int
    success_lower: float
    kappa_upper: float
    epsilon_lower: float
    mu_lower: float
    epsilon_lower_gaussian: float

    def refutes(self, claim: PrivacyClaim) -> bool:
        """Whether more was reconstructed than `claim` allows: success > 1 - f(kappa).

        Raises:
            ClaimError: another adjacency or unit.
        """
        same_terms(claim, self, "the reconstruction bound")
        return self.exceeds(TradeOff.of_claim(claim))

    def exceeds(self, tradeoff: TradeOff) -> bool:
        """Whether success_lower is above what `tradeoff` allows at kappa_upper."""
        return self.success_lower > float(tradeoff.tpr(self.kappa_upper)[0])


def reconstruction_bound(
    hits: int,
    trials: int,
    *,
    prior_hits: int,
    prior_trials: int,
    adjacency: Adjacency,
    unit: Unit = "example",
    delta: float = 0.0,
    confidence: float = 0.95,
) -> ReconstructionBound:
    """The bound from independent reconstructions and independent data-free guesses.

    The data-free attacker must be the best there is: a class-typical guess beats 1/candidates, and
    too small a kappa accuses the innocent.
    Source: Balle, Cherubin & Hayes, arXiv:2201.04845; Hayes, Mahloujifar & Balle, arXiv:2302.07225.

    Args:
        hits: successful reconstructions.
        trials: how many were tried, each with its own release.
        prior_hits: successes of the data-free attacker.
        prior_trials: on how many trials of its own.
        adjacency: how the worlds differ.
        unit: whose data it is.
        delta: in [0, 1), where epsilon is stated.
        confidence: in (0, 1); each limit has half of the error.

    Raises:
        ParameterError: counts that do not fit together.

    >>> found = reconstruction_bound(400, 1000, prior_hits=50, prior_trials=1000,
    ...                              adjacency="replace-one")
    >>> round(found.mu_lower, 4), round(found.epsilon_lower, 4)
    (1.1778, 1.7317)
    """
    check.count(trials=trials, prior_trials=prior_trials)
    check.probability(delta=delta)
    if not (0 <= hits <= trials and 0 <= prior_hits <= prior_trials):
        raise ParameterError(
            f"hits must lie in 0..trials, but are {hits} of {trials} and "
            f"{prior_hits} of {prior_trials}"
        )
    level = risk(confidence) / 2.0
    success = float(lower_limit(hits, trials, level))
    kappa = float(upper_limit(prior_hits, prior_trials, level))
    miss = float(upper_limit(trials - hits, trials, level))
    mu = max(0.0, float(mu_from_limits(kappa, miss)))
    return ReconstructionBound(
        method="reconstruction",
        guarantee="exact",
        confidence=confidence,
        adjacency=adjacency,
        unit=unit,
        delta=delta,
        hits=hits,
        trials=trials,
        success_lower=success,
        kappa_upper=kappa,
        epsilon_lower=max(0.0, float(epsilon_from_limits(kappa, miss, delta))),
        mu_lower=mu,
        epsilon_lower_gaussian=gaussian.epsilon_interval(delta, mu=mu)[0] if mu > 0.0 else 0.0,
    )


def ceiling(kappa: float, tradeoff: TradeOff) -> float:
    """The most that any reconstruction can succeed: 1 - f(kappa), rounded up.

    >>> round(ceiling(0.05, TradeOff.gaussian(0.8)), 9), round(ceiling(
    ...     0.05, TradeOff.point(1.0, 0.0)), 9)
    (0.199096284, 0.135914091)
    """
    check.probability(kappa=kappa)
    return float(tradeoff.tpr(kappa)[0])

"""What the canaries of one run, or guesses one by one, could show, before any score is seen.

The scores are taken to be as good as any: N(0, 1) without and N(mu, 1) with the canary, which do
not disturb each other. A real training is noisier, so this is what a good audit finds.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import binom

from ...accountant import check, gaussian
from ...accountant.claim import PrivacyClaim
from .clopper_pearson import risk
from .e_process import EProcess
from .estimate import claim_delta
from .guess_count import one_run_epsilon
from .one_run_fdp import one_run_refutes
from .power import LARGEST_MU, RefutablePower, claim_mu
from .tradeoff import TradeOff

_SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)


def one_run_power(
    canaries: int,
    claim: PrivacyClaim,
    *,
    confidence: float = 0.95,
    method: str = "one_run_fdp",
    probability: float = 0.9,
) -> RefutablePower:
    """The smallest mu that one run with so many canaries refutes with `probability`.

    Half of them choose how many to guess, the other half gives the bound. Approximate: right
    guesses are binomial, at the best number of guesses out of nine.

    Args:
        canaries: m, both included and left out.
        claim: what is to be refuted.
        confidence: in (0, 1).
        method: "one_run_fdp" or "guess_count".
        probability: of refuting.

    Raises:
        ParameterError: a number outside its range.

    >>> claim = PrivacyClaim(mu=0.5, adjacency="add-remove", unit="example")
    >>> found = one_run_power(2000, claim)
    >>> 1.5 < found.multiple < 4.0, found.how
    (True, 'approximate')
    """
    check.count(canaries=canaries)
    check.open_probability(confidence=confidence, probability=probability)
    curve, bounding = TradeOff.of_claim(claim), max(1, canaries - canaries // 2)

    def refuted(mu: float) -> bool:
        for share in _SHARES:
            guesses = max(2, round(share * bounding))
            right = int(binom.ppf(1.0 - probability, guesses, _precision(mu, guesses / bounding)))
            if method == "guess_count":
                epsilon, delta = claim.epsilon, claim.delta
                if epsilon is None or delta is None:
                    delta = claim_delta(claim)
                    epsilon = gaussian.epsilon_interval(delta, mu=max(claim_mu(claim), 1e-6))[1]
                found = one_run_epsilon(
                    canaries=bounding,
                    guesses=guesses,
                    correct=right,
                    delta=delta,
                    alpha=risk(confidence),
                )
                if found > epsilon:
                    return True
            elif one_run_refutes(
                curve, canaries=bounding, guesses=guesses, correct=right, confidence=confidence
            ):
                return True
        return False

    return _smallest(refuted, claim, probability)


def e_process_power(
    trials: int, claim: PrivacyClaim, *, confidence: float = 0.95, probability: float = 0.9
) -> RefutablePower:
    """The smallest mu that `trials` guesses of an e-process refute at their end.

    Approximate: every guess is made by the best threshold, which has yet to be learnt.

    >>> claim = PrivacyClaim(mu=0.5, adjacency="add-remove", unit="example")
    >>> 1.5 < e_process_power(2000, claim).multiple < 2.0
    True
    """
    check.count(trials=trials)
    check.open_probability(confidence=confidence, probability=probability)
    curve = TradeOff.of_claim(claim)

    def refuted(mu: float) -> bool:
        right = int(binom.ppf(1.0 - probability, trials, ndtr(0.5 * mu)))
        process = EProcess(delta=claim_delta(claim), confidence=confidence)
        process.add(right=right, wrong=trials - right)
        return process.refutes(curve)

    return _smallest(refuted, claim, probability)


def _smallest(
    refuted: Callable[[float], bool], claim: PrivacyClaim, probability: float
) -> RefutablePower:
    claimed, delta = claim_mu(claim), claim_delta(claim)
    low, high = claimed, LARGEST_MU
    if refuted(high):
        while high - low > 5e-3 * high:
            middle = math.sqrt(max(low, 1e-3) * high) if low < 0.5 * high else 0.5 * (low + high)
            low, high = (low, middle) if refuted(middle) else (middle, high)
    else:
        high = math.inf
    return RefutablePower(
        mu=high,
        multiple=high / claimed if claimed > 0.0 else None,
        epsilon=math.inf if high == math.inf else gaussian.epsilon_interval(delta, mu=high)[1],
        delta=delta,
        probability=probability,
        how="approximate",
    )


def _precision(mu: float, share: float) -> float:
    """Chance that a guess is right if the highest and the lowest share/2 are guessed."""
    if share >= 1.0:
        return float(ndtr(0.5 * mu))

    def excess(cut: float) -> float:
        return float(0.5 * (ndtr(-cut) + ndtr(mu - cut)) - 0.5 * share)

    cut = float(brentq(excess, 0.5 * mu - 1e-9, mu + 40.0))
    return float(min(1.0, ndtr(mu - cut) / np.maximum(share, 1e-300)))

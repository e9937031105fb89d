"""What the canaries of one run, or guesses one by one, could show, before any score is seen.

The scores are taken to be as good as any: N(0, 1) without and N(mu, 1) with the canary, which do
not disturb each other. A real training is noisier, so this is what a good audit finds.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import binom

from ...accountant import check, gaussian
from ...accountant.claim import PrivacyClaim
from ...attacks.scores import Scores
from .clopper_pearson import risk
from .e_process import EProcess
from .estimate import claim_delta
from .guess_count import one_run_epsilon
from .one_run_fdp import one_run_refutes
from .power import LARGEST_MU, RefutablePower, claim_mu
from .refute import guesses_refute
from .tradeoff import TradeOff

_LEARNT = 0.6  # part of the trials that count as guessed by the best attack
_RUNS = 40
_NOISE = 0.3  # of the guesses' own spread, for choosing their number on the other half
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

    Half of them choose how many to guess, the other half gives the bound. First approximate (right
    guesses are binomial, at the best number of guesses out of nine), then, for "one_run_fdp",
    raised until 40 simulated runs agree.

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
    (True, '40 simulated runs')
    """
    check.count(canaries=canaries)
    check.open_probability(confidence=confidence, probability=probability)
    curve, bounding = TradeOff.of_claim(claim), max(1, canaries - canaries // 2)

    def refuted(mu: float) -> bool:
        for share in _SHARES:
            guesses = max(2, round(share * bounding))
            rate = _precision(mu, guesses / bounding)
            right = int(binom.ppf(1.0 - probability, guesses, rate))
            # the number of guesses is chosen by chance: a worse one costs about so many
            right -= math.ceil(_NOISE * math.sqrt(guesses * rate * (1.0 - rate)) + 1.0)
            if right <= 0:
                continue
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

    found = _smallest(refuted, claim, probability)
    if method == "guess_count":
        return found
    return _simulated(found, canaries, claim, curve, confidence, probability)


def _simulated(
    found: RefutablePower,
    canaries: int,
    claim: PrivacyClaim,
    curve: TradeOff,
    confidence: float,
    probability: float,
) -> RefutablePower:
    """A larger mu, if the one found is refuted too rarely in simulated runs; the same each time."""
    mu, goal = found.mu, probability * _RUNS
    while mu < LARGEST_MU and _refuted_runs(mu, canaries, curve, confidence) < goal:
        mu *= 1.1
    mu = math.inf if mu >= LARGEST_MU else mu
    claimed = claim_mu(claim)
    return replace(
        found,
        mu=mu,
        multiple=mu / claimed if claimed > 0.0 else None,
        epsilon=math.inf if mu == math.inf else gaussian.epsilon_interval(found.delta, mu=mu)[1],
        how=f"{_RUNS} simulated runs",
    )


def _refuted_runs(mu: float, canaries: int, curve: TradeOff, confidence: float) -> int:
    hits = 0
    for run in range(_RUNS):
        generator = np.random.default_rng([run, canaries])
        included = generator.random(canaries) < 0.5
        values = generator.normal(size=canaries) + mu * included
        if not 0 < included.sum() < canaries:
            continue
        scores = Scores(
            values_in=values[included],
            values_out=values[~included],
            design="one_run",
            adversary="outsider",
            attack="as good as any",
            adjacency="add-remove",
        )
        hits += guesses_refute(curve, scores, confidence=confidence, seed=run)
    return hits


def e_process_power(
    trials: int, claim: PrivacyClaim, *, confidence: float = 0.95, probability: float = 0.9
) -> RefutablePower:
    """The smallest mu that `trials` guesses of an e-process refute at their end.

    Approximate: three in five guesses count as made by the best threshold, which has yet to be
    learnt.

    >>> claim = PrivacyClaim(mu=0.5, adjacency="add-remove", unit="example")
    >>> 1.5 < e_process_power(2000, claim).multiple < 2.0
    True
    """
    check.count(trials=trials)
    check.open_probability(confidence=confidence, probability=probability)
    curve, useful = TradeOff.of_claim(claim), max(1, int(_LEARNT * trials))

    def refuted(rate: float) -> bool:
        right = int(binom.ppf(1.0 - probability, useful, rate))
        process = EProcess(delta=claim_delta(claim), confidence=confidence)
        process.add(right=right, wrong=useful - right)
        return process.refutes(curve)

    found = _smallest(lambda mu: refuted(float(ndtr(0.5 * mu))), claim, probability)
    return _of_pure(found, claim, lambda epsilon: refuted(1.0 / (1.0 + math.exp(-epsilon))))


def _of_pure(
    found: RefutablePower, claim: PrivacyClaim, refuted: Callable[[float], bool]
) -> RefutablePower:
    """For a claim of delta = 0 the multiple is of epsilon: randomised response is the truth."""
    if claim.epsilon is None or claim.delta != 0.0 or claim.epsilon == 0.0:
        return found
    low, high = 1.0, 2.0
    while not refuted(high * claim.epsilon):
        low, high = high, 2.0 * high
        if high * claim.epsilon > 60.0:
            return replace(found, multiple=math.inf)
    while high - low > 5e-3 * high:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if refuted(middle * claim.epsilon) else (middle, high)
    return replace(found, multiple=high)


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

import math

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from privassay.accountant import gaussian
from privassay.accountant.errors import ClaimError, DesignError
from privassay.audit_reports.estimators.one_run_fdp import (
    one_run_fdp_bound,
    one_run_fdp_epsilon,
    one_run_mu,
    one_run_refutes,
)
from privassay.audit_reports.estimators.refute import guesses_refute
from privassay.audit_reports.estimators.tradeoff import TradeOff

OPTIONS = {"confidence": 0.95, "delta": 1e-5}


def published(inverse, m, guesses, correct, tau):
    """The recursion as printed, to the end, no early exit and no rounding."""
    h, r = tau * (guesses - correct) / m, tau * correct / m
    for i in range(correct - 1, -1, -1):
        new = max(h, inverse(r))
        r += i / (guesses - i) * (new - h)
        h = new
    return r + h > guesses / m


@pytest.mark.parametrize(
    ("m", "guesses", "correct", "mu", "epsilon"),
    [
        (2000, 300, 240, 0.43817453, 1.7205459),
        (500, 500, 300, 0.14742453, 0.52002282),
        (2000, 300, 150, 0.0, 0.0),
        (10**3, 100, 90, 0.602504, None),
        (10**5, 10**4, 9000, 0.678473, None),
    ],
)
def test_known_values(m, guesses, correct, mu, epsilon):
    found = one_run_mu(canaries=m, guesses=guesses, correct=correct, alpha=0.05)
    digits = len(str(mu).partition(".")[2])
    assert found == pytest.approx(mu, abs=0.51 * 10.0**-digits)
    if epsilon is not None:
        digits = len(str(epsilon).partition(".")[2])
        converted = gaussian.epsilon_interval(1e-5, mu=found)[0]
        assert converted == pytest.approx(epsilon, abs=0.51 * 10.0**-digits)


def test_early_exits_change_nothing():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(150):
        guesses = int(rng.integers(1, 200))
        correct = int(rng.integers(guesses // 2, guesses + 1))
        m = guesses + int(rng.integers(0, 300))
        mu, tau = float(rng.exponential(0.4)), float(rng.choice([0.01, 0.05, 0.2]))
        slow = published(lambda x, mu=mu: float(ndtr(ndtri(x) - mu)), m, guesses, correct, tau)
        fast = one_run_refutes(
            TradeOff.gaussian(mu),
            canaries=m,
            guesses=guesses,
            correct=correct,
            confidence=1.0 - tau,
        )
        assert fast == slow
        seen.add(slow)
    assert seen == {True, False}


def test_lines_of_a_curve_refute_no_more_than_the_curve():
    """Lines lie below the curve, so they are a weaker claim, but hardly."""
    for correct in range(170, 290, 6):
        counts = {"canaries": 1000, "guesses": 300, "correct": correct}
        mu = one_run_mu(alpha=0.05, **counts)
        if mu == 0.0:
            continue
        for factor, expected in ((1.01, False), (0.97, True)):
            curve = TradeOff.gaussian(mu * factor)
            lines = TradeOff(curve.epsilon, curve.delta_remove, curve.delta_add)
            assert one_run_refutes(curve, **counts) == expected
            assert one_run_refutes(lines, **counts) == expected


def test_epsilon_of_a_point_is_the_largest_that_is_refuted():
    for correct, delta in ((240, 0.0), (240, 1e-5), (300, 1e-3), (200, 1e-2)):
        counts = {"canaries": 2000, "guesses": 300, "correct": correct}
        found = one_run_fdp_epsilon(delta=delta, alpha=0.05, **counts)
        if found > 0.0:
            assert one_run_refutes(TradeOff.point(found, delta), **counts)
        assert not one_run_refutes(TradeOff.point(found + 1e-6, delta), **counts)


def test_more_right_guesses_prove_more():
    found = [one_run_mu(canaries=400, guesses=200, correct=c, alpha=0.05) for c in range(201)]
    assert found == sorted(found) and found[100] == 0.0 and found[-1] > 1.0


def test_nothing_is_refuted_without_a_surplus():
    for counts in ((1, 1, 1), (1, 1, 0), (10, 10, 5), (100, 50, 30)):
        m, guesses, correct = counts
        assert one_run_mu(canaries=m, guesses=guesses, correct=correct, alpha=0.05) == 0.0


def test_randomised_response_is_covered():
    """Each guess right with e/(1 + e), the most that pure epsilon = 1 allows."""
    q = math.e / (1.0 + math.e)
    wrong = sum(
        float(binom.pmf(c, 100, q))
        for c in range(101)
        if one_run_fdp_epsilon(delta=0.0, canaries=100, guesses=100, correct=c, alpha=0.05) > 1.0
    )
    assert wrong <= 0.05, wrong


def test_the_best_attack_on_a_gaussian_is_covered():
    """Guesses about all canaries, right with Phi(1/2): mu = 1 is never refuted with 5 %."""
    q = float(ndtr(0.5))
    wrong = sum(
        float(binom.pmf(c, 200, q))
        for c in range(201)
        if one_run_mu(canaries=200, guesses=200, correct=c, alpha=0.05) > 1.0
    )
    assert wrong <= 0.05, wrong


def test_bound_and_its_claims(make_scores, make_claim):
    rng = np.random.default_rng(1)
    scores = make_scores(rng.normal(2, 1, 1000), rng.normal(size=1000), design="one_run")
    found = one_run_fdp_bound(scores, **OPTIONS)
    assert found.canaries == 1000 and found.guarantee == "exact"
    assert 0.8 < found.mu_lower < 2.0 and found.mu_lower < found.ceiling_mu
    assert found.epsilon_lower_gaussian == gaussian.epsilon_interval(1e-5, mu=found.mu_lower)[0]
    assert found.refutes(make_claim(mu=0.5)) and not found.refutes(make_claim(mu=2.0))
    assert found.refutes(make_claim(epsilon=1.0, delta=1e-5))
    with pytest.raises(ClaimError, match="delta"):
        found.refutes(make_claim(epsilon=1.0, delta=1e-6))
    with pytest.raises(ClaimError, match="unit|client"):
        found.refutes(make_claim(mu=0.5, unit="client"))
    assert guesses_refute(TradeOff.gaussian(0.5), scores)
    assert not guesses_refute(TradeOff.gaussian(2.0), scores)


def test_constant_scores_and_single_trials_give_zero(make_scores):
    for scores in (
        make_scores([2.0] * 99, [2.0] * 99, design="one_run"),
        make_scores([1.0], [0.0], design="one_run"),
        make_scores([1.0], [0.0]),
    ):
        found = one_run_fdp_bound(scores, **OPTIONS)
        assert found.mu_lower == found.epsilon_lower == found.epsilon_lower_gaussian == 0.0


@pytest.mark.parametrize("design", ["per_round", "sequential"])
def test_other_designs_raise(make_scores, design):
    with pytest.raises(DesignError, match="e_process"):
        one_run_fdp_bound(make_scores([1.0], [0.0], design=design), **OPTIONS)

"""What is no bound: Bayesian, cosine, bootstrap; and reconstruction, which is one."""

import math

import mpmath
import numpy as np
import pytest
from scipy.integrate import quad

from privassay.accountant.errors import ClaimError, DesignError, ParameterError
from privassay.audit_reports.estimators.auc import auc
from privassay.audit_reports.estimators.bayesian import (
    bayesian_interval,
    credible_epsilon,
    posterior_mass,
)
from privassay.audit_reports.estimators.bootstrap import describe, tpr_at
from privassay.audit_reports.estimators.bound import Counts
from privassay.audit_reports.estimators.cosine import (
    cosine_estimate,
    normal_delta,
    normal_epsilon,
)
from privassay.audit_reports.estimators.reconstruction import ceiling, reconstruction_bound
from privassay.audit_reports.estimators.tradeoff import TradeOff

COUNTS = Counts(tp=300, fn=200, fp=20, tn=480)


def test_bayesian_known_values():
    low, high = credible_epsilon(COUNTS, delta=1e-5, confidence=0.9)
    assert low == pytest.approx(2.35746, abs=5.1e-6)
    assert high == pytest.approx(3.08676, abs=5.1e-6)


@pytest.mark.parametrize(
    "counts",
    [
        COUNTS,
        Counts(tp=9, fn=1, fp=0, tn=10),
        Counts(tp=0, fn=5, fp=3, tn=2),
        Counts(tp=5000, fn=0, fp=2, tn=4998),
    ],
)
def test_posterior_mass_against_draws(counts):
    rng = np.random.default_rng(0)
    fnr = rng.beta(0.5 + counts.fn, 0.5 + counts.tp, 200_000)
    fpr = rng.beta(0.5 + counts.fp, 0.5 + counts.tn, 200_000)
    for epsilon in (0.0, 0.5, 2.0, 5.0, 9.0):
        for delta in (0.0, 0.05):
            grown = math.exp(epsilon)
            inside = (
                (fnr + grown * fpr >= 1 - delta)
                & (grown * fnr + fpr >= 1 - delta)
                & ((1 - fnr) + grown * (1 - fpr) >= 1 - delta)
                & (grown * (1 - fnr) + (1 - fpr) >= 1 - delta)
            ).mean()
            found = posterior_mass(epsilon, counts, delta)
            assert found == pytest.approx(inside, abs=0.006), (epsilon, delta)


def test_bayesian_refutes_nothing(make_scores, make_claim):
    scores = make_scores([1.0] * 300 + [0.0] * 200, [1.0] * 20 + [0.0] * 480)
    found = bayesian_interval(scores, threshold=0.5, confidence=0.9, delta=1e-5)
    assert found.counts == COUNTS and found.guarantee == "Bayesian"
    with pytest.raises(ClaimError, match="clopper_pearson"):
        found.refutes(make_claim(mu=0.1))
    with pytest.raises(DesignError):
        bayesian_interval(
            make_scores([1.0], [0.0], design="one_run"), threshold=0.5, confidence=0.9, delta=0.0
        )


@pytest.mark.parametrize(
    ("fit", "expected"), [((0.03, 0.021), 8.193598602), ((0.01, 0.018), 4.333204609)]
)
def test_cosine_known_values(fit, expected):
    assert normal_epsilon(1e-5, (0.0, 0.02), fit) == pytest.approx(expected, abs=5.1e-10)


def test_normal_delta_is_its_integral():
    for first, second, epsilon in (
        ((0.0, 1.0), (1.0, 1.0), 1.0),
        ((0.0, 1.0), (0.5, 1.4), 0.3),
        ((0.0, 1.0), (0.5, 0.6), 0.3),
        ((0.0, 1.0), (0.0, 2.0), 0.2),
        ((2.0, 0.1), (2.1, 0.3), 0.5),
    ):

        def gap(x, first=first, second=second, epsilon=epsilon):
            def density(normal):
                return math.exp(-0.5 * ((x - normal[0]) / normal[1]) ** 2) / normal[1]

            return max(0.0, density(first) - math.exp(epsilon) * density(second))

        middle, width = first[0], 12.0 * max(first[1], second[1])
        slow = quad(gap, middle - width, middle + width, limit=2000, points=[middle])[0]
        found = normal_delta(epsilon, first, second)
        assert found == pytest.approx(slow / math.sqrt(2 * math.pi), abs=1e-6)


def test_cosine_is_an_estimate(make_claim):
    rng = np.random.default_rng(1)
    values = rng.normal(0.03, 0.021, 1000)
    found = cosine_estimate(values, dimension=2500, delta=1e-5, adjacency="add-remove")
    assert found.guarantee == "asymptotic"
    assert 7.0 < found.epsilon_estimate < 9.5
    assert 0.7 * found.epsilon_estimate < found.epsilon_low < found.epsilon_estimate
    with pytest.raises(ClaimError, match="cannot refute"):
        found.refutes(make_claim(mu=0.1))
    null = rng.normal(0.0, 0.02, 4000)
    other = cosine_estimate(values, dimension=1, delta=1e-5, adjacency="add-remove", null=null)
    assert other.epsilon_estimate == pytest.approx(found.epsilon_estimate, abs=1.0)


def test_cosine_of_nothing_is_near_zero():
    rng = np.random.default_rng(2)
    low = [
        cosine_estimate(
            rng.normal(0.0, 0.02, 300), dimension=2500, delta=1e-5, adjacency="add-remove"
        ).epsilon_low
        for _ in range(40)
    ]
    assert sum(e > 0.05 for e in low) <= 9


@pytest.mark.parametrize("bad", [[0.1], [0.1, math.nan], [0.1, 0.1]])
def test_cosines_that_cannot_be_fitted_raise(bad):
    with pytest.raises(DesignError):
        cosine_estimate(bad, dimension=10, delta=1e-5, adjacency="add-remove")


def test_reconstruction_ceilings():
    assert ceiling(0.05, TradeOff.gaussian(0.8)) == pytest.approx(0.199096284, abs=5.1e-10)
    assert ceiling(0.05, TradeOff.point(1.0, 0.0)) == pytest.approx(0.135914091, abs=5.1e-10)
    assert ceiling(1e-3, TradeOff.gaussian(3.0)) == pytest.approx(0.464051306, abs=5.1e-10)
    with mpmath.workdps(30):
        z = mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(0.05) - 1)
        assert ceiling(0.05, TradeOff.gaussian(0.8)) >= mpmath.ncdf(z + mpmath.mpf(0.8))


def test_reconstruction_is_covered_at_its_ceiling(make_claim):
    rng = np.random.default_rng(3)
    top, claim = ceiling(0.05, TradeOff.gaussian(0.8)), make_claim(mu=0.8)
    found = [
        reconstruction_bound(
            int(rng.binomial(400, top)),
            400,
            prior_hits=int(rng.binomial(400, 0.05)),
            prior_trials=400,
            adjacency="add-remove",
        )
        for _ in range(400)
    ]
    assert sum(b.mu_lower > 0.8 for b in found) <= 38
    assert sum(b.refutes(claim) for b in found) <= 38
    assert all(b.refutes(claim) == (b.mu_lower > 0.8) for b in found)
    assert np.median([b.mu_lower for b in found]) > 0.3


def test_reconstruction_edges(make_claim):
    for hits, prior in ((0, 0), (0, 5), (5, 5)):
        found = reconstruction_bound(
            hits, 5, prior_hits=prior, prior_trials=5, adjacency="add-remove"
        )
        assert found.mu_lower == found.epsilon_lower == 0.0
        assert not found.refutes(make_claim(epsilon=1.0, delta=0.0))
    with pytest.raises(ParameterError, match="hits"):
        reconstruction_bound(6, 5, prior_hits=0, prior_trials=5, adjacency="add-remove")


def test_auc_and_tpr():
    rng = np.random.default_rng(4)
    a, b = rng.integers(0, 9, 60).astype(float), rng.integers(0, 9, 40).astype(float)
    slow = np.mean((a[:, None] > b) + 0.5 * (a[:, None] == b))
    assert auc(a, b) == pytest.approx(slow)
    for fpr in (0.0, 0.01, 0.1, 0.5, 1.0):
        best = max(
            [
                (a >= t).mean()
                for t in np.append(np.unique([*a, *b]), 99.0)
                if (b >= t).mean() <= fpr
            ]
        )
        assert tpr_at(a, b, fpr) == best


def test_description_has_no_epsilon(make_scores):
    rng = np.random.default_rng(5)
    scores = make_scores(rng.normal(1, 1, 300), rng.normal(size=300), design="one_run")
    for fpr in (None, 0.1):
        found = describe(scores, fpr=fpr, resamples=200)
        assert found.lower < found.value < found.upper and found.guarantee == "none"
        assert not any("epsilon" in name for name in vars(found))
        assert found == describe(scores, fpr=fpr, resamples=200)

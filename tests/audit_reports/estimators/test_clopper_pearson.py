import math

import mpmath
import numpy as np
import pytest
from scipy.special import ndtr

from privassay.accountant.errors import DesignError, ParameterError
from privassay.audit_reports.estimators.clopper_pearson import (
    epsilon_from_limits,
    fixed_threshold,
    limit_table,
    lower_limit,
    mu_from_limits,
    risk,
    thin,
    upper_limit,
)


def binomial_cdf(k, n, rate):
    terms = (mpmath.binomial(n, i) * rate**i * (1 - rate) ** (n - i) for i in range(k + 1))
    return mpmath.fsum(terms)


@pytest.mark.parametrize("level", [0.05, 0.025, 4.5e-4, 1e-9])
@pytest.mark.parametrize("n", [1, 7, 400])
def test_upper_limit_solves_the_binomial_tail_and_is_rounded_up(n, level):
    ks = sorted({0, n // 3, n - 1})
    with mpmath.workdps(50):
        for k, limit in zip(ks, upper_limit(ks, n, level), strict=True):
            exact = mpmath.mpf(float(limit))
            assert binomial_cdf(k, n, exact) <= level, f"{limit} after {k} of {n} is too low"
            below = exact * (1 - mpmath.mpf("1e-12"))
            assert binomial_cdf(k, n, below) >= level, f"{limit} after {k} of {n} is too high"
    assert upper_limit(n, n, level) == 1.0


def test_lower_limit_mirrors_the_upper_limit_and_is_rounded_down():
    k = np.arange(51)
    mirrored = 1.0 - upper_limit(50 - k, 50, 0.03)
    found = lower_limit(k, 50, 0.03)
    assert np.all(found <= mirrored) and np.allclose(found, mirrored, atol=1e-15)
    assert found[0] == 0.0


def test_table_is_monotone_and_cannot_be_changed():
    table = limit_table(1000, 5e-4)
    assert np.all(np.diff(table) >= 0) and table[-1] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 0.0


@pytest.mark.parametrize("k", [-1, 11, 2.0, [1, 12]])
def test_counts_outside_the_trials_raise(k):
    with pytest.raises(ParameterError, match="whole numbers in 0..10"):
        upper_limit(k, 10, 0.05)


@pytest.mark.parametrize(
    ("counts", "delta", "epsilon", "mu"),
    [
        ((300, 200, 20, 480), 0.0, 2.207443280, 1.68533479),
        ((300, 200, 20, 480), 1e-5, 2.207425281, 1.68533479),
        ((50, 950, 1, 999), 1e-5, 1.904269381, 0.7564915),
    ],
)
def test_regression_values(counts_scores, counts, delta, epsilon, mu):
    found = fixed_threshold(counts_scores(*counts), threshold=0.5, confidence=0.95, delta=delta)
    assert found.epsilon_lower == pytest.approx(epsilon, abs=6e-10)
    assert found.mu_lower == pytest.approx(mu, abs=6e-8)
    assert (found.counts_mu.tp, found.counts_mu.fn) == counts[:2]
    assert (found.counts_mu.fp, found.counts_mu.tn) == counts[2:]


def test_no_error_reaches_the_ceiling(counts_scores):
    scores = counts_scores(1000, 0, 0, 1000)
    found = fixed_threshold(scores, threshold=0.5, confidence=0.95, delta=0.0)
    assert found.epsilon_lower == pytest.approx(5.600588, abs=6e-7)
    assert found.epsilon_lower == found.ceiling_epsilon and found.mu_lower == found.ceiling_mu


def test_mu_and_epsilon_of_limits_are_rounded_down():
    rng = np.random.default_rng(5)
    rates = 10.0 ** rng.uniform(-6, -0.01, size=(60, 2))
    with mpmath.workdps(40):
        for fpr, fnr in rates:
            exact = [
                mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * mpmath.mpf(float(p))) for p in (fpr, fnr)
            ]
            mu = float(mu_from_limits(fpr, fnr))
            assert mu <= sum(exact) and sum(exact) - mu < 1e-11
            gain = (1 - mpmath.mpf(float(fnr)) - mpmath.mpf("1e-5"), float(fpr))
            back = (1 - mpmath.mpf(float(fpr)) - mpmath.mpf("1e-5"), float(fnr))
            truth = max(mpmath.log(a / b) for a, b in (gain, back) if a > 0)
            epsilon = float(epsilon_from_limits(fpr, fnr, 1e-5))
            assert epsilon <= truth and truth - epsilon < 1e-9


def test_limits_of_one_give_nothing():
    assert mu_from_limits(1.0, 0.1) == -math.inf
    assert epsilon_from_limits(1.0, 1.0, 0.0) < 0.0


def test_risk_is_decimal():
    assert risk(0.95) == 0.05 and risk(0.999) == 0.001
    with pytest.raises(ParameterError, match="confidence"):
        risk(1.0)


def test_validity_at_a_fixed_threshold(counts_scores):
    """Each of the two limits may fail with alpha/2, so mu fails with less than alpha."""
    rng = np.random.default_rng(11)
    n, mu, cut, audits = 1000, 1.0, 1.5, 4000
    fn = rng.binomial(n, ndtr(cut - mu), audits)
    fp = rng.binomial(n, ndtr(-cut), audits)
    table = limit_table(n, 0.025)
    for side, truth in ((fn, ndtr(cut - mu)), (fp, ndtr(-cut))):
        misses = int(np.sum(table[side] < truth))
        assert 40 <= misses <= 133, f"{misses}/{audits} limits below {truth:.3f}"  # .025: 100
    found = mu_from_limits(table[fp], table[fn])
    assert np.mean(found > mu) <= 0.05
    assert np.median(found) > 0.75 * mu
    truth = math.log((ndtr(mu - cut) - 1e-5) / ndtr(-cut))
    assert np.mean(epsilon_from_limits(table[fp], table[fn], 1e-5) > truth) <= 0.05


def test_roc_is_thinned_denser_at_low_fp():
    tp = np.arange(1, 5001)
    points = thin(tp, tp)
    assert len(points) <= 200 and points[0] == (1, 1) and points[-1] == (5000, 5000)
    assert sum(fp < 500 for fp, _ in points) > 60
    assert len(thin(tp[:150], tp[:150])) == 150


def test_a_threshold_must_be_a_number(counts_scores):
    with pytest.raises(ParameterError, match="threshold"):
        fixed_threshold(counts_scores(5, 5, 5, 5), threshold=math.nan, confidence=0.95, delta=0.0)


def test_fixed_threshold_checks_the_design(make_scores):
    scores = make_scores([1.0], [0.0], design="one_run")
    with pytest.raises(DesignError, match="one_run"):
        fixed_threshold(scores, threshold=0.5, confidence=0.95, delta=0.0)

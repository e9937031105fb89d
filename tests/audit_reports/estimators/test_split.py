import math

import numpy as np
import pytest
from scipy.special import ndtr

from privassay.accountant.errors import DesignError, ParameterError
from privassay.audit_reports.estimators.split import split_bound


def run(make_scores, shift, noise, repeats, n=1000, criterion="mu", delta=1e-5):
    rng = np.random.default_rng(21)
    draw = getattr(rng, noise)
    return [
        split_bound(
            make_scores(draw(shift, 1.0, n), draw(0.0, 1.0, n)),
            confidence=0.95,
            delta=delta,
            seed=repeat,
            criterion=criterion,
        )
        for repeat in range(repeats)
    ]


def threshold(bound):
    return float(bound.threshold_from.rsplit(", ", 1)[1])


def test_mu_and_epsilon_are_covered_at_their_threshold(make_scores):
    """Each limit fails with .025, so either bound fails with at most .05; Gaussian, mu = 1."""
    found = run(make_scores, 1.0, "normal", 600)
    misses = sum(b.mu_lower > 1.0 for b in found)
    assert misses <= 48, f"{misses}/600"  # binomial(600, .05), 99.9 % point
    above = 0
    for b in found:
        cut = threshold(b)
        ways = (
            (ndtr(1.0 - cut) - 1e-5) / ndtr(-cut),
            (ndtr(cut) - 1e-5) / ndtr(cut - 1.0),
        )
        above += b.epsilon_lower > math.log(max(ways))
    assert above <= 48, f"{above}/600"
    assert np.median([b.mu_lower for b in found]) > 0.65


def test_the_limits_miss_as_often_as_they_may(make_scores):
    """Sharper than the bound itself: .025 for the rate behind each limit."""
    found = run(make_scores, 1.0, "normal", 1000)
    low = sum(b.fpr_upper < ndtr(-threshold(b)) for b in found)
    assert 9 <= low <= 42, f"{low}/1000"  # binomial(1000, .025), 99.9 % interval
    low = sum(b.fnr_upper < ndtr(threshold(b) - 1.0) for b in found)
    assert 9 <= low <= 42, f"{low}/1000"


def test_laplace_is_covered(make_scores):
    found = run(make_scores, 1.0, "laplace", 400, criterion="epsilon", delta=0.0)
    values = np.array([b.epsilon_lower for b in found])
    assert np.sum(values > 1.0) <= 35 and np.median(values) > 0.5


@pytest.mark.parametrize("criterion", ["mu", "epsilon"])
def test_pure_noise_is_not_accused(make_scores, criterion):
    found = run(make_scores, 0.0, "normal", 600, criterion=criterion, delta=0.0)
    assert sum(b.mu_lower > 0.0 for b in found) <= 48
    assert sum(b.epsilon_lower > 0.0 for b in found) <= 48


def test_the_seed_halves_and_nothing_else(make_scores):
    rng = np.random.default_rng(1)
    values_in, values_out = rng.normal(1, 1, 301), rng.normal(size=200)
    scores = make_scores(values_in, values_out)
    options = {"confidence": 0.95, "delta": 1e-5}
    assert split_bound(scores, seed=3, **options) == split_bound(scores, seed=3, **options)
    assert split_bound(scores, seed=3, **options) != split_bound(scores, seed=4, **options)
    found = split_bound(scores, **options)
    assert (found.n_in, found.n_out) == (151, 100)
    assert found.counts_mu == found.counts_epsilon and found.rate_level == 0.025
    assert "seed 0" in found.threshold_from and "150 + 100" in found.threshold_from


def test_sorted_trials_do_not_matter(make_scores):
    """Halving by order would compare the low half with the high half."""
    rng = np.random.default_rng(6)
    values_in, values_out = np.sort(rng.normal(1, 1, 2000)), np.sort(rng.normal(size=2000))
    found = split_bound(make_scores(values_in, values_out), confidence=0.95, delta=1e-5)
    assert 0.5 < found.mu_lower < 1.0


def test_separation_reaches_the_ceiling(make_scores):
    scores = make_scores([1.0] * 2000, [0.0] * 2000)
    found = split_bound(scores, confidence=0.95, delta=0.0)
    assert found.epsilon_lower == found.ceiling_epsilon == pytest.approx(5.600588, abs=6e-7)


def test_constant_scores_give_zero(make_scores):
    found = split_bound(make_scores([0.0] * 9, [0.0] * 9), confidence=0.95, delta=0.0)
    assert found.mu_lower == found.epsilon_lower == 0.0


def test_wrong_input_raises(make_scores):
    options = {"confidence": 0.95, "delta": 0.0}
    with pytest.raises(DesignError, match="at least 2"):
        split_bound(make_scores([1.0], [0.0, 0.0]), **options)
    with pytest.raises(DesignError, match="sequential"):
        split_bound(make_scores([1.0], [0.0], design="sequential"), **options)
    with pytest.raises(ParameterError, match="seed"):
        split_bound(make_scores([1.0] * 4, [0.0] * 4), seed=-1, **options)
    with pytest.raises(ParameterError, match="criterion"):
        split_bound(make_scores([1.0] * 4, [0.0] * 4), criterion="best", **options)

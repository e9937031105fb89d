"""DKW, many splits, and what they cost beside the exact band."""

import math

import numpy as np
import pytest

from privassay.accountant.errors import DesignError, ParameterError
from privassay.audit_reports.estimators.band import band_bound
from privassay.audit_reports.estimators.dkw import dkw_bound, half_width
from privassay.audit_reports.estimators.multi_split import multi_split_bound
from privassay.audit_reports.estimators.split import split_bound

OPTIONS = {"confidence": 0.95, "delta": 1e-5}


def test_dkw_by_hand(make_scores):
    scores = make_scores([1.0] * 80 + [0.0] * 20, [1.0] * 10 + [0.0] * 190)
    found = dkw_bound(scores, **OPTIONS)
    fpr, fnr = 0.05 + half_width(200, 0.025), 0.2 + half_width(100, 0.025)
    assert half_width(200, 0.025) == pytest.approx(math.sqrt(math.log(40.0) / 400.0))
    assert found.fpr_upper == pytest.approx(fpr) and found.fnr_upper == pytest.approx(fnr)
    best = max(math.log((1 - fnr - 1e-5) / fpr), math.log((1 - fpr - 1e-5) / fnr))
    assert found.epsilon_lower == pytest.approx(best)
    assert (found.counts_mu.tp, found.counts_mu.fp) == (80, 10)
    assert found.mu_lower < found.ceiling_mu and found.epsilon_lower < found.ceiling_epsilon


def test_dkw_covers_every_threshold_at_once(make_scores):
    """Uniform out-scores: is the true rate above its limit anywhere?"""
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(1000):
        values = np.sort(rng.random(300))
        shortfall = (1.0 - values) - np.arange(300, 0, -1) / 300.0
        missed += float(shortfall.max() + 1.0 / 300.0) > half_width(300, 0.1)
    assert 60 <= missed <= 140, missed


def test_dkw_is_blind_at_low_rates_where_the_band_sees(make_scores):
    rng = np.random.default_rng(1)
    scores = make_scores(
        np.where(rng.random(2000) < 0.03, 9.0, rng.normal(size=2000)), rng.normal(size=2000)
    )
    assert dkw_bound(scores, **OPTIONS).epsilon_lower == 0.0
    assert band_bound(scores, **OPTIONS).epsilon_lower > 1.0


def test_the_median_of_many_splits(make_scores):
    rng = np.random.default_rng(2)
    scores = make_scores(rng.normal(1, 1, 400), rng.normal(size=400))
    found = multi_split_bound(scores, seed=2, splits=5, **OPTIONS)
    inner = [
        split_bound(scores, confidence=0.975, delta=1e-5, seed=10 + i).mu_lower for i in range(5)
    ]
    assert found.mu_lower == sorted(inner)[2]
    assert found.rate_level == pytest.approx(0.0125) and found.confidence == 0.95
    assert "seeds 10 to 14" in found.threshold_from


def test_many_splits_depend_less_on_the_seed(make_scores):
    rng = np.random.default_rng(3)
    scores = make_scores(rng.normal(1, 1, 500), rng.normal(size=500))
    one = [split_bound(scores, seed=s, **OPTIONS).mu_lower for s in range(30)]
    many = [multi_split_bound(scores, seed=s, **OPTIONS).mu_lower for s in range(30)]
    assert np.std(many) < 0.5 * np.std(one)


def test_many_splits_cover_mu(make_scores):
    rng = np.random.default_rng(4)
    found = [
        multi_split_bound(
            make_scores(rng.normal(1, 1, 300), rng.normal(size=300)), splits=7, **OPTIONS
        ).mu_lower
        for _ in range(150)
    ]
    assert sum(mu > 1.0 for mu in found) <= 20 and np.median(found) > 0.4


@pytest.mark.parametrize("bound", [dkw_bound, multi_split_bound])
def test_constants_give_zero_and_other_designs_raise(make_scores, bound):
    found = bound(make_scores([1.0] * 50, [1.0] * 50), **OPTIONS)
    assert found.mu_lower == found.epsilon_lower == 0.0
    with pytest.raises(DesignError, match="one_run"):
        bound(make_scores([1.0] * 9, [0.0] * 9, design="one_run"), **OPTIONS)


def test_wrong_input_raises(make_scores):
    assert dkw_bound(make_scores([1.0], [0.0]), **OPTIONS).mu_lower == 0.0
    with pytest.raises(DesignError, match="at least 2"):
        multi_split_bound(make_scores([1.0], [0.0]), **OPTIONS)
    with pytest.raises(ParameterError, match="odd"):
        multi_split_bound(make_scores([1.0] * 4, [0.0] * 4), splits=4, **OPTIONS)

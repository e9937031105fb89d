import math

import dp_accounting.dp_event as dpe
import numpy as np
import pytest

from privassay.accountant.account import account
from privassay.accountant.errors import DesignError, ParameterError
from privassay.audit_reports.estimators.clopper_pearson import upper_limit
from privassay.audit_reports.estimators.refute import refutes
from privassay.audit_reports.estimators.tradeoff import TradeOff


def test_a_gaussian_curve_is_refuted_when_mu_is(make_scores):
    from privassay.audit_reports.estimators.band import band_bound
    from privassay.audit_reports.estimators.split import split_bound

    rng, seen = np.random.default_rng(0), []
    for _ in range(5):
        scores = make_scores(rng.normal(1, 1, 500), rng.normal(size=400))
        mu = band_bound(scores, confidence=0.95, delta=1e-5).mu_lower
        assert refutes(TradeOff.gaussian(mu * (1 - 1e-6)), scores).refuted
        assert not refutes(TradeOff.gaussian(mu * (1 + 1e-6)), scores).refuted
        half = split_bound(scores, confidence=0.95, delta=1e-5, seed=3).mu_lower
        found = refutes(TradeOff.gaussian(0.5), scores, method="split", seed=3)
        seen.append(found.refuted)
        assert found.counts.n_in == 250 and found.refuted == (half > 0.5)
    assert len(set(seen)) == 2  # 0.40 is not, 0.54 and more are


def test_numbers_can_be_computed_again(make_scores):
    scores = make_scores([1.0] * 80 + [0.0] * 20, [1.0] * 10 + [0.0] * 90)
    curve = TradeOff.point(1.0, 1e-3)
    found = refutes(curve, scores, method="clopper_pearson", threshold=0.5)
    assert found.counts.tp == 80 and found.counts.fp == 10 and found.rate_level == 0.025
    assert found.fpr_upper == upper_limit(10, 100, 0.025)
    assert found.fnr_upper == upper_limit(20, 100, 0.025)
    assert found.fnr_claimed == pytest.approx(1.0 - 1e-3 - math.e * found.fpr_upper)
    assert found.refuted == (found.fnr_upper < found.fnr_claimed)


def test_a_true_curve_is_rarely_refuted_and_a_false_one_is_found(make_scores):
    """DP-SGD: scores drawn from its dominating pair, the curve of its accountant."""
    event = dpe.SelfComposedDpEvent(dpe.PoissonSampledDpEvent(0.05, dpe.GaussianDpEvent(1.0)), 50)
    claimed = TradeOff.of(account(event, adjacency="add-remove"))
    weak = dpe.SelfComposedDpEvent(dpe.PoissonSampledDpEvent(0.05, dpe.GaussianDpEvent(3.0)), 50)
    false = TradeOff.of(account(weak, adjacency="add-remove"))
    rng = np.random.default_rng(1)
    accused = {"true": 0, "false": 0}
    for _ in range(100):
        out = rng.normal(size=(600, 50))
        inside = rng.normal(size=(600, 50)) + (rng.random((600, 50)) < 0.05)
        losses = [np.log(0.95 + 0.05 * np.exp(x - 0.5)).sum(axis=1) for x in (inside, out)]
        scores = make_scores(*losses)
        accused["true"] += refutes(claimed, scores, method="split").refuted
        accused["false"] += refutes(false, scores, method="band").refuted
    assert accused["true"] <= 15 and accused["false"] >= 40, accused


def test_constants_and_single_trials_refute_nothing(make_scores):
    curve = TradeOff.gaussian(0.01)
    assert not refutes(curve, make_scores([1.0] * 50, [1.0] * 50)).refuted
    assert not refutes(curve, make_scores([1.0], [0.0])).refuted


def test_wrong_input_raises(make_scores):
    curve, scores = TradeOff.gaussian(1.0), make_scores([1.0], [0.0])
    with pytest.raises(DesignError, match="threshold="):
        refutes(curve, scores, method="clopper_pearson")
    with pytest.raises(DesignError, match="threshold="):
        refutes(curve, scores, threshold=1.0)
    with pytest.raises(DesignError, match="at least 2"):
        refutes(curve, scores, method="split")
    with pytest.raises(DesignError, match="one_run"):
        refutes(curve, make_scores([1.0], [0.0], design="one_run"))
    with pytest.raises(ParameterError, match="method"):
        refutes(curve, scores, method="best")


def test_split_keeps_to_the_threshold_of_the_other_half(make_scores):
    rng = np.random.default_rng(5)
    curve = TradeOff.gaussian(0.5)
    for seed in range(5):
        inside, outside = rng.normal(1, 1, 200), rng.normal(size=200)
        halving = np.random.default_rng(seed)
        a, b = halving.permutation(inside)[:100], halving.permutation(outside)[:100]
        cuts = np.sort(np.concatenate((a, b)))[::-1]
        fn, fp = (a < cuts[:, None]).sum(axis=1), (b >= cuts[:, None]).sum(axis=1)
        gap = curve.fnr(upper_limit(fp, 100, 0.025)) - upper_limit(fn, 100, 0.025)
        found = refutes(curve, make_scores(inside, outside), method="split", seed=seed)
        assert found.threshold == cuts[int(np.argmax(gap))]

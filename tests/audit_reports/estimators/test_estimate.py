import numpy as np
import pytest

from privassay.accountant.errors import ClaimError, DesignError, ParameterError
from privassay.audit_reports.estimators.estimate import estimate, estimate_scores


def test_method_reaches_its_estimator(make_scores, make_claim):
    rng = np.random.default_rng(0)
    scores = make_scores(rng.normal(1, 1, 400), rng.normal(size=400))
    claim = make_claim(mu=0.2)
    for method, threshold in (("band", None), ("split", None), ("clopper_pearson", 0.5)):
        found = estimate_scores(scores, claim, method=method, threshold=threshold)
        assert found.method == method and found.guarantee == "exact"
        assert found.confidence == 0.95 and found.delta == 1e-5
        assert found.refutes(claim), repr(found)
        again = estimate(
            scores.values_in,
            scores.values_out.tolist(),
            design="many_runs",
            claim=claim,
            method=method,
            threshold=threshold,
        )
        assert again == found


def test_split_chooses_by_what_the_claim_is_about(make_scores, make_claim):
    rng = np.random.default_rng(0)
    scores = make_scores(rng.normal(1, 1, 400), rng.normal(size=400))
    curve = estimate_scores(scores, make_claim(mu=1.0), method="split", seed=5)
    point = estimate_scores(scores, make_claim(epsilon=1.0, delta=1e-5), method="split", seed=5)
    assert "best mu" in curve.threshold_from and "best epsilon" in point.threshold_from
    assert "seed 5" in point.threshold_from


def test_delta_comes_from_the_claim(make_scores, make_claim):
    scores = make_scores([1.0] * 50, [0.0] * 50)
    assert estimate_scores(scores, make_claim(epsilon=1.0, delta=0.0)).delta == 0.0
    assert estimate_scores(scores, make_claim(mu=1.0, delta=1e-7)).delta == 1e-7
    assert estimate_scores(scores, make_claim(mu=1.0), delta=1e-3).delta == 1e-3


@pytest.mark.parametrize("method", ["band", "split"])
@pytest.mark.parametrize("design", ["one_run", "per_round", "sequential"])
def test_other_designs_raise(make_claim, method, design):
    with pytest.raises(DesignError, match=design):
        estimate([1.0] * 9, [0.0] * 9, design=design, claim=make_claim(mu=1.0), method=method)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_raise(make_claim, bad):
    with pytest.raises(DesignError, match="NaN or infinite"):
        estimate([1.0, bad], [0.0, 0.0], design="many_runs", claim=make_claim(mu=1.0))


@pytest.mark.parametrize("other", [{"adjacency": "replace-one"}, {"unit": "user"}])
def test_scores_for_other_terms_raise(make_scores, make_claim, other):
    with pytest.raises(ClaimError):
        estimate_scores(make_scores([1.0], [0.0], **other), make_claim(mu=1.0))


def test_a_threshold_belongs_to_clopper_pearson(make_scores, make_claim):
    scores = make_scores([1.0] * 5, [0.0] * 5)
    with pytest.raises(DesignError, match="fixed before"):
        estimate_scores(scores, make_claim(mu=1.0), method="clopper_pearson")
    with pytest.raises(DesignError, match="choose their own"):
        estimate_scores(scores, make_claim(mu=1.0), threshold=0.0)


def test_wrong_options_raise(make_scores, make_claim):
    scores = make_scores([1.0] * 5, [0.0] * 5)
    with pytest.raises(ParameterError, match="'band'"):
        estimate_scores(scores, make_claim(mu=1.0), method="bands")
    with pytest.raises(ParameterError, match="confidence"):
        estimate_scores(scores, make_claim(mu=1.0), confidence=95)
    with pytest.raises(ParameterError, match="delta"):
        estimate_scores(scores, make_claim(mu=1.0), delta=-1e-5)


def test_a_true_claim_is_rarely_refuted_and_a_false_one_is_found(make_scores, make_claim):
    """Noise at half its size: mu = 2 claimed as 1; the point test at 1e-5 is nearly blind."""
    rng = np.random.default_rng(3)
    curve = make_claim(mu=1.0)
    point = make_claim(epsilon=4.377, delta=1e-5)  # of 1-GDP
    found = {"true": 0, "false": 0, "point": 0}
    for _ in range(100):
        out = rng.normal(size=2000)
        honest, broken = (make_scores(rng.normal(mu, 1.0, 2000), out) for mu in (1.0, 2.0))
        found["true"] += estimate_scores(honest, curve).refutes(curve)
        found["false"] += estimate_scores(broken, curve).refutes(curve)
        found["point"] += estimate_scores(broken, point).refutes(point)
    assert found["true"] <= 12 and found["false"] == 100 and found["point"] <= 12, found

import dataclasses
import math

import pytest

from privassay.accountant import jsonio
from privassay.accountant.bounds import ProvenBound
from privassay.accountant.errors import ClaimError, DesignError, ParameterError, RecordError
from privassay.audit_reports.estimators.band import band_bound
from privassay.audit_reports.estimators.bound import Counts, EmpiricalBound, require_independent


@pytest.fixture
def bound(counts_scores):
    return band_bound(counts_scores(450, 50, 40, 460), confidence=0.95, delta=1e-5)


def test_counts_add_up():
    counts = Counts(tp=3, fn=2, fp=1, tn=0)
    assert (counts.n_in, counts.n_out) == (5, 1)


@pytest.mark.parametrize("wrong", [{"tp": -1}, {"fn": 1.5}, {"fp": True}, {"tp": 0, "fn": 0}])
def test_counts_that_are_none_raise(wrong):
    with pytest.raises(ParameterError):
        Counts(**{"tp": 1, "fn": 1, "fp": 1, "tn": 1, **wrong})


def test_json_round_trip(bound):
    data = jsonio.dump(bound)
    assert jsonio.load(EmpiricalBound, data) == bound
    assert data["counts_mu"] == {"tp": 450, "fn": 50, "fp": 40, "tn": 460}
    assert data["roc"] == [[40, 450], [500, 500]]
    jsonio.canonical(data)


def test_json_round_trip_with_an_infinite_epsilon(counts_scores):
    found = band_bound(counts_scores(450, 50, 40, 460), confidence=0.95, delta=0.0)
    assert found.epsilon_lower_gaussian == math.inf  # no mu > 0 is (epsilon, 0)-DP
    assert jsonio.load(EmpiricalBound, jsonio.dump(found)) == found


def test_a_damaged_record_is_refused(bound):
    data = jsonio.dump(bound)
    data["counts_mu"]["tp"] = 449
    with pytest.raises((RecordError, ParameterError), match="trials"):
        jsonio.load(EmpiricalBound, data)


def test_no_field_can_leave_its_range(bound):
    for change in ({"mu_lower": -1.0}, {"confidence": 1.0}, {"fpr_upper": 2.0}, {"guarantee": "?"}):
        with pytest.raises(ParameterError, match=next(iter(change))):
            dataclasses.replace(bound, **change)


def test_repr_is_one_line_that_can_be_checked(bound):
    text = repr(bound)
    assert "\n" not in text
    for part in ("tp=450, fn=50, fp=40, tn=460", "confidence=0.95", "exact", "band", "rate_level"):
        assert part in text


def test_never_a_proven_bound(bound):
    assert not isinstance(bound, ProvenBound)
    assert not any("proven" in name.lower() for name in dir(bound))


def test_refutes_a_curve_by_mu_only(bound, make_claim):
    assert bound.mu_lower > 2.0 > bound.epsilon_lower_gaussian / 10
    assert bound.refutes(make_claim(mu=bound.mu_lower * 0.999))
    assert not bound.refutes(make_claim(mu=bound.mu_lower))
    assert not bound.refutes(make_claim(mu=bound.mu_lower * 1.001, delta=1e-7))
    low = bound.epsilon_lower_gaussian * 0.999
    assert bound.refutes(make_claim(epsilon=low, delta=1e-5, curve="gaussian"))
    assert not bound.refutes(make_claim(epsilon=low * 1.01, delta=1e-5, curve="gaussian"))


def test_refutes_a_point_by_epsilon_only(bound, make_claim):
    assert bound.refutes(make_claim(epsilon=bound.epsilon_lower * 0.999, delta=1e-5))
    assert not bound.refutes(make_claim(epsilon=bound.epsilon_lower, delta=1e-5))
    assert bound.epsilon_lower_gaussian > bound.epsilon_lower  # and yet it refutes no point
    with pytest.raises(ClaimError, match="delta"):
        bound.refutes(make_claim(epsilon=0.1, delta=1e-6))


@pytest.mark.parametrize("other", [{"adjacency": "replace-one"}, {"unit": "client"}])
def test_other_terms_are_not_compared(bound, make_claim, other):
    with pytest.raises(ClaimError):
        bound.refutes(make_claim(mu=0.1, **other))


@pytest.mark.parametrize("design", ["one_run", "per_round", "sequential"])
def test_designs_that_are_not_independent_say_what_is_valid(make_scores, design):
    with pytest.raises(DesignError, match=design) as caught:
        require_independent(make_scores([1.0], [0.0], design=design), "band")
    assert "many_runs" in str(caught.value)

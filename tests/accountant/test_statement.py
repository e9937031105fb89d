import math
from fractions import Fraction

import dp_accounting.dp_event as dpe
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privassay.accountant import digits, events
from privassay.accountant.assumption import Assumption
from privassay.accountant.bounds import Interval, ProvenBound
from privassay.accountant.errors import ParameterError
from privassay.accountant.releases import releases
from privassay.accountant.statement import statement


def bound(low=1.0, high=None, **terms):
    terms = {"adjacency": "add-remove"} | terms
    return ProvenBound(mu=Interval(low, low if high is None else high), **terms)


@given(st.floats(min_value=0.0, allow_infinity=False), st.integers(1, 17))
def test_digits_round_to_the_safe_side(value, number):
    shown = Fraction(repr(value))
    assert (
        Fraction(digits.at_least(value, number)) <= shown <= Fraction(digits.at_most(value, number))
    )
    percent = digits.percent_at_most(value, number).removesuffix(" %")
    assert Fraction(percent) >= 100 * shown
    if shown > 1e-300:
        assert Fraction(digits.at_most(value, number)) <= shown * (1 + Fraction(10) ** (1 - number))


def test_the_numbers_of_a_gaussian():
    text = statement(bound(), event=dpe.GaussianDpEvent(1.0))
    assert "protects one example:" in text and "one example is added or removed." in text
    assert "At delta 1e-5, epsilon is at most 4.378, and it is not below 4.377." in text
    # exact: .018293, .092362, .691462
    assert "at most 0.1 % of cases detects the change in at most 1.83 % of cases" in text
    assert "with 1 % false alarms in at most 9.24 %" in text and "right at most 69.2 %" in text
    assert "It covers one release with Gaussian noise of 1 times the largest contribution." in text
    assert 4 <= text.split("It holds only if:")[0].count(". ") + 1 <= 8


@pytest.mark.parametrize(
    "adjacency, group, words",
    [
        ("replace-one", 1, "protects one user: it compares the data with the same data where one "
         "user is replaced by any other."),
        ("zero-out", 1, "where the contribution of one user is replaced by zero."),
        ("add-remove", 3, "protects any 3 users together: it compares the data with the same data "
         "where up to 3 users are added or removed."),
        ("zero-out", 3, "where the contribution of up to 3 users together is replaced by zero."),
        ("replace-one", 2, "up to 2 users are replaced by any others."),
    ],
)  # fmt: skip
def test_what_is_protected(adjacency, group, words):
    text = statement(bound(adjacency=adjacency, unit="user", group_size=group))
    assert words in text and "user {" not in text


def test_one_sided_infinite_and_trivial_bounds():
    assert "how far below that it is, is not known" in statement(bound(0.0, 1.0))
    text = statement(bound(1.0, math.inf))
    assert "no finite epsilon is proven, and it is not below 4.377: there may be no" in text
    assert "at most 100 %" in text
    none = statement(bound(0.0), event=dpe.NoOpDpEvent())
    assert "epsilon is 0." in none and "covers no release at all" in none and "50 %" in none
    assert "is not stated here" in statement(bound())
    with pytest.raises(ParameterError):
        statement(bound(), delta=0.0)


def test_given_assumptions_show_their_state():
    given = [
        Assumption(text="The clip is enforced.", how="read", holds=True),
        Assumption(text="The order is secret.", how="none", holds=None),
        Assumption(text="Seeds are fresh.", how="seen", holds=False),
        "The server is honest.",
    ]
    lines = statement(bound(), assumptions=given).splitlines()
    assert "- The clip is enforced. (checked)" in lines
    assert "- The order is secret. (not checked)" in lines
    assert "- Seeds are fresh. (does NOT hold)" in lines and lines[-1] == "- The server is honest."


def test_releases_are_counted_and_their_assumptions_named_once():
    step = dpe.PoissonSampledDpEvent(0.01, dpe.GaussianDpEvent(0.8))
    tree = dpe.ComposedDpEvent(
        [dpe.SelfComposedDpEvent(step, 10), dpe.LaplaceDpEvent(3.0), dpe.NoOpDpEvent(), step]
    )
    found = releases(dpe.SelfComposedDpEvent(tree, 5), "client")
    assert found.counts == {
        "Gaussian noise of 0.8 times the largest contribution, "
        "on a Poisson sample of rate 0.01": 55,
        "Laplace noise of 3 times the largest contribution": 5,
    }
    assert len(found.assumptions) == 3 and found.is_whole
    assert any("secret coin" in text and "Each client" in text for text in found.assumptions)


GAUSS, PURE = dpe.GaussianDpEvent(1.0), events.PureDpEvent(0.5)


@pytest.mark.parametrize(
    "event, words, need",
    [
        (dpe.SampledWithoutReplacementDpEvent(100, 10, GAUSS), "10 of 100 records", "exactly the"),
        (dpe.SampledWithReplacementDpEvent(100, 10, GAUSS), "with replacement", "exactly the"),
        (dpe.RepeatAndSelectDpEvent(GAUSS, 7.0, 1.0), "best of 7 runs", "number of runs"),
        (events.RandomAllocationDpEvent(8, GAUSS, 2), "in 2 of 8 steps", "neither Poisson"),
        (events.ShuffledBatchesDpEvent(9, GAUSS), "each of 9 fixed batches", "one batch of each"),
        (events.ShuffledDpEvent(1000, PURE), "by each of 1000 users", "shuffler is trusted"),
        (events.ParallelDpEvent((GAUSS, GAUSS), "label"), "split by label", "alone decides"),
        (events.ParallelDpEvent((GAUSS,), "client"), "split by client", "more than one client"),
        (events.GroupwiseGaussianDpEvent((6.0, 3.0), (2.0, 2.0)), "of 1.5 times", "floating"),
        (events.CorrelatedGaussianDpEvent(((1.0,),), 2.0), "correlated over 1", "floating"),
        (events.DiscreteGaussianDpEvent(3.0), "sigma 3", "exactly the stated law"),
        (dpe.DiscreteLaplaceDpEvent(0.1, 1), "parameter 0.1", "exactly the stated law"),
        (dpe.RandomizedResponseDpEvent(0.5, 4), "over 4 values", "exactly the stated law"),
        (PURE, "any mechanism that is 0.5-DP", "not checked here"),
        (dpe.ZCDpEvent(0.1, 0.2), "rho 0.1 and xi 0.2", "not checked here"),
        (dpe.MixtureOfGaussiansDpEvent(1.0, [1.0], [1.0]), "random size", "floating"),
        (dpe.TruncatedSubsampledGaussianDpEvent(50, 0.1, 9, 1.0), "cut to 9 of 50", "secret coin"),
        (dpe.SingleEpochTreeAggregationDpEvent(1.0, [3]), "partial sums", "across all trees"),
        (dpe.NonPrivateDpEvent(), "no protection at all", ""),
        (dpe.UnsupportedDpEvent(), "what UnsupportedDpEvent describes", "not checked here"),
    ],
)
def test_every_kind_is_named(event, words, need):
    found = releases(event)
    assert len(found.counts) == 1 and words in next(iter(found.counts))
    assert need in " ".join(found.assumptions)
    text = statement(bound(), event=event)
    assert words in text and need in text and "{unit}" not in text
    assert ("hyper-parameters" in text) != isinstance(event, dpe.RepeatAndSelectDpEvent)


def test_noise_and_rates_are_rounded_to_the_safe_side():
    step = dpe.PoissonSampledDpEvent(0.0123456789, dpe.GaussianDpEvent(0.87654321))
    (text,) = releases(step).counts
    assert "of 0.876543 times" in text and "rate 0.0123457" in text


def test_large_and_deep_events(monkeypatch):
    kinds = dpe.ComposedDpEvent([dpe.GaussianDpEvent(1.0 + k) for k in range(50)])
    assert "46 more releases of 46 other kinds" in statement(bound(), event=kinds)
    deep = GAUSS
    for _ in range(5000):
        deep = dpe.SelfComposedDpEvent(deep, 3)
    assert "more than 10^15 releases" in statement(bound(), event=deep)
    from privassay.accountant import releases as module

    monkeypatch.setattr(module, "_MOST_NODES", 100)
    wide = dpe.ComposedDpEvent([GAUSS] * 101)
    assert not releases(wide).is_whole
    text = statement(bound(), event=wide)
    assert "too many to list" in text and "further assumptions may apply" in text

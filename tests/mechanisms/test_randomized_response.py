import math
from fractions import Fraction

import dp_accounting
import mpmath
import pytest
import torch
from dp_accounting.pld import PLDAccountant

from privassay.accountant.account import account
from privassay.accountant.errors import ParameterError, UnsupportedEventError
from privassay.accountant.events import PureDpEvent
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.randomized_response import KaryResponse, UnaryEncoding

LABELS = torch.tensor([0] * 50_000 + [2] * 50_000)


def test_kary_response_has_its_odds_and_its_estimate():
    mechanism = KaryResponse(categories=4, replaced=0.4)
    answers = mechanism.release(LABELS, SeededKey(1))
    share = torch.bincount(answers[:50_000], minlength=4).double() / 50_000
    assert share.tolist() == pytest.approx([0.7, 0.1, 0.1, 0.1], abs=0.008)
    assert mechanism.frequencies(answers).tolist() == pytest.approx([0.5, 0, 0.5, 0], abs=0.015)
    assert mechanism.epsilon == pytest.approx(math.log(7))
    bound = account(mechanism.event(), adjacency="replace-one")
    assert bound.epsilon(0.0).upper == pytest.approx(math.log(7))
    everything = KaryResponse(categories=3, replaced=1.0)
    assert everything.epsilon == 0.0


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0, 20.0])
def test_unary_encoding_is_as_private_as_it_says(epsilon):
    mechanism = UnaryEncoding(categories=4, epsilon=epsilon)
    q = mechanism.false_rate
    worst = math.log(0.5 * (1 - q) / (0.5 * q))  # two bits differ
    bound = account(mechanism.event(), adjacency="replace-one").epsilon(0.0)
    assert worst <= bound.upper <= epsilon * (1 + 1e-9)
    bits = mechanism.release(LABELS, SeededKey(1))
    assert bits.shape == (100_000, 4)
    rates = bits[:50_000].double().mean(dim=0).tolist()
    assert rates == pytest.approx([0.5, q, q, q], abs=0.011)
    found = mechanism.frequencies(bits).tolist()
    assert found == pytest.approx([0.5, 0, 0.5, 0], abs=0.01 / (0.5 - q))
    off = (bits[:50_000].T.double().cov()).fill_diagonal_(0.0)
    assert float(off.abs().max()) < 0.01, "bits are flipped together"


@pytest.mark.parametrize("kind", [KaryResponse, UnaryEncoding])
def test_labels_out_of_range_are_refused(kind):
    more = {"replaced": 0.5} if kind is KaryResponse else {"epsilon": 1.0}
    mechanism = kind(categories=4, **more)
    for bad in (-1, 4):
        with pytest.raises(ParameterError, match=r"labels must be in 0\.\.3"):
            mechanism.release(torch.tensor([0, bad]), SeededKey(1))
    assert mechanism.release(torch.zeros(0, dtype=torch.int64), SeededKey(1)).shape[0] == 0


def test_nothing_replaced_or_one_category_is_refused():
    for arguments in ({"categories": 4, "replaced": 0.0}, {"categories": 1, "replaced": 0.5}):
        with pytest.raises(ParameterError, match="two categories"):
            KaryResponse(**arguments)


def kary_epsilon(mechanism):
    """The largest log-ratio of two laws, with 50 digits, from the p that is drawn."""
    with mpmath.workdps(50):
        p, k = mpmath.mpf(mechanism.replaced), mechanism.categories
        return mpmath.log((1 - p + p / k) / (p / k))


@pytest.mark.parametrize("categories", [2, 10**6])
@pytest.mark.parametrize("epsilon", [1e-12, 1e-3, 1.0, 36.0, 300.0, 700.0])
def test_kary_response_from_epsilon_at_the_extremes(categories, epsilon):
    mechanism = KaryResponse.with_epsilon(categories=categories, epsilon=epsilon)
    exact = kary_epsilon(mechanism)
    # A double near 1 has 1 - p to 1e-16, in units of which a tiny epsilon is coarse.
    step = 3e-16 * categories + 1e-15 * epsilon
    assert epsilon - step <= exact <= epsilon * (1 + 1e-15)
    assert mechanism.epsilon == pytest.approx(float(exact), rel=1e-12)
    bound = account(mechanism.event(), adjacency="replace-one")
    assert bound.epsilon(0.0).upper >= exact * (1 - mpmath.mpf(10) ** -15)
    if epsilon < 600:  # above, the accountant calls it disclosed
        assert bound.epsilon(0.0).upper <= epsilon * (1 + 1e-9) + 1e-15
    answers = mechanism.release(torch.tensor([0, categories - 1] * 500), SeededKey(1))
    assert 0 <= int(answers.min()) and int(answers.max()) < categories
    if epsilon >= 36.0:
        kept = (answers == torch.tensor([0, categories - 1] * 500)).double().mean()
        assert float(kept) == 1.0
    shares = mechanism.frequencies(answers) if mechanism.replaced < 1 else torch.zeros(categories)
    assert shares.shape == (categories,) and bool(torch.isfinite(shares).all())


def test_kary_response_is_that_of_the_library():
    for categories, epsilon, delta in ((2, 0.5, 0.01), (10, 2.0, 1e-3), (1000, 5.0, 1e-2)):
        mechanism = KaryResponse.with_epsilon(categories=categories, epsilon=epsilon)
        oracle = PLDAccountant(dp_accounting.NeighboringRelation.REPLACE_ONE)
        for _ in range(3):  # the library drops a count of this event
            oracle.compose(mechanism.event())
        ours = account(
            dp_accounting.SelfComposedDpEvent(mechanism.event(), 3), adjacency="replace-one"
        )
        assert ours.epsilon(delta).upper == pytest.approx(oracle.get_epsilon(delta), rel=1e-3)
        with pytest.raises(UnsupportedEventError):
            account(mechanism.event(), adjacency="add-remove")


@pytest.mark.parametrize("epsilon", [1e-300, 1e-12, 1.0, 36.0, 700.0, 745.0, 1000.0, 1e4])
@pytest.mark.parametrize("categories", [2, 10**6])
def test_unary_encoding_at_the_extremes(categories, epsilon):
    mechanism = UnaryEncoding(categories=categories, epsilon=epsilon)
    with mpmath.workdps(400):
        q = mpmath.mpf(mechanism.exact_rate.numerator) / mechanism.exact_rate.denominator
        p = mpmath.mpf(1) / 2
        exact = mpmath.log(p * (1 - q) / ((1 - p) * q))
        assert epsilon * (1 - mpmath.mpf(10) ** -40) <= exact <= epsilon
        assert exact <= mechanism.event().event.epsilon <= epsilon * (1 + 1e-15)
    bits = mechanism.release(torch.tensor([1, 0]), SeededKey(3))
    assert bits.shape == (2, categories) and set(bits.flatten().tolist()) <= {0, 1}
    if epsilon >= 700.0:
        assert int(bits.sum()) <= 2 and int(bits[0, 0] + bits[1, 1]) == 0
        assert 0.0 <= mechanism.false_rate < 1e-303
    assert bool(torch.isfinite(mechanism.frequencies(bits)).all())
    bound = account(mechanism.event(), adjacency="replace-one").epsilon(0.0)
    assert bound.upper >= epsilon or epsilon < 1e-150


@pytest.mark.parametrize("adjacency", ["add-remove", "zero-out"])
def test_an_answer_that_is_missing_shows(adjacency):
    for mechanism in (
        UnaryEncoding(categories=3, epsilon=1.0),
        KaryResponse(categories=3, replaced=0.3),
        KaryResponse(categories=10**6, replaced=1e-308),
    ):
        with pytest.raises(UnsupportedEventError):
            account(mechanism.event(), adjacency=adjacency)


def test_the_rate_that_is_drawn_is_rational_and_rounded_up():
    for epsilon in (1e-12, 0.3, 1.0, 40.0, 800.0):
        with mpmath.workdps(90):
            exact = 1 / (mpmath.exp(mpmath.mpf(epsilon)) + 1)
            rate = UnaryEncoding(categories=2, epsilon=epsilon).exact_rate
            found = mpmath.mpf(rate.numerator) / rate.denominator
            assert exact <= found <= exact * (1 + mpmath.mpf(10) ** -50)
    assert UnaryEncoding(categories=2, epsilon=1e-300).exact_rate <= Fraction(1, 2)


def test_the_estimates_of_unary_encoding_are_unbiased_where_doubles_round_q_to_a_half():
    mechanism = UnaryEncoding(categories=2, epsilon=1e-12)
    bits = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0]])
    assert mechanism.frequencies(bits).tolist() == pytest.approx([1.0, 1.0])


def test_where_the_label_is_all_but_disclosed_the_event_says_so():
    mechanism = KaryResponse(categories=10**6, replaced=1e-308)
    assert isinstance(mechanism.event().event, PureDpEvent)
    assert mechanism.event().event.epsilon >= kary_epsilon(mechanism) > 720
    assert mechanism.epsilon == pytest.approx(float(kary_epsilon(mechanism)), rel=1e-14)
    for epsilon in (720.0, 1000.0):
        with pytest.raises(ParameterError, match="700"):
            KaryResponse.with_epsilon(categories=2, epsilon=epsilon)
    with pytest.raises(ParameterError, match="at most"):
        UnaryEncoding(categories=2, epsilon=1.1e4)
    with pytest.raises(ParameterError, match="two categories"):
        UnaryEncoding(categories=1, epsilon=1.0)


def test_no_answers_give_no_estimate_and_labels_are_whole_numbers():
    kary, unary = KaryResponse(categories=4, replaced=0.5), UnaryEncoding(categories=4, epsilon=1.0)
    none = torch.zeros(0, dtype=torch.int64)
    assert kary.release(none, SeededKey(1)).shape == (0,)
    assert unary.release(none, SeededKey(1)).shape == (0, 4)
    with pytest.raises(ParameterError, match="0 answers"):
        kary.frequencies(none)
    with pytest.raises(ParameterError, match="n >= 1"):
        unary.frequencies(torch.zeros(0, 4))
    with pytest.raises(ParameterError, match="no estimate"):
        KaryResponse(categories=4, replaced=1.0).frequencies(torch.tensor([1]))
    for mechanism in (kary, unary):
        for labels in (torch.tensor([1.0]), torch.tensor([True])):
            with pytest.raises(ParameterError, match="whole numbers"):
                mechanism.release(labels, SeededKey(1))
    assert kary.release(torch.tensor([3, 1], dtype=torch.int32), SeededKey(1)).dtype == torch.int64

import math

import pytest
import torch

from privassay.accountant.account import account
from privassay.accountant.errors import ParameterError
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

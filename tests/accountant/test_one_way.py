"""Ends of one direction of a curve against closed forms: largest losses, and epsilon of Laplace."""

import math

import dp_accounting.dp_event as dpe
import pytest
from mpmath import mp, mpf

from privassay.accountant import events
from privassay.accountant.account import account
from privassay.accountant.claim import PrivacyClaim


@pytest.mark.parametrize("rate, epsilon", [(1e-9, 1e-3), (1e-4, 1e-8), (1e-6, 1e-3), (0.3, 1.0)])
@pytest.mark.parametrize("count", [1, 3])
def test_tiny_largest_losses_are_enclosed(rate, epsilon, count):
    event = dpe.PoissonSampledDpEvent(rate, events.PureDpEvent(epsilon))
    if count > 1:
        event = dpe.SelfComposedDpEvent(event, count)
    found = account(event, adjacency="add-remove").epsilon(0.0)
    with mp.workdps(50):
        ends = [
            abs(mp.log1p(mpf(rate) * mp.expm1(sign * mpf(epsilon)))) * count for sign in (-1, 1)
        ]
        assert mpf(found.lower) <= max(ends) <= mpf(found.upper)
    assert found.width <= 1e-12 * found.upper + count * 4e-14


@pytest.mark.parametrize(
    "event, largest",
    [
        (dpe.DiscreteLaplaceDpEvent(1e-9, 3), 3 * mpf(1e-9)),
        (dpe.LaplaceDpEvent(4.0), mpf(0.25)),
        (events.PureDpEvent(1e-12), mpf(1e-12)),
    ],
)
def test_largest_losses_keep_their_digits(event, largest):
    found = account(event, adjacency="add-remove").epsilon(0.0)
    assert mpf(found.lower) <= largest <= mpf(found.upper)
    assert found.width <= 1e-11 * found.upper


@pytest.mark.parametrize("scale", [1, 1.25, 2, 3, 5, 7, 10, 15, 20, 25, 33, 50, 75, 100])
def test_epsilon_of_laplace_is_its_closed_form(scale):
    bound = account(dpe.LaplaceDpEvent(float(scale)), adjacency="add-remove")
    for delta in (10.0**-k for k in range(3, 13)):
        with mp.workdps(40):
            # delta(epsilon) = 1 - e^((epsilon - 1/scale) / 2)
            truth = max(mpf(0), 1 / mpf(scale) + 2 * mp.log1p(-mpf(delta)))
            found = bound.epsilon(delta)
            assert mpf(found.lower) <= truth <= mpf(found.upper), delta
        assert found.upper <= 1.0 / scale * (1.0 + 1e-15), delta
        assert found.width <= 1e-12, delta


def test_a_claim_wider_than_the_scale_is_proven():
    bound = account(dpe.LaplaceDpEvent(5.0), adjacency="add-remove")
    assert bound.epsilon(1e-5).upper < math.inf
    claim = PrivacyClaim(epsilon=0.2, delta=1e-5, adjacency="add-remove", unit="example")
    assert claim.is_proven_by(bound)

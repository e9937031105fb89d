"""Samples that are disclosed, against exact fractions; the naive 1 - (1 - rate) loses them."""

import math
from fractions import Fraction

import dp_accounting.dp_event as dpe
import mpmath as mp
import numpy as np
import pytest

from privassay.accountant.account import account
from privassay.accountant.errors import ParameterError
from privassay.accountant.pairs.disclosed import Disclosed

P, S, OPEN = dpe.PoissonSampledDpEvent, dpe.SelfComposedDpEvent, dpe.NonPrivateDpEvent()


def seen(rate, times):
    """1 - (1 - rate)^times to 40 digits."""
    with mp.workdps(40):
        return -mp.expm1(times * mp.log1p(-mp.mpf(rate)))


@pytest.mark.parametrize("adjacency", ["add-remove", "replace-one"])
@pytest.mark.parametrize(
    "rate, times, inner",
    [
        (1e-17, 10**12, dpe.GaussianDpEvent(0.0)),
        (1e-12, 10**6, OPEN),
        (1e-16, 10**10, OPEN),
        (0.3, 3, OPEN),
        (1e-300, 5, OPEN),
    ],
)
def test_rare_disclosures_are_counted_in_full(rate, times, inner, adjacency):
    bound = account(S(P(rate, inner), times), adjacency=adjacency)
    truth = seen(rate, times)
    # beyond any finite loss, so that only the disclosures count
    found = bound.delta(3.0)
    assert found.lower <= truth <= found.upper, (found, truth)
    if truth > 1e-100:
        assert found.upper - found.lower < 1e-5 * truth, (found, truth)
        assert bound.epsilon(float(truth) * 0.999).upper == math.inf
    assert bound.epsilon(0.0).lower == math.inf


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("rate, size", [(1e-17, 1), (1e-9, 7), (0.1, 1), (0.75, 3), (5e-324, 2)])
def test_the_pair_against_fractions(rate, size, replace):
    pair = Disclosed(rate, size, replace)
    missed = (1 - Fraction(rate)) ** size if rate > 1e-300 else 1 - size * Fraction(rate)
    truth = 1 - missed
    assert truth <= Fraction(pair.infinite) <= truth * (1 + Fraction(1, 10**9)) + Fraction(5e-324)
    assert pair.missing == (pair.infinite if replace else 0.0)
    cuts = np.array([-9.0, 9.0])
    found = pair.masses(cuts)
    for masses, errors, exact in (
        (found.p, found.p_error, missed),
        (found.q, found.q_error, missed if replace else Fraction(1)),
    ):
        assert abs(Fraction(float(masses[1])) - exact) <= Fraction(float(errors[1]))
    with mp.workdps(400):
        loss = mp.mpf(0) if replace else mp.log(mp.mpf(missed.numerator) / missed.denominator)
        assert pair.lowest <= loss <= pair.highest


def test_what_a_disclosed_pair_refuses():
    for rate in (0.0, 1.0, -0.1, math.nan):
        with pytest.raises(ParameterError):
            Disclosed(rate)
    assert Disclosed(0.99, 10**6).infinite == 1.0  # nothing else is left


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-300, 9e-5])
def test_laplace_noise_that_hides_nothing(scale):
    noise = dpe.LaplaceDpEvent(scale)
    bound = account(noise, adjacency="add-remove")
    truth = 1 / mp.mpf(scale)  # of pure epsilon
    assert bound.epsilon(0.0).lower <= truth <= bound.epsilon(0.0).upper
    assert bound.epsilon(1e-5).lower > 600.0 and bound.epsilon(1e-5).upper == math.inf
    twice = account(S(noise, 2), adjacency="replace-one")
    assert twice.delta(1.0).upper == 1.0
    drawn = account(P(0.1, noise), adjacency="add-remove").delta(5.0)
    assert drawn.lower <= 0.1 <= drawn.upper <= 0.1 * (1.0 + 1e-9)

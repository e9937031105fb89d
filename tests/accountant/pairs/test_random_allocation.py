"""One of t steps: known values, quadrature for two steps, one step, and the exact Renyi orders."""

import itertools
import math

import dp_accounting.dp_event as dpe
import mpmath as mp
import numpy as np
import pytest

from privassay.accountant import events
from privassay.accountant.account import account
from privassay.accountant.errors import ParameterError
from privassay.accountant.mills import log_delta, normal_cdf
from privassay.accountant.pairs.allocation_laws import grid, split
from privassay.accountant.pairs.base import Exchanged
from privassay.accountant.pairs.one_step import OneStepTable
from privassay.accountant.pairs.random_allocation import random_allocation

SIZE = 17


def enclosure(pairs, epsilon, *, add=False):
    upper, lower = (Exchanged(pair) if add else pair for pair in pairs)
    high = OneStepTable(upper).log_delta_interval([epsilon])[1][0]
    low = OneStepTable(lower).log_delta_interval([epsilon])[0][0]
    return math.exp(low), math.exp(high)


@pytest.mark.parametrize(
    ("noise", "steps", "epsilon", "remove", "add"),
    [(1.5, 8, 0.5, 0.0040403, 0.0029086), (1.0, 10, 1.0, 0.002783, 0.000486)],
)
def test_known_values(noise, steps, epsilon, remove, add):
    # .000486: 10 million draws gave .0004876 +- .0000029
    pairs = random_allocation(1.0 / noise, steps, log_size=SIZE)
    for truth, is_add in ((remove, False), (add, True)):
        low, high = enclosure(pairs, epsilon, add=is_add)
        assert low <= truth + 5e-7 and high >= truth - 5e-7
        assert high - low < 4e-3 * truth


@pytest.mark.parametrize("mu", [0.3, 1.0])
@pytest.mark.parametrize("epsilon", [0.1, 0.6])
def test_two_steps_by_quadrature(mu, epsilon):
    pairs = random_allocation(mu, 2, log_size=SIZE)

    def ratio(z):
        return math.exp(mu * z - 0.5 * mu * mu)

    # given the first X the second must pass a threshold: one smooth integral each
    z = np.linspace(-9.0, 9.0 + mu, 40001)
    h = z[1] - z[0]
    weight = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi) * h
    remove = add = 0.0
    for w, at in zip(weight, z, strict=True):
        x = ratio(at)
        need = 2.0 * math.exp(epsilon) - x
        cut = (math.log(need) / mu + 0.5 * mu) if need > 0.0 else -math.inf
        tail_q = normal_cdf(-cut) if need > 0.0 else 1.0
        tail_p = normal_cdf(mu - cut) if need > 0.0 else 1.0
        remove += w * (0.5 * x * tail_q + 0.5 * tail_p - math.exp(epsilon) * tail_q)
        need = 2.0 * math.exp(-epsilon) - x
        if need > 0.0:
            cut = math.log(need) / mu + 0.5 * mu
            head_q, head_p = normal_cdf(cut), normal_cdf(cut - mu)
            add += w * (head_q - math.exp(epsilon) * 0.5 * (x * head_q + head_p))
    for truth, is_add in ((remove, False), (add, True)):
        low, high = enclosure(pairs, epsilon, add=is_add)
        assert low <= truth * (1 + 1e-6) and high >= truth * (1 - 1e-6), (low, truth, high)
        assert high - low < 1e-3 * truth + 1e-8


@pytest.mark.parametrize("epsilon", [0.2, 1.0])
def test_a_single_step_is_the_gaussian(epsilon):
    found = log_delta(epsilon, 1.0)
    truth = math.exp(found.rest - found.half_square)
    for add in (False, True):
        low, high = enclosure(random_allocation(1.0, 1, log_size=SIZE), epsilon, add=add)
        assert low <= truth <= high and high - low < 1e-4


@pytest.mark.parametrize(("steps", "value"), [(8, 0.138059306), (100, 0.0111842260)])
def test_renyi_of_order_four(steps, value):
    upper, lower = random_allocation(1.0 / 1.5, steps, log_size=SIZE)
    # the infinite part, about 1e-11, is left out: the moment of the rest is barely below
    assert upper.moment(3.0)[1] == pytest.approx(3.0 * value, rel=1e-4)
    assert lower.moment(3.0)[0] <= 3.0 * value * (1 + 1e-8)
    assert lower.moment(3.0)[0] == pytest.approx(3.0 * value, rel=1e-3)


def test_split_law_keeps_mass_and_mean():
    cells = grid(0.8, 5, 14, 1e-9)
    law, error = split(0.8, cells)
    last = float(cells.z[-1])
    points = cells.step * np.arange(len(law))
    assert abs(law.sum() - normal_cdf(last)) <= error + 1e-14
    assert abs(law @ points - normal_cdf(last - 0.8)) <= error + 1e-13
    # larger in convex order: E (X - c)_+, up to the end of the grid
    with mp.workdps(20):
        for c in (0.31, 1.007, 2.5):
            z = math.log(c) / 0.8 + 0.4
            truth = (normal_cdf(0.8 - z) - normal_cdf(0.8 - last)) - c * (
                normal_cdf(-z) - normal_cdf(-last)
            )
            assert law @ np.maximum(points - c, 0.0) >= truth - error
    assert error < 1e-11


@pytest.mark.parametrize(("mu", "steps"), [(0.5, 1000), (2.0, 30), (0.05, 20000)])
def test_pairs_are_sound(mu, steps):
    pairs = random_allocation(mu, steps, log_size=16)
    for pair in pairs:
        found = pair.masses(np.linspace(-0.5, 0.5, 21))
        p, q = found.p.sum() + pair.infinite, found.q.sum() + pair.missing
        assert p == pytest.approx(1.0, abs=2e-4) and q == pytest.approx(1.0, abs=2e-2)
    for add in (False, True):
        low, high = enclosure(pairs, 0.05, add=add)
        assert 0.0 <= low <= high
        # the event "some step shows c or more" is a test
        best = 0.0
        for c in np.linspace(0.5, 6.0, 40):
            p = 1.0 - normal_cdf(c) ** (steps - 1) * normal_cdf(c - mu)
            q = 1.0 - normal_cdf(c) ** steps
            best = max(best, (1 - q) - math.exp(0.05) * (1 - p) if add else p - math.exp(0.05) * q)
        assert high >= best


def test_two_chosen_of_six_are_bounded_near_what_draws_show():
    """The worst pair itself, by its likelihood ratio over all 15 choices."""
    mu, high, draws, rng = 1.0 / 1.5, math.exp(0.5), 200_000, np.random.default_rng(0)
    event = events.RandomAllocationDpEvent(6, dpe.GaussianDpEvent(1.0 / mu), 2)
    found = account(event, adjacency="add-remove").delta(0.5)
    choices = np.array(
        [[i in two for i in range(6)] for two in itertools.combinations(range(6), 2)]
    )

    def ratio(x):
        return np.exp(mu * (x @ choices.T) - mu**2).mean(axis=1)

    absent = rng.standard_normal((draws, 6))
    present = rng.standard_normal((draws, 6)) + mu * choices[rng.integers(15, size=draws)]
    for seen in (
        np.maximum(0.0, 1.0 - high / ratio(present)),
        np.maximum(0.0, 1.0 - high * ratio(absent)),
    ):
        truth, error = seen.mean(), seen.std() / math.sqrt(draws)
        assert found.lower == 0.0 and truth - 4.0 * error < found.upper < 1.1 * truth


def test_noise_beyond_the_engine_is_refused():
    with pytest.raises(ParameterError, match="mu"):
        random_allocation(10.0, 5)

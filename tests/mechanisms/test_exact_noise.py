import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from privassay.accountant.account import account
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.discrete_gaussian import DiscreteGaussianSum
from privassay.mechanisms.exact_sampling import _Bits, discrete_gaussian, discrete_laplace
from privassay.mechanisms.laplace import DiscreteLaplaceSum, LaplaceSum
from privassay.mechanisms.rounding import clipped_steps


def p_value(drawn, weight):
    """Chi-square of drawn integers against weights of every integer, tails pooled."""
    values, counts = np.unique(drawn, return_counts=True)
    seen = dict(zip(values.tolist(), counts.tolist(), strict=True))
    reach = range(-60, 61)
    total = float(mpmath.nsum(weight, [-mpmath.inf, mpmath.inf]))
    n = len(drawn)
    expected = [n * float(weight(k)) / total for k in reach]
    inner = [i for i, e in enumerate(expected) if e >= 10]
    observed = [seen.get(reach[i], 0) for i in inner]
    wanted = [expected[i] for i in inner]
    return chisquare([*observed, n - sum(observed)], [*wanted, n - sum(wanted)]).pvalue


@pytest.mark.parametrize("sigma", [0.35, 1.0, 2.7])
def test_discrete_gaussian_has_its_law(sigma):
    drawn = discrete_gaussian((20_000,), sigma=sigma, key=SeededKey(1)).numpy()
    assert p_value(drawn, lambda k: mpmath.exp(-(k**2) / (2 * mpmath.mpf(sigma) ** 2))) > 1e-4


@pytest.mark.parametrize("parameter", [0.3, 1.0, 1.7])
def test_discrete_laplace_has_its_law(parameter):
    drawn = discrete_laplace((20_000,), noise_parameter=parameter, key=SeededKey(2)).numpy()
    assert p_value(drawn, lambda k: mpmath.exp(-mpmath.mpf(parameter) * abs(k))) > 1e-4


@pytest.mark.parametrize("wrong", [0.9, 1.1])
def test_the_test_of_laws_sees_ten_percent(wrong):
    drawn = discrete_gaussian((20_000,), sigma=wrong, key=SeededKey(1)).numpy()
    assert p_value(drawn, lambda k: mpmath.exp(-(k**2) / 2)) < 1e-6


@pytest.mark.parametrize(("top", "bottom"), [(0, 1), (1, 3), (1, 1), (7, 3)])
def test_the_coin_of_an_exponential(top, bottom):
    bits, n = _Bits(SeededKey(5).generator()), 20_000
    heads = sum(bits.exp_coin(top, bottom) for _ in range(n))
    p = math.exp(-top / bottom)
    assert abs(heads - n * p) <= 5 * math.sqrt(n * p * (1 - p)) + 1e-9


def test_numbers_below_a_limit_are_uniform():
    bits = _Bits(SeededKey(6).generator())
    for limit in (1, 2, 3, 255, 256, 257):
        drawn = [bits.below(limit) for _ in range(limit * 40)]
        assert set(drawn) <= set(range(limit))
        if limit > 1:
            assert chisquare(np.bincount(drawn, minlength=limit)).pvalue > 1e-5


@pytest.mark.parametrize("order", [1, 2])
def test_rows_on_a_grid_never_exceed_the_bound(order):
    generator = torch.Generator().manual_seed(0)
    for bound in (1, 2, 7, 1000, 2**30):
        rows = torch.randn(500, 5, generator=generator, dtype=torch.float64)
        rows = rows * torch.exp(20 * torch.rand(500, 1, generator=generator).double() - 5)
        rows[0, 0], rows[1, 1] = 1e308, math.inf
        whole = clipped_steps(rows, bound=bound, step=0.37, order=order).tolist()
        for row in whole:
            length = sum(abs(v) for v in row) if order == 1 else sum(v * v for v in row)
            assert length <= bound**order, (row, bound)
        assert not any(whole[1])
    short = torch.tensor([[1.0, -2.0, 2.0]]).double()
    assert clipped_steps(short, bound=5, step=1.0, order=order).tolist() == [[1, -2, 2]]


@pytest.mark.parametrize(
    "mechanism",
    [
        DiscreteGaussianSum(step=0.5, clip_steps=4, sigma_steps=3.0, dimension=2),
        DiscreteLaplaceSum(step=0.5, clip_steps=4, noise_parameter=0.4),
    ],
)
def test_outputs_lie_on_the_grid(mechanism):
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    out = mechanism.release(x, SeededKey(1)) / 0.5
    assert torch.equal(out, out.round())


def test_events():
    one = DiscreteGaussianSum(step=1.0, clip_steps=2, sigma_steps=4.0, dimension=1)
    several = DiscreteGaussianSum(step=1.0, clip_steps=2, sigma_steps=4.0, dimension=3)
    assert float(Fraction(several.event("zero-out").rho)) == pytest.approx(4 / 32, rel=1e-12)
    assert several.event("replace-one").rho == pytest.approx(16 / 32, rel=1e-12)
    exact = account(one.event(), adjacency="add-remove").epsilon(1e-5).upper
    loose = account(several.event("add-remove"), adjacency="add-remove").epsilon(1e-5).upper
    assert exact < loose < 1.3 * exact
    pure = DiscreteLaplaceSum(step=1.0, clip_steps=3, noise_parameter=0.5)
    assert account(pure.event(), adjacency="add-remove").epsilon(0.0).upper == pytest.approx(1.5)
    plain = LaplaceSum(l1_norm=2.0, noise_multiplier=4.0)
    assert account(plain.event(), adjacency="add-remove").epsilon(0.0).upper == pytest.approx(0.25)


def test_laplace_noise_has_its_scale():
    plain = LaplaceSum(l1_norm=2.0, noise_multiplier=4.0)
    noise = plain.release(torch.zeros(50_000, 0, 1, dtype=torch.float64), SeededKey(1)).abs()
    assert float(noise.mean()) == pytest.approx(8.0, rel=0.03)
    rows = torch.tensor([[3.0, -1.0], [0.5, 0.5]]).double()
    assert plain.contribution(rows).tolist() == [[1.5, -0.5], [0.5, 0.5]]


def test_a_row_that_moves_several_coordinates_costs_no_more_than_the_event():
    # delta(epsilon) of two coordinates that move a and 1 - a, on a grid, against one that moves 1
    x = np.linspace(-30.0, 30.0, 2001)
    law = np.exp(-np.abs(x)) / 2
    weight = np.outer(law, law) * (x[1] - x[0]) ** 2
    bound = account(LaplaceSum(l1_norm=1.0, noise_multiplier=1.0).event(), adjacency="add-remove")
    for a in (0.0, 0.1, 0.3, 0.5):
        loss = np.add.outer(np.abs(x - a) - np.abs(x), np.abs(x - 1 + a) - np.abs(x))
        for epsilon in (0.0, 0.2, 0.5, 0.8, 0.99):
            delta = float((weight * np.maximum(0.0, 1.0 - np.exp(epsilon - loss))).sum())
            limit = bound.delta(epsilon).upper
            assert delta <= limit + 1e-3, (a, epsilon, delta, limit)
            if a == 0.0:
                assert delta == pytest.approx(limit, abs=1e-3)


def test_the_default_event_of_several_coordinates_is_safe_everywhere():
    # zCDP is not doubled by accounting, so the default must hold for exchanged rows.
    several = DiscreteGaussianSum(step=1.0, clip_steps=2, sigma_steps=4.0, dimension=3)
    assert several.event() == several.event("replace-one")
    assert several.event().rho > several.event("add-remove").rho

import math
from fractions import Fraction

import dp_accounting.dp_event as dpe
import mpmath
import numpy as np
import pytest
import torch
from dp_accounting.rdp import RdpAccountant
from scipy.stats import chisquare

from privassay.accountant.account import account
from privassay.accountant.errors import ParameterError
from privassay.mechanisms import exact_sampling
from privassay.mechanisms.base import SeededKey, SystemKey
from privassay.mechanisms.discrete_gaussian import DiscreteGaussianSum
from privassay.mechanisms.exact_sampling import (
    below,
    coins,
    discrete_gaussian,
    discrete_laplace,
    key_words,
)
from privassay.mechanisms.laplace import DiscreteLaplaceSum, LaplaceSum
from privassay.mechanisms.rounding import clipped_steps


def gaussian(count, sigma, key):
    return discrete_gaussian((count,), variance=Fraction(sigma) ** 2, words=key_words(key)).numpy()


def p_value(drawn, weight, reach=60):
    """Chi-square of drawn integers against weights of every integer, tails pooled."""
    values, counts = np.unique(drawn, return_counts=True)
    seen = dict(zip(values.tolist(), counts.tolist(), strict=True))
    weights = [float(weight(k)) for k in range(-reach, reach + 1)]
    total = math.fsum(weights)
    n = len(drawn)
    expected = [n * w / total for w in weights]
    inner = [i for i, e in enumerate(expected) if e >= 10]
    observed = [seen.get(i - reach, 0) for i in inner]
    wanted = [expected[i] for i in inner]
    return chisquare([*observed, n - sum(observed)], [*wanted, n - sum(wanted)]).pvalue


def bell(sigma):
    return lambda k: mpmath.exp(-(k**2) / (2 * mpmath.mpf(sigma) ** 2))


@pytest.mark.parametrize("sigma", [0.3, 0.35, 1.0, 1.5, 2.7, 50.0])
def test_discrete_gaussian_has_its_law(sigma):
    drawn = gaussian(200_000, sigma, SeededKey(1))
    assert p_value(drawn, bell(sigma), reach=math.ceil(10 * sigma) + 10) > 1e-4


@pytest.mark.parametrize("parameter", [0.02, 0.3, 1.0, 1.7])
def test_discrete_laplace_has_its_law(parameter):
    words = key_words(SeededKey(2))
    drawn = discrete_laplace((100_000,), noise_parameter=parameter, words=words).numpy()
    weight = lambda k: mpmath.exp(-mpmath.mpf(parameter) * abs(k))  # noqa: E731
    assert p_value(drawn, weight, reach=math.ceil(40 / parameter)) > 1e-4


@pytest.mark.parametrize("wrong", [0.9, 1.1])
def test_the_test_of_laws_sees_ten_percent(wrong):
    drawn = gaussian(20_000, wrong, SeededKey(1))
    assert p_value(drawn, bell(1.0)) < 1e-6


@pytest.mark.parametrize("margin", [2.0, 0.02])
def test_what_doubles_do_not_decide_is_decided_exactly(margin, monkeypatch):
    # With the margin raised every (or every tenth) comparison takes as many digits as it needs.
    monkeypatch.setattr(exact_sampling, "_AMBIGUOUS", margin)
    assert p_value(gaussian(3000, 1.7, SeededKey(5)), bell(1.7)) > 1e-4
    words = key_words(SeededKey(6))
    drawn = discrete_laplace((1500,), noise_parameter=0.7, words=words).numpy()
    assert p_value(drawn, lambda k: mpmath.exp(-mpmath.mpf(0.7) * abs(k))) > 1e-4


def test_comparisons_agree_with_exact_ones_one_by_one(monkeypatch):
    # The same words: doubles and digits must decide alike, or a margin would be too narrow.
    for sigma in (0.3, 1.0, 7.3, 1e6, 2.0**49):
        fast = gaussian(150, sigma, SeededKey(7))
        with monkeypatch.context() as patch:
            patch.setattr(exact_sampling, "_AMBIGUOUS", 2.0**-20)
            assert np.array_equal(fast, gaussian(150, sigma, SeededKey(7)))


@pytest.mark.parametrize("sigma", [1e6, 2.0**49])
def test_wide_discrete_gaussians_have_the_moments_of_a_gaussian(sigma):
    runs = 40_000
    z = gaussian(runs, sigma, SystemKey()).astype(float) / sigma
    assert abs(z.mean()) < 5 / math.sqrt(runs)
    assert abs((z**2).mean() - 1) < 5 * math.sqrt(2 / runs)
    assert abs((z**4).mean() - 3) < 5 * math.sqrt(96 / runs)
    assert abs((abs(z) > 2).mean() - 0.0455) < 5 * math.sqrt(0.0455 / runs)


@pytest.mark.parametrize(
    "p", [Fraction(0), Fraction(1, 3), Fraction(1), Fraction(0.1), Fraction(1, 2**62)]
)
def test_coins_have_their_probability(p):
    n = 20_000
    heads = int(coins(p, (n // 4, 4), key_words(SeededKey(5))).sum())
    assert abs(heads - n * p) <= 5 * math.sqrt(n * p * (1 - p))


def test_coins_of_equal_first_words_go_on_to_the_next():
    # Probability 5/7: its first 62 bits are `first`, and the rest decides.
    p, top = Fraction(5, 7), 2**62
    first = math.floor(p * top)
    second = math.floor((p * top - first) * top)
    for word, expected in ((second - 1, True), (second + 1, False)):
        stream = iter([np.array([first]), np.array([word])])
        assert bool(coins(p, (1,), lambda _, s=stream: next(s))[0]) is expected
    # Exactly 3/4: nothing is left after the first word, so equal means not below.
    assert not bool(coins(Fraction(3, 4), (1,), lambda _: np.array([3 * 2**60]))[0])


def test_numbers_below_a_limit_are_uniform():
    words = key_words(SeededKey(6))
    for limit in (1, 2, 3, 255, 256, 257):
        drawn = below(limit, limit * 40, words)
        assert set(drawn.tolist()) <= set(range(limit))
        if limit > 1:
            assert chisquare(np.bincount(drawn, minlength=limit)).pvalue > 1e-5
    assert int(below(2**60, 2000, words).max()) > 2**59
    # Words that would make small numbers likelier are drawn again.
    stream = iter([np.array([2**62 - 1]), np.array([5])])
    assert below(3, 1, lambda _: next(stream)).tolist() == [2]


@pytest.mark.parametrize("variance", [Fraction(0), Fraction(-1), Fraction(2) ** 120])
def test_noise_that_cannot_be_drawn_is_refused(variance):
    with pytest.raises(ParameterError, match="variance must lie"):
        discrete_gaussian((2,), variance=variance, words=key_words(SeededKey(1)))
    with pytest.raises(ParameterError, match="whole numbers wide"):
        discrete_laplace((2,), noise_parameter=1e-30, words=key_words(SeededKey(1)))
    with pytest.raises(ParameterError, match="limit"):
        below(2**61, 1, key_words(SeededKey(1)))


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


@pytest.mark.parametrize("extra", [0, 1])
def test_a_row_of_four_million_dimensions_does_not_exceed_the_bound_either(extra):
    # A constant row, whose norm torch takes 1.2e-11 too short; the bound lies just below the exact
    # norm, by less than that and by more than one step off the largest entry.
    size, value = 4_000_000, 524_326
    square = (size - 1) * value**2 + (value + 1) ** 2
    bound = math.isqrt(square) - 1 - extra
    fewer = (square - bound**2 - 5_000_000) // (2 * value - 1)
    row = torch.full((1, size), float(value), dtype=torch.float64)
    row[0, 0], row[0, size - fewer :] = value + 1, value - 1
    exact = square - fewer * (2 * value - 1)
    assert 5_000_000 <= exact - bound**2 < 5_000_000 + 2 * value < 2.4e-11 * bound**2
    whole = clipped_steps(row, bound=bound, step=1.0, order=2)
    left = bound**2 - int(whole.square().sum())
    assert 0 <= left < 4 * value, "too long, or shorter than it must be"
    # One row does not touch another.
    assert torch.equal(clipped_steps(row[:, :3], bound=bound, step=1.0, order=2), row[:, :3].long())


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
    assert several.event().rho == pytest.approx(16 / 32, rel=1e-12)  # of replace-one
    for adjacency in ("add-remove", "replace-one"):
        exact = account(one.event(), adjacency=adjacency).epsilon(1e-5).upper
        loose = account(several.event(), adjacency=adjacency).epsilon(1e-5).upper
        assert exact < loose < (2.6 if adjacency == "add-remove" else 1.3) * exact
    finer = {"step": 0.01, "clip_steps": 200, "sigma_steps": 400.0}
    one, several = (DiscreteGaussianSum(**finer, dimension=d) for d in (1, 3))
    for adjacency in ("add-remove", "zero-out", "replace-one"):
        exact = account(one.event(), adjacency=adjacency).epsilon(1e-5).upper
        loose = account(several.event(), adjacency=adjacency).epsilon(1e-5).upper
        assert exact < loose < 1.001 * exact
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


@pytest.mark.parametrize("sigma", [4.0, 5.6, 6.0, 40.0])
@pytest.mark.parametrize("adjacency", ["add-remove", "zero-out", "replace-one"])
def test_one_event_is_right_under_every_adjacency(sigma, adjacency):
    # Oracle: several coordinates cost at least what one costs, of the same length; the library's
    # zCDP conversion is a second route to the same bound from above.
    moved = 4 if adjacency == "replace-one" else 2
    x = np.arange(-600, 601)
    law = np.exp(-(x**2) / (2 * sigma**2))
    law /= law.sum()
    shifted = np.exp(-((x - moved) ** 2) / (2 * sigma**2)) / np.exp(-(x**2) / (2 * sigma**2)).sum()
    several = DiscreteGaussianSum(step=1.0, clip_steps=2, sigma_steps=sigma, dimension=3)
    bound = account(several.event(), adjacency=adjacency)
    for epsilon in (0.0, 0.2, 1.0):
        truth = float(np.maximum(0.0, law - math.exp(epsilon) * shifted).sum())
        assert truth <= bound.delta(epsilon).upper
    oracle = RdpAccountant()
    oracle.compose(dpe.ZCDpEvent(moved**2 / (2 * sigma**2)))
    limit = oracle.get_epsilon(1e-5)
    assert bound.epsilon(1e-5).upper < (1.35 if sigma >= 5.66 else 2.7) * limit


def test_laplace_sums_refuse_whole_numbers_and_name_the_hazard_of_doubles():
    plain = LaplaceSum(l1_norm=1.0, noise_multiplier=1.0)
    with pytest.raises(ParameterError, match="floating point"):
        plain.release(torch.ones(3, 2, dtype=torch.int64), SeededKey(1))
    single = plain.release(torch.zeros(4, 1000, 3, dtype=torch.float32), SeededKey(1))
    double = plain.release(torch.zeros(4, 1000, 3, dtype=torch.float64), SeededKey(1))
    assert single.dtype == torch.float32 and torch.equal(single, double.float())
    hazard = [a for a in plain.assumptions() if "low bits" in a.text]
    assert len(hazard) == 1 and hazard[0].holds is None and "Mironov" in hazard[0].how
    grid = DiscreteLaplaceSum(step=1.0, clip_steps=1, noise_parameter=1.0)
    assert not [a for a in grid.assumptions() if "low bits" in a.text]

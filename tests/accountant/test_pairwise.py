import dataclasses
import math
import random

import mpmath as mp
import numpy as np
import pytest

from privassay.accountant import chi_square, gaussian, quadratic
from privassay.accountant.errors import ParameterError
from privassay.accountant.pairwise import GaussianPair, epsilon_lower

MIXED = GaussianPair(
    (0.4544605, 0.8495708, 2.75267745), (0.10177288, 0.47707943, 0.42875257), (1, 1, 1)
)


def terms_of(pair):
    return quadratic.Terms.of(
        np.array(pair.eigenvalues), np.array(pair.shifts), np.array(pair.multiplicities)
    )


def random_pair(generator, dimension):
    spread = generator.choice([0.01, 0.3, 1.0])
    return GaussianPair(
        tuple(math.exp(spread * generator.gauss(0, 1)) for _ in range(dimension)),
        tuple(generator.choice([0.0, 0.1, 1.0]) * generator.gauss(0, 1) for _ in range(dimension)),
        (1,) * dimension,
    )


# References


@pytest.mark.parametrize(
    "epsilon, delta",
    [
        (0.0, 0.370114789085),
        (0.5, 0.242749124733),
        (1.5, 0.120310099267),
        (10.0, 0.000883478039732),
    ],
)
def test_reference_in_three_dimensions(epsilon, delta):
    assert MIXED.delta(epsilon) == pytest.approx(delta, abs=5.1e-13)


def test_orders_exist_up_to_the_largest_eigenvalue():
    assert math.isfinite(MIXED.renyi(1.570555)) and MIXED.renyi(1.570556) == math.inf


@pytest.mark.parametrize(
    "n, fewer, more",
    [
        (5, 70.562358, 43.911016),
        (23, 7.423187, 5.894004),
        (100, 1.331494, 1.118394),
        (600, 0.184712, 0.159567),
    ],
)
def test_noise_scaled_by_the_true_count(n, fewer, more):
    pair = GaussianPair.scaled((n / (n - 1)) ** 2, 512)
    for law, epsilon in ((pair, fewer), (pair.swapped(), more)):
        low, high = law.delta_interval(epsilon + 6e-7)[0], law.delta_interval(epsilon - 6e-7)[1]
        assert low < 1e-5 < high
    assert epsilon_lower(pair, 1e-5) == pytest.approx(fewer, abs=6e-7)
    assert epsilon_lower(pair.swapped(), 1e-5) == pytest.approx(fewer, abs=6e-7)


# One dimension: where the loss exceeds epsilon is an interval or its complement


def tail(x):
    return mp.erfc(x / mp.sqrt(2)) / 2


def exact_delta(eigenvalue, shift, epsilon):
    with mp.workdps(400 if abs(epsilon) > 20 else 90):
        v, d, e = mp.mpf(eigenvalue), mp.mpf(shift), mp.mpf(epsilon)
        a, b, c = (1 - 1 / v) / 2, d / v, -mp.log(v) / 2 - d * d / (2 * v) - e
        root = b * b - 4 * a * c
        if root <= 0:
            return mp.mpf(0) if a < 0 else 1 - mp.exp(e)
        low, high = sorted([(-b - mp.sqrt(root)) / (2 * a), (-b + mp.sqrt(root)) / (2 * a)])
        gaps = []
        for mean, sd in ((d, mp.sqrt(v)), (0, 1)):
            left, right = (low - mean) / sd, (high - mean) / sd
            outside = tail(-left) + tail(right)
            inside = tail(left) - tail(right) if left > 0 else tail(-right) - tail(-left)
            gaps.append(outside if a > 0 else inside)
        return gaps[0] - mp.exp(e) * gaps[1]


def one_dimensional_cases(number, seed):
    generator = random.Random(seed)
    for _ in range(number):
        v = math.exp(generator.choice([1e-6, 1e-3, 0.1, 1, 3]) * generator.gauss(0, 1))
        d = generator.choice([0, 1e-4, 0.01, 0.3, 1, 5]) * generator.gauss(0, 1)
        scale = generator.uniform(0, 20) * (abs(d) + abs(v - 1))
        yield v, d, generator.choice([0.0, generator.uniform(-3, 3), scale])


def test_delta_against_normal_tails():
    for v, d, epsilon in one_dimensional_cases(300, seed=11):
        exact = exact_delta(v, d, epsilon)
        pair = GaussianPair((v,), (d,), (1,))
        lower, upper = pair.delta_interval(epsilon)
        assert lower <= exact <= upper, (v, d, epsilon)
        if exact > 1e-300:
            assert abs(float(pair.delta(epsilon) / exact - 1)) < 5e-13, (v, d, epsilon)
            assert upper - lower < 2e-11 * exact, (v, d, epsilon)


def test_the_reported_error_exceeds_the_true_one_with_room():
    for v, d, epsilon in one_dimensional_cases(100, seed=12):
        exact = exact_delta(v, d, abs(epsilon))
        if v == 1.0 or not exact > 1e-300:
            continue
        for found in (
            quadratic.log_delta(terms_of(GaussianPair((v,), (d,), (1,))), abs(epsilon)),
            *([chi_square.log_delta(abs(epsilon), ratio=v, dimension=1)] if d == 0.0 else []),
        ):
            assert 4 * abs(found.value - mp.log(exact)) < found.error, (v, d, epsilon)


def test_epsilon_lower_is_below_the_truth_and_close():
    for v, d, _ in one_dimensional_cases(40, seed=13):
        pair, delta = GaussianPair((v,), (d,), (1,)), 1e-5
        found = epsilon_lower(pair, delta)
        if found == 0.0:
            assert exact_delta(v, d, 0.0) <= delta * (1 + 1e-9), (v, d)
            continue
        both = [(v, d), (1 / v, d / math.sqrt(v))]
        assert max(exact_delta(*pair, found) for pair in both) > delta, (v, d)
        above = found * (1 + 1e-9)
        assert max(exact_delta(*pair, above) for pair in both) < delta, (v, d)


# Many dimensions


def test_the_contour_agrees_with_the_real_integral():
    for ratio, dimension in ((1.0202, 512), (0.98, 512), (3.0, 1), (0.2, 4), (1.0 + 1e-7, 10**9)):
        terms = terms_of(GaussianPair.scaled(ratio, dimension))
        for epsilon in (0.0, 0.1, 0.7):
            one = chi_square.log_delta(epsilon, ratio=ratio, dimension=dimension)
            two = quadratic.log_delta(terms, epsilon)
            assert abs(one.value - two.value) < min(one.error + two.error, 1e-10)


@pytest.mark.parametrize(
    "pair", [MIXED, MIXED.swapped(), GaussianPair((0.7, 1.0, 1.2), (0.1, 0.4, 0.0), (2, 1, 3))]
)
def test_delta_against_simulation(pair):
    generator = np.random.default_rng(3)
    v, d = (np.repeat(x, pair.multiplicities) for x in (pair.eigenvalues, pair.shifts))
    y = d + np.sqrt(v) * generator.standard_normal((400_000, len(v)))
    loss = (-0.5 * np.log(v) + 0.5 * y * y - 0.5 * (y - d) ** 2 / v).sum(axis=1)
    for epsilon in (-0.5, 0.0, 0.5, 2.0):
        sample = np.maximum(0.0, -np.expm1(epsilon - loss))
        error = sample.std() / math.sqrt(len(sample))
        assert abs(sample.mean() - pair.delta(epsilon)) < 5 * error, epsilon


def test_swapped_contours_agree():
    # The two sides are different integrals: the contour of one is not that of the other.
    generator = random.Random(4)
    for dimension in (1, 2, 5, 40):
        for _ in range(4):
            pair = random_pair(generator, dimension)
            for epsilon in (-1.0, -0.1, 0.0, 0.2, 1.5):
                other = math.exp(quadratic.log_delta(terms_of(pair.swapped()), -epsilon).value)
                found = math.exp(quadratic.log_delta(terms_of(pair), epsilon).value)
                expected = -math.expm1(epsilon) + math.exp(epsilon) * other
                assert found == pytest.approx(expected, abs=1e-12), (pair, epsilon)


def test_an_eigenvalue_near_one_is_continuous():
    for off in (1e-15, 1e-12, 1e-9):
        near = GaussianPair((1.0 + off, 1.0 - off / 2), (0.6, 0.8), (1, 1))
        for epsilon in (0.0, 1.0, 3.0):
            expected = gaussian.delta(epsilon, mu=1.0)
            assert near.delta(epsilon) == pytest.approx(expected, rel=1e-12 + 30 * off)


def test_less_data_is_never_easier_to_tell_apart():
    generator = random.Random(6)
    for _ in range(10):
        pair = random_pair(generator, 4)
        fewer = GaussianPair(pair.eigenvalues[:3], pair.shifts[:3], (1, 1, 1))
        for epsilon in (-0.5, 0.0, 0.3, 2.0):
            assert fewer.delta_interval(epsilon)[0] <= pair.delta_interval(epsilon)[1]
            assert fewer.delta(epsilon) <= pair.delta(epsilon) + 1e-13
        assert epsilon_lower(fewer, 1e-4) <= epsilon_lower(pair, 1e-4) * (1 + 1e-9)


def test_repeats_are_more_coordinates():
    twice = GaussianPair(MIXED.eigenvalues * 2, MIXED.shifts * 2, (1,) * 6)
    assert MIXED.repeated(2).delta(1.0) == pytest.approx(twice.delta(1.0), rel=1e-12)
    assert epsilon_lower(MIXED, 1e-6, repeats=2) == pytest.approx(epsilon_lower(twice, 1e-6))
    pair = GaussianPair((1.0,), (0.01,), (1,))
    assert epsilon_lower(pair, 1e-5, repeats=10_000) == pytest.approx(
        gaussian.epsilon(1e-5, mu=1.0), rel=1e-12
    )


# Renyi


def test_renyi_against_direct_integration():
    for v, d, order in ((0.5, 0.3, 3.0), (2.0, 1.0, 1.4), (1.0, 0.7, 5.0), (3.0, 0.2, 0.5)):
        with mp.workdps(30):
            p, q = (lambda y, v=v, d=d: mp.npdf(y, d, mp.sqrt(v))), mp.npdf
            total = mp.quad(lambda y: p(y) ** order * q(y) ** (1 - order), [-60, -8, 0, 8, 60])  # noqa: B023
            exact = mp.log(total) / (order - 1)
        found = GaussianPair((v,), (d,), (1,)).renyi(order)
        assert found == pytest.approx(float(exact), rel=1e-13)


def test_renyi_at_its_special_orders():
    kl = 0.5 * sum(
        v - 1 - math.log(v) + d * d for v, d in zip(MIXED.eigenvalues, MIXED.shifts, strict=True)
    )
    for order in (1.0, 1.0 + 1e-12, 1.0 - 1e-12):
        assert MIXED.renyi(order) == pytest.approx(kl, rel=1e-10)
    assert GaussianPair((0.25,), (0.0,), (3,)).renyi(math.inf) == pytest.approx(3 * math.log(2.0))
    assert MIXED.renyi(math.inf) == math.inf
    tiny = GaussianPair.scaled(1.0 + 1e-9, 4)  # order x^2 dimension / 4
    excess = tiny.eigenvalues[0] - 1.0
    assert tiny.renyi(2.0) == pytest.approx(2.0 * excess**2, rel=1e-8)


# Edges


def test_no_difference_refutes_nothing():
    same = GaussianPair((1.0,), (0.0,), (5,))
    assert same.delta_interval(0.0) == (0.0, 0.0) and same.delta(-1.0) == pytest.approx(0.63212056)
    assert [epsilon_lower(same, d) for d in (0.0, 1e-9, 1.0)] == [0.0] * 3
    assert same.renyi(2.0) == same.renyi(math.inf) == 0.0


def test_ends_of_the_range():
    assert epsilon_lower(MIXED, 0.0) == epsilon_lower(MIXED.swapped(), 0.0) == math.inf
    assert epsilon_lower(MIXED, 1.0) == epsilon_lower(MIXED, 0.9) == 0.0
    assert MIXED.delta_interval(math.inf) == (0.0, 0.0) and MIXED.delta(-math.inf) == 1.0
    bounded = GaussianPair((0.5, 0.9), (0.1, 0.2), (1, 1))
    top = bounded.renyi(math.inf)
    assert bounded.delta(top + 1e-12) == 0.0 and bounded.delta_interval(top)[0] == 0.0
    for gap in (1e-3, 1e-6, 1e-9):
        lower, upper = bounded.delta_interval(top - gap)
        assert 0.0 < lower <= upper < 1.01 * lower
    assert bounded.log_delta(0.0) == pytest.approx(math.log(bounded.delta(0.0)))


def test_far_tails_stay_accurate_in_logs():
    pair = GaussianPair.scaled((600 / 599) ** 2, 512)
    one, two = pair.log_delta(10.0), quadratic.log_delta(terms_of(pair), 10.0).value
    assert one < -2000 and one == pytest.approx(two, rel=1e-13)
    assert pair.delta_interval(10.0)[0] == 0.0


def test_wild_numbers_give_no_warning_and_keep_their_order():
    generator = np.random.default_rng(9)
    for _ in range(12):
        size = int(generator.integers(1, 5))
        v = np.clip(np.exp(generator.choice([1, 5, 30]) * generator.normal(size=size)), 1e-30, 1e30)
        d = generator.choice([0.0, 1e-9, 1.0, 1e4]) * generator.normal(size=size)
        counts = [int(c) for c in generator.choice([1, 2, 1000, 10**9], size=size)]
        pair = GaussianPair(tuple(v.tolist()), tuple(d.tolist()), tuple(counts))
        for epsilon in (0.0, 1.0, -1.0, 1e-300, 1e5, 1e300, -1e300):
            lower, upper = pair.delta_interval(epsilon)
            assert 0.0 <= lower <= upper <= 1.0, (pair, epsilon)
        found = [epsilon_lower(pair, delta) for delta in (0.0, 1e-300, 1e-5, 0.5, 1.0)]
        assert found == sorted(found, reverse=True), pair


def test_numbers_that_are_refused():
    for wrong in (
        lambda: GaussianPair((1.0,), (0.0, 1.0), (1,)),
        lambda: GaussianPair((-1.0,), (0.0,), (1,)),
        lambda: GaussianPair((1.0,), (math.inf,), (1,)),
        lambda: GaussianPair((1.0,), (0.0,), (0,)),
        lambda: GaussianPair.scaled(0.0, 3),
        lambda: dataclasses.replace(MIXED, rounding=-1.0),
        lambda: MIXED.delta(math.nan),
        lambda: MIXED.renyi(0.0),
        lambda: epsilon_lower(MIXED, 1.5),
        lambda: epsilon_lower(MIXED, 1e-5, repeats=0),
    ):
        with pytest.raises(ParameterError):
            wrong()

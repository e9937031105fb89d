"""Delta to six digits and more, down to 1e-30; and monotone in whatever it must be monotone in."""

import dp_accounting.dp_event as dpe
import mpmath as mp
import numpy as np
import pytest

from privassay.accountant.account import account


def sampled(rate, noise, count):
    return dpe.SelfComposedDpEvent(
        dpe.PoissonSampledDpEvent(rate, dpe.GaussianDpEvent(noise)), count
    )


def bound_of(event, **others):
    return account(event, adjacency="add-remove", **others)


@pytest.mark.parametrize(
    "epsilon, delta",
    [
        (3.141014139455, 1e-5),
        (5.916961619669, 1e-10),
        (11.176232935976, 1e-20),
        (16.250031575530, 1e-30),
    ],
)
def test_a_thousand_steps(epsilon, delta):
    found = bound_of(sampled(0.01, 0.8, 1000)).delta(epsilon)
    assert found.lower == pytest.approx(delta, rel=1e-9)  # as far as the epsilon is printed
    assert found.upper / found.lower - 1 < 1e-6


def _phi(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


def _one(q, s, eps):
    """Remove direction of one step, at any real epsilon."""
    if mp.e**eps <= 1 - q:
        return 1 - mp.e**eps
    x = s**2 * mp.log((mp.e**eps - 1 + q) / q) + mp.mpf(1) / 2
    return (1 - q) * _phi(-x / s) + q * _phi(-(x - 1) / s) - mp.e**eps * _phi(-x / s)


def _two(q, s, eps):
    """Two steps: the first outcome is integrated over, the second is in closed form."""

    def density(x):
        n = mp.npdf(x, 0, s)
        ratio = 1 - q + q * mp.e ** ((2 * x - 1) / (2 * s**2))
        return n * ratio * _one(q, s, eps - mp.log(ratio))

    edges = [s * mp.mpf(k) / 2 for k in range(-30, 50)]
    return mp.quad(density, edges)


@pytest.mark.parametrize(
    "q, s, epsilon", [(0.2, 1.0, 1.0), (0.2, 1.0, 6.0), (0.05, 0.7, 14.0), (0.5, 2.0, 5.0)]
)
def test_two_steps_against_mpmath(q, s, epsilon):
    with mp.workdps(40):
        truth = _two(mp.mpf(q), mp.mpf(s), mp.mpf(epsilon))
        found = bound_of(sampled(q, s, 2)).delta(epsilon)
        assert found.lower <= truth <= found.upper
        assert found.upper / found.lower - 1 < 1e-6


def test_one_release_to_the_last_digit_of_any_delta():
    with mp.workdps(50):
        for mu, epsilon in ((1.0, 11.0), (0.3, 3.4), (4.0, 50.0), (0.01, 0.11)):
            m, e = mp.mpf(mu), mp.mpf(epsilon)
            truth = _phi(m / 2 - e / m) - mp.e**e * _phi(-m / 2 - e / m)
            found = bound_of(dpe.GaussianDpEvent(1.0 / mu)).delta(epsilon)
            near = mp.mpf(1) / mp.mpf(1.0 / mu)
            assert abs(found.lower / truth - 1) < 1e-9 + 1e3 * abs(near / m - 1)
            assert found.upper / found.lower - 1 < 1e-10


def test_monotone():
    draw = np.random.default_rng(5)
    for _ in range(12):
        rate, noise = 10 ** draw.uniform(-4, -0.3), 10 ** draw.uniform(-0.2, 1.5)
        count, delta = int(10 ** draw.uniform(0, 5)), 10 ** draw.uniform(-12, -2)
        base = bound_of(sampled(rate, noise, count)).epsilon(delta)
        worse = (
            bound_of(sampled(min(1.0, 1.1 * rate), noise, count)).epsilon(delta),
            bound_of(sampled(rate, noise / 1.1, count)).epsilon(delta),
            bound_of(sampled(rate, noise, count + 1 + count // 10)).epsilon(delta),
            bound_of(sampled(rate, noise, count)).epsilon(delta / 2),
        )
        for one in worse:
            assert one.upper >= base.lower
            if base.lower > 0.0:
                assert one.lower > base.lower
        deltas = bound_of(sampled(rate, noise, count)).profile(np.linspace(0.0, 3.0, 40))
        assert np.all(np.diff(deltas[1]) <= 1e-12 * deltas[1][:-1])


def test_two_hundred_epsilons_are_all_enclosed():
    bound = bound_of(sampled(0.01, 0.8, 1000))
    low, high = bound.profile(np.linspace(0.0, 6.0, 200))
    assert np.all(low <= high) and np.all(high / low - 1 < 1e-6)

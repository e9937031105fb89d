"""Gaussian mixtures: masses, inverse, moments and one-step curves against 30-digit arithmetic."""

import importlib.util
import math
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest

from privassay.accountant.errors import ParameterError
from privassay.accountant.pairs.base import Exchanged
from privassay.accountant.pairs.mixtures import (
    GaussianMixture,
    gaussian,
    poisson,
    poisson_group,
    poisson_replace,
)
from privassay.accountant.pairs.normal_cells import normal_cells
from privassay.accountant.pairs.one_step import OneStepTable

_spec = importlib.util.spec_from_file_location("oracle", Path(__file__).parent / "oracle.py")
oracle = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(oracle)

PAIRS = {
    "W1": poisson(0.01, 1.25),
    "W7": poisson(1e-4, 0.5),
    "tiny rate": poisson(1e-9, 0.7),
    "nearly one": poisson(0.999999, 2.0),
    "little noise": poisson(0.3, 10.0),
    "replace": poisson_replace(0.01, 1.25),
    "replace, small mu": poisson_replace(0.3, 0.1),
    "group": poisson_group(0.05, 1.0, 3),
    "replace group": poisson_replace(0.2, 0.8, 3),
    "plain": gaussian(0.01),
    "uneven": GaussianMixture((0.25, 0.75), (0.5, 2.0), (0.5, 0.5), (-1.0, 0.5)),
}


@pytest.mark.parametrize("mean", [0.0, 1.7])
@pytest.mark.parametrize("width", [1e-9, 1e-4, 0.19, 0.21, 1.0])
def test_cells_of_a_normal(mean, width):
    x = np.concatenate([c + width * np.arange(3) for c in (-37.0, -9.0, -0.3, 2.0, 8.0, 35.0)])
    x = np.maximum.accumulate(x)
    mass, error = normal_cells(x, mean)
    cuts = [-mp.inf, *map(mp.mpf, x.tolist()), mp.inf]
    with mp.workdps(40):
        for j in range(len(mass)):
            a, b = cuts[j] - mp.mpf(mean), cuts[j + 1] - mp.mpf(mean)
            truth = mp.ncdf(b) - mp.ncdf(a) if b < 0 else mp.ncdf(-a) - mp.ncdf(-b)
            if a < 0 < b:
                truth = 1 - mp.ncdf(a) - mp.ncdf(-b)
            oracle.inside(truth, mass, error, j)
            assert error[j] <= 1e-12 * mass[j] + 1e-15 * width + 1e-319


@pytest.mark.parametrize("name", PAIRS)
def test_masses_in_the_bulk_and_in_both_tails(name):
    pair = PAIRS[name]
    generator = np.random.default_rng(3)
    ends = pair.losses(np.array([-20.0, 25.0]))[0]
    bulk = pair.losses(generator.uniform(-5.0, 7.0, 40))[0]
    losses = np.unique(np.concatenate([bulk, generator.uniform(*ends, 10), ends]))
    found = pair.masses(losses)
    assert found.loss_error < 1e-15 * (40.0 + 60.0 * np.abs(losses).max())
    x, _ = pair.points(losses)
    with mp.workdps(40):
        p, q = (
            [(mp.mpf(0), mp.mpf(1))]
            + [
                oracle.tail_masses(w, m, v) if math.isfinite(v) else ((0, 1) if v < 0 else (1, 0))
                for v in x.tolist()
            ]
            + [(mp.mpf(1), mp.mpf(0))]
            for w, m in ((pair.weights_p, pair.means_p), (pair.weights_q, pair.means_q))
        )
        for j in range(len(losses) + 1):
            for tails, mass, error in ((p, found.p, found.p_error), (q, found.q, found.q_error)):
                left, right = tails[j], tails[j + 1]
                truth = right[0] - left[0] if right[0] < 0.5 else left[1] - right[1]
                oracle.inside(truth, mass, error, j)
                assert error[j] <= 1e-12 * mass[j] + 1e-15
        # the loss where the cell really ends
        for loss, v in zip(losses.tolist(), x.tolist(), strict=True):
            if not math.isfinite(v):
                continue
            ratio = oracle.density(pair.weights_p, pair.means_p, mp.mpf(v))
            ratio /= oracle.density(pair.weights_q, pair.means_q, mp.mpf(v))
            assert abs(mp.log(ratio) - mp.mpf(loss)) <= found.loss_error
    oracle.check_ratios(losses, found)
    assert abs(found.p.sum() - 1.0) <= found.p_error.sum() + 1e-15
    assert abs(found.q.sum() - 1.0) <= found.q_error.sum() + 1e-15


@pytest.mark.parametrize("rate", [1e-9, 0.01, 0.5, 0.999999])
def test_boundaries_at_and_around_the_least_loss(rate):
    pair = poisson(rate, 1.0)
    edge = math.log1p(-rate)
    losses = np.unique(edge * np.array([2.0, 1.0 + 1e-12, 1.0, 1.0 - 1e-12, 1.0 - 1e-6, 0.9]))
    found = pair.masses(losses)
    assert found.p[0] == 0.0 and pair.lowest <= edge
    x, _ = pair.points(losses)
    finite = np.isfinite(x)
    with mp.workdps(40):
        for loss, v in zip(losses[finite].tolist(), x[finite].tolist(), strict=True):
            t = mp.mpf(v) - mp.mpf(0.5)
            truth = mp.log1p(-mp.mpf(rate) + mp.mpf(rate) * mp.e**t)
            assert abs(truth - mp.mpf(loss)) <= found.loss_error


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("power", [1e-3, 0.7, 2.0, -0.4, -2.5, 25.0])
def test_moment(name, power):
    pair = PAIRS[name]
    low, high = pair.moment(power)
    w = 1.0 + power
    tops = [b + w * (a - b) for a in pair.means_p for b in pair.means_q]
    tops += [*pair.means_p, *pair.means_q]
    if max(tops) - min(tops) > 60.0:
        pytest.skip("oracle too slow")
    with mp.workdps(25):

        def f(x):
            p = oracle.density(pair.weights_p, pair.means_p, x)
            return p**w * oracle.density(pair.weights_q, pair.means_q, x) ** (1 - w)

        # trapezoid: entire up to zeros at distance pi/spread, hence exact to far below 1e-20
        step = mp.mpf(1) / 16 if name != "little noise" else mp.mpf(1) / 64
        left, right = min(tops) - 14, max(tops) + 14
        count = int((right - left) / step)
        total = step * mp.fsum(f(left + step * k) for k in range(count))
        truth = mp.log(total)
        assert low - 1e-17 <= truth <= high + 1e-17
    assert high - low <= 1e-11 * (1.0 + abs(high))


def test_whole_powers_have_a_binomial_sum():
    q, mu, order = 0.02, 1.0 / 1.3, 5
    truth = sum(
        math.comb(order, k) * (1 - q) ** (order - k) * q**k * math.exp(0.5 * (k * k - k) * mu * mu)
        for k in range(order + 1)
    )
    low, high = poisson(q, mu).moment(order - 1.0)
    assert low - 1e-14 <= math.log(truth) <= high + 1e-14
    known = 0.000859212416437 * (order - 1)
    assert low - 5e-15 <= known <= high + 5e-15 and high - low < 1e-12


@pytest.mark.parametrize("power", [1e4, -1e4, 1e-12])
def test_extreme_powers_give_a_valid_enclosure(power):
    for pair in PAIRS.values():
        low, high = pair.moment(power)
        assert low <= high
        if power > 1.0 and len(pair.means_q) == 1:
            # one term alone
            w, gap = 1.0 + power, pair.means_p[-1] - pair.means_q[0]
            assert high >= w * math.log(pair.weights_p[-1]) + 0.5 * w * power * gap * gap * 0.999


def test_other_direction_by_exchange():
    pair = poisson_replace(0.05, 0.7)  # symmetric
    losses = np.linspace(-1.0, 1.0, 7)
    one, two = pair.masses(losses), Exchanged(pair).masses(losses)
    np.testing.assert_allclose(one.p, two.p, rtol=1e-11)
    np.testing.assert_allclose(one.q, two.q, rtol=1e-11)


@pytest.mark.parametrize(
    ("pair", "epsilon", "truth"),
    [
        (poisson(0.1, 1 / 1.2), 0.15, 0.00782556020),
        (Exchanged(poisson(0.1, 1 / 1.2)), 0.05, 0.00712921682),
        (gaussian(1.0), 25.0, 2.88733677555e-134),
    ],
)
def test_one_step_regression(pair, epsilon, truth):
    low, high = OneStepTable(pair).log_delta_interval([epsilon])
    assert math.exp(low[0]) == pytest.approx(truth, rel=1e-9)
    assert high[0] - low[0] < 1e-9


@pytest.mark.parametrize("name", PAIRS)
def test_one_step_curve(name):
    pair = PAIRS[name]
    epsilons = pair.losses(np.array([-6.0, -1.0, 0.3, 1.5, 4.0, 12.0]))[0]
    low, high = OneStepTable(pair).log_delta_interval(epsilons)
    for epsilon, a, b in zip(epsilons.tolist(), low.tolist(), high.tolist(), strict=True):
        with mp.workdps(60):
            # where the loss is epsilon, by bisection at high precision
            left, right = mp.mpf(-45), mp.mpf(60)
            for _ in range(150):
                x = (left + right) / 2
                loss = mp.log(oracle.density(pair.weights_p, pair.means_p, x)) - mp.log(
                    oracle.density(pair.weights_q, pair.means_q, x)
                )
                left, right = (x, right) if loss < epsilon else (left, x)
            p = oracle.tail_masses(pair.weights_p, pair.means_p, x)[1]
            q = oracle.tail_masses(pair.weights_q, pair.means_q, x)[1]
            truth = p - mp.e ** mp.mpf(epsilon) * q
            if truth > 1e-300:
                assert a - 1e-15 <= mp.log(truth) <= b + 1e-15, (epsilon, a, mp.log(truth), b)


def test_bad_arguments():
    with pytest.raises(ParameterError, match="monotone"):
        GaussianMixture((0.5, 0.5), (0.0, 1.0), (1.0,), (0.5,))
    with pytest.raises(ParameterError, match="sum to 1"):
        GaussianMixture((0.5, 0.4), (0.0, 1.0), (1.0,), (0.0,))
    with pytest.raises(ParameterError, match="equal"):
        GaussianMixture((1.0,), (0.0,), (1.0,), (0.0,))
    with pytest.raises(ParameterError, match="smaller group"):
        poisson_group(1e-9, 1.0, 40)
    with pytest.raises(ParameterError, match="rate"):
        poisson(0.0, 1.0)

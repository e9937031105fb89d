"""Sampling of any pair: the Gaussian case has its own exact pair, the others plain sums."""

import importlib.util
import math
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest

from privassay.accountant.pairs.amplified import PoissonAmplified
from privassay.accountant.pairs.atoms import Atoms, PureDp
from privassay.accountant.pairs.base import Exchanged
from privassay.accountant.pairs.laplace import Laplace
from privassay.accountant.pairs.mixtures import gaussian, poisson
from privassay.accountant.pairs.one_step import OneStepTable

_spec = importlib.util.spec_from_file_location("oracle", Path(__file__).parent / "oracle.py")
oracle = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(oracle)


@pytest.mark.parametrize(("rate", "mu"), [(0.01, 1.25), (1e-6, 2.0), (0.9999, 1.0), (1.0, 0.7)])
def test_gaussian_agrees_with_the_mixture(rate, mu):
    pair, twin = PoissonAmplified(gaussian(mu), rate), poisson(rate, mu)
    losses = np.unique(twin.losses(np.linspace(-7.0, 9.0, 30))[0])
    one, two = pair.masses(losses), twin.masses(losses)
    assert one.loss_error < 1e-12
    # boundaries may differ by the loss errors: compare what they allow
    shift = one.loss_error + two.loss_error
    wide = twin.masses(np.sort(np.concatenate([losses - shift, losses + shift])))
    p = np.cumsum(wide.p[::-1])[::-1]
    above = np.cumsum(one.p[::-1])[::-1][1:]
    slack = 1e-13
    assert (above <= p[1::2] * (1 + slack) + 1e-300).all()
    assert (above >= p[2::2] * (1 - slack) - 1e-300).all()
    oracle.check_ratios(losses, one)
    for sign in (pair, Exchanged(pair)):
        twins = twin if sign is pair else Exchanged(twin)
        epsilons = [-0.5, 0.0, 1e-3, 0.5, 3.0, 20.0]
        a = OneStepTable(sign).log_delta_interval(epsilons)
        b = OneStepTable(twins).log_delta_interval(epsilons)
        assert (a[0] <= b[1]).all() and (b[0] <= a[1]).all()
    assert pair.lowest <= math.log1p(-rate) if rate < 1.0 else pair.lowest == -math.inf


@pytest.mark.parametrize("power", [1.0, 2.0, 0.4, 2.3, 20.3, -0.4, -3.0, 70.5, -90.0])
def test_gaussian_moment_contains_the_mixture(power):
    low, high = PoissonAmplified(gaussian(1.25), 0.01).moment(power)
    truth = poisson(0.01, 1.25).moment(power)
    assert low <= truth[1] and truth[0] <= high
    if abs(power) < 5.0:
        assert high - low < 1e-4 * abs(truth[1])


@pytest.mark.parametrize("power", [1.0, 2.5, -0.4, -3.0, 30.0, 55.5])
@pytest.mark.parametrize("rate", [0.02, 0.7])
def test_laplace_moment(power, rate):
    low, high = PoissonAmplified(Laplace(1.0), rate).moment(power)
    with mp.workdps(30):
        q, w = mp.mpf(rate), 1 + mp.mpf(power)

        def r(loss):
            return (1 - q + q * mp.e**loss) ** w

        truth = r(1) * mp.e ** (-1) / 2 + r(-1) / 2
        truth += mp.quad(lambda loss: r(loss) * mp.e ** (-(loss + 1) / 2) / 4, [-1, 0, 1])
        assert low - 1e-17 <= mp.log(truth) <= high + 1e-17
    assert high - low < 1e-6


@pytest.mark.parametrize("base", [PureDp(1.0), Atoms((0.5, 0.4, 0.1, 0.0), (0.0, 0.2, 0.4, 0.4))])
@pytest.mark.parametrize("rate", [0.1, 0.6])
def test_atoms(base, rate):
    """Also where one side has mass that the other lacks."""
    pair = PoissonAmplified(base, rate)
    p0 = getattr(base, "p", None) or tuple(base.table.p)
    q0 = getattr(base, "q", None) or tuple(base.table.q)
    p = [(1 - rate) * b + rate * a for a, b in zip(p0, q0, strict=True)]
    for sign, (x, y) in ((pair, (p, q0)), (Exchanged(pair), (q0, p))):
        epsilons = [-0.3, 0.0, 0.04, 0.2, 0.5]
        low, high = OneStepTable(sign).log_delta_interval(epsilons)
        for e, a, b in zip(epsilons, low, high, strict=True):
            truth = sum(max(0.0, u - math.exp(e) * v) for u, v in zip(x, y, strict=True))
            if truth > 1e-12:
                assert a - 1e-13 <= math.log(truth) <= b + 1e-13
                assert b - a < 1e-6
    assert pair.infinite == pytest.approx(rate * base.infinite) and pair.missing == 0.0
    assert pair.lowest <= math.log(min(u / v for u, v in zip(p, q0, strict=True) if v))

"""The moment function of one step against 30-digit quadrature; the closed form of one step."""

import mpmath as mp
import numpy as np
import pytest

from privassay.accountant.engines.contour_tail import Decay, Line
from privassay.accountant.engines.onestep import OneStep
from privassay.accountant.engines.subsampled import NODES, ROW, Kernel, _panel, log_outside
from privassay.accountant.mills import UNIT


def _moment(rate, noise, sign, z):
    with mp.workdps(30):
        q, s = mp.mpf(rate), mp.mpf(noise)
        w = 1 + z if sign > 0 else -z

        def f(x):
            return mp.npdf(x, 0, s) * mp.e ** (w * mp.log(1 - q + q * mp.e ** ((x - 0.5) / s**2)))

        low, high = -13 * noise, 13 * noise + (abs(float(z.real)) if sign > 0 else 0) + 1
        points = mp.linspace(low, high, int((high - low) / noise * 3) + 2)
        return mp.quad(f, points)


CASES = [
    (0.01, 0.8, 1, 2.0, 30.0),
    (0.01, 0.8, -1, 5.0, 30.0),
    (0.3, 0.3, 1, 0.7, 11.0),
    (1e-4, 2.0, 1, 8.0, 500.0),
    (0.9, 3.0, -1, 8.0, 3.0),
    (1e-6, 0.5, 1, 2.0, 900.0),
]


@pytest.mark.parametrize(("rate", "noise", "sign", "lam", "u"), CASES)
def test_moments_lie_within_their_error_bound(rate, noise, sign, lam, u):
    kernel = Kernel(rate, noise, sign=sign, reach=13.0)
    step = u / (ROW + 3)
    edges = kernel.panels(kernel.power(lam), 2.0 * ROW * step, -45.0)
    rule = kernel.rule(edges)
    rows = kernel.rows(rule, edges, lam, step=step, first=0, count=2)
    single = kernel.at(rule, edges, lam, np.array([u]))
    truth = _moment(rate, noise, sign, mp.mpc(lam, u))
    for found, index in ((rows, ROW + 3), (single, 0)):
        gap = abs(complex(mp.exp(mp.mpc(found.log[index])) - truth))
        slack = 4.0 * UNIT * abs(complex(truth))  # of the exponential taken here
        assert gap <= found.error[index] + slack, (gap, found.error[index])
        assert found.error[index] < 1e-9
        log_gap = abs(complex(mp.log(truth) - mp.mpc(found.log[index])))
        assert log_gap <= 1.4 * found.error[index] / found.size[index] + found.rounding[index]
    low, high = kernel.real(rule, edges, lam)
    real = float(mp.log(_moment(rate, noise, sign, mp.mpf(lam))))
    assert 2.0 * low - high - 1e-15 <= real <= high + 1e-15


def test_complex_logarithm_keeps_a_small_real_part():
    # numpy.log1p of such a number is wrong in the 7th digit
    kernel = Kernel(1e-6, 0.5, sign=1, reach=10.0)
    edges = kernel.panels(kernel.power(2.0), 20.0, -60.0)
    found = kernel.at(kernel.rule(edges), edges, 2.0, np.array([20.0]))
    truth = mp.log(_moment(1e-6, 0.5, 1, mp.mpc(2.0, 20.0)))
    assert abs(found.log[0].real / float(truth.real) - 1.0) < 1e-11


def test_panel_bounds_cover_the_error_of_coarse_panels():
    # panels far too wide, so that the error is visible
    for rate, noise, sign, lam, u in CASES[:5]:
        kernel = Kernel(rate, noise, sign=sign, reach=10.0)
        fine = kernel.panels(kernel.power(lam), u, -48.0)
        truth = kernel.at(kernel.rule(fine), fine, lam, np.array([u])).log[0]
        for count in (3, 6, 12, 24):
            edges = np.linspace(kernel.low, kernel.high, count + 1)
            rough = kernel.at(kernel.rule(edges), edges, lam, np.array([u])).log[0]
            gap = abs(np.exp(truth) - np.exp(rough))
            bound = kernel.quadrature_error(edges, kernel.power(lam), u)
            assert gap <= bound + 1e-12, (rate, noise, count, gap, bound)


def test_tail_bounds_are_above_the_modulus():
    for rate, noise, sign, lam, _ in CASES:
        kernel = Kernel(rate, noise, sign=sign, reach=10.0)
        edges = kernel.panels(kernel.power(lam), 2000.0, -40.0)
        rule = kernel.rule(edges)
        size = kernel.real(rule, edges, lam)[0]
        decay = Decay(kernel, lam, size)
        u = np.geomspace(1e-2, 2000.0, 60)
        modulus = kernel.at(rule, edges, lam, u).size * np.exp(-size)
        bound = np.exp([decay.log_bound(v) for v in u])
        assert (modulus <= bound + 1e-9).all()
        assert (np.diff(bound) <= 1e-12).all()
        line = Line(kernel, 10, lam, size)
        assert (line.moduli(u) >= modulus - 1e-9).all()
        # the chord bound, at points between two that are given
        a, b = 3.0, 3.0 + 0.5 / np.sqrt(line.variance)
        between = kernel.at(rule, edges, lam, np.linspace(a, b, 50)).size * np.exp(-size)
        ends = line.moduli(np.array([a, b])).max()
        assert between.max() <= ends + (b - a) ** 2 * line.variance / 8.0 + 1e-9


def test_gauss_legendre_is_exact_for_polynomials():
    nodes, weights = _panel()
    assert len(nodes) == NODES
    for power in (0, 2, 20, 2 * NODES - 2):
        assert abs(weights @ nodes**power - 2.0 / (power + 1)) < 1e-15
    for reach in (1.0, 5.0, 20.0):
        assert log_outside(reach) >= float(mp.log(mp.erfc(reach / mp.sqrt(2))))


def _one_step(rate, noise, sign, epsilon):
    """The textbook form, in 50 digits."""
    with mp.workdps(60):
        q, s, grown = mp.mpf(rate), mp.mpf(noise), mp.e ** mp.mpf(epsilon)
        if sign > 0:
            if grown <= 1 - q:
                return 1 - grown
            x = s**2 * mp.log((grown - 1 + q) / q) + mp.mpf(1) / 2
            tail = mp.ncdf(-x / s)
            return (1 - q) * tail + q * mp.ncdf((1 - x) / s) - grown * tail
        if 1 / grown <= 1 - q:
            return mp.mpf(0)
        x = s**2 * mp.log((1 / grown - 1 + q) / q) + mp.mpf(1) / 2
        return mp.ncdf(x / s) - grown * ((1 - q) * mp.ncdf(x / s) + q * mp.ncdf((x - 1) / s))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("rate", [1e-6, 0.02, 0.7, 1.0])
def test_one_step_agrees_with_the_textbook_form(rate, sign):
    for noise in (0.25, 1.0, 8.0):
        step = OneStep(rate, (1.0 / noise, 1.0 / noise), sign=sign)
        for epsilon in (-3.0, -0.1, -1e-3, 0.0, 1e-7, 0.01, 0.3, 2.0, 9.0):
            low, high = (float(end[0]) for end in step.log_delta_interval(np.array([epsilon])))
            truth = _one_step(rate, noise, sign, epsilon)
            if truth <= 0:
                assert low == -np.inf
                continue
            log = mp.log(truth)
            assert mp.mpf(low) <= log <= mp.mpf(high), (rate, noise, epsilon, low, high, log)
            assert high - low < 1e-9 * (1.0 + abs(low)) or low == -np.inf


def test_one_step_reference_values():
    for sign, epsilon, wanted in ((1, 0.15, 0.00782556020), (-1, 0.05, 0.00712921682)):
        found = OneStep(0.1, (1 / 1.2, 1 / 1.2), sign=sign).log_delta_interval(np.array([epsilon]))
        assert abs(np.exp(found[1][0]) - wanted) < 1e-11

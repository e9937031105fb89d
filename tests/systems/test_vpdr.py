"""Reference numbers of VPDR's specification, to their printed digits."""

import math

import numpy as np
import pytest
from mpmath import exp as mp_exp
from mpmath import findroot, log, mp, mpf, ncdf, sqrt

from privassay.accountant.allocation import (
    ellipsoid_stddevs,
    is_isotropic_optimal,
    optimal_cost,
    optimal_stddevs,
)
from privassay.accountant.geometry import clip_mu
from privassay.audit_reports.dossier import vpdr


def test_sigma(check_rows):
    check_rows(
        vpdr.sigmas(),
        [
            ["0.5", ".1422", "43.38", "31.45", "9.70", "7.03", "48.15"],
            ["1", ".2681", "21.92", "16.68", "4.90", "3.73", "24.30"],
            ["2", ".5016", "11.18", "8.92", "2.50", "1.99", "12.37"],
            ["4", ".9249", "5.80", "4.8351", "1.30", "1.08", "6.40"],
            ["8", "1.6660", "3.09", "2.68", "0.69", "0.60", "3.39"],
            ["10", "2.0004", "2.54", "2.24", "0.57", "0.50", "2.78"],
        ],
    )


def test_classic_conversion_costs_14_to_38_percent():
    gains = [row[2] / row[3] - 1.0 for row in vpdr.sigmas().rows]
    assert 0.13 < min(gains) and round(max(gains), 2) == 0.38


def test_totals(check_rows):
    check_rows(
        vpdr.totals(),
        [
            ["1", ".741", ".762", ".841"],
            ["2", "1.555", "1.590", "1.755"],
            ["8", "6.763", "6.852", "7.563"],
            ["10", "8.555", "8.657", "9.555"],
        ],
    )


def test_counterexample(check_rows):
    check_rows(
        vpdr.counterexample(),
        [
            ["1.76", "3.56", "15.1"],
            ["3.92", "8.20", "39.3"],
            ["2.44", "5.00", "22.2"],
            ["3.23", "6.69", "31.0"],  # the specification prints 6.70; see below
            ["1.47", "2.96", "12.3"],
            ["1.20", "2.40", "9.75"],
        ],
    )


def test_counterexample_by_a_second_method():
    """6.69497, by 40 digits of mpmath: the printed 6.70 is not this number rounded."""
    with mp.workdps(40):
        target = mpf(10) ** -5

        def delta(epsilon, mu):
            tail = ncdf(-mu / 2 - epsilon / mu)
            return ncdf(mu / 2 - epsilon / mu) - mp_exp(epsilon) * tail

        mu = findroot(lambda m: log(delta(mpf(2), m) / target), (0.3, 0.8), solver="anderson")
        wide = mu * sqrt(mpf("8.2"))  # 0.1 + 0.9 * 3^2
        found = findroot(lambda e: log(delta(e, wide) / target), (6.0, 7.4), solver="anderson")
    assert round(float(found), 5) == 6.69497
    assert vpdr.counterexample().rows[3][2] == pytest.approx(float(found), rel=1e-12)


def test_noise(check_rows):
    texts = [".706", "1.329", "1.384", ".782", "1.473", "1.70", "1.66", "1.000000", "12.6"]
    check_rows(vpdr.noise_ratios(), [[text] for text in texts])


def test_legacy(check_rows):
    check_rows(vpdr.legacy(), [["1.82"], ["1.41"], ["1.94"], ["3.95"], ["16.9"]])


def test_trained_encoder(check_rows):
    check_rows(vpdr.trained_encoder(), [["23", "6.17", "44.5"], ["600", "160.8", "13,618"]])


def test_count_leak(check_rows):
    check_rows(vpdr.count_leak(), [["5", "70.6"], ["23", "7.42"], ["100", "1.33"], ["600", "0.18"]])


def test_selection(check_rows):
    check_rows(vpdr.selection(), [["6160"], ["308"], [".3008"], ["4e-4"], [".375"]])


def test_selection_overlap_is_at_chance():
    """Monte Carlo: scores in [0, 0.1] under the released noise, epsilon 1, 10 and 100."""
    random = np.random.default_rng(0)
    top = np.arange(154)
    for epsilon in (1.0, 10.0, 100.0):
        scale = 2.0 * 154 * 0.1 / (0.1 * epsilon / 20.0)
        scores = np.where(np.arange(512) < 154, 0.1, 0.0) + random.laplace(0, scale, (4000, 512))
        chosen = np.argpartition(-scores, 154, axis=1)[:, :154]
        overlap = np.isin(chosen, top).mean()
        assert abs(overlap - 0.3015) < 0.003, (epsilon, overlap)


def test_signal(check_rows):
    texts = ["0.004", "0.023", "0.06", "0.60", "1.31", "1.15", "5.9"]
    check_rows(vpdr.signal(), [[text] for text in texts])


def test_sampled(check_rows):
    check_rows(vpdr.sampled(), [["1"], ["0.00988931"]])


def test_sampled_by_quadrature_in_two_dimensions():
    """The mixture against the plain law, on a grid: no reduction to one dimension is used."""
    x = np.linspace(-14.0, 14.0, 2801)
    first = np.exp(-0.5 * x**2)[:, None]
    second = np.exp(-0.5 * (x / 2.0) ** 2)[None, :]
    plain = first * second
    moved = np.exp(-0.5 * (x - 0.6) ** 2)[:, None] * np.exp(-0.5 * ((x - 1.6) / 2.0) ** 2)[None, :]
    gain = 0.9 * plain + 0.1 * moved - math.exp(0.2) * plain
    step = x[1] - x[0]
    value = float(np.maximum(gain, 0.0).sum()) * step * step / (2.0 * math.pi * 2.0)
    assert abs(value - 0.00988931) < 2e-8


def test_second_moments(check_rows):
    check_rows(vpdr.second_moments(), [["230", "0.1", ".032"], ["6000", "0.1", ".83"]])


def test_ceilings(check_rows):
    check_rows(
        vpdr.attack_ceilings(),
        [["1", ".107", ".575", ".020"], ["8", ".595", ".881", ".255"]],
    )


def test_allocation_identities():
    """Section 5.6: minimum H^2/mu^2, isotropic optimal at VPP's radii, and the ellipsoid's cost."""
    sizes, mu = (154, 358), 0.268
    bounds, weights = (2.0, 0.7), (1.0, 3.0)
    shares = [math.sqrt(w * d) for w, d in zip(weights, sizes, strict=True)]
    best = (sum(c * s for c, s in zip(bounds, shares, strict=True)) / mu) ** 2
    stddevs = optimal_stddevs(bounds, sizes, mu=mu, weights=weights)
    power = sum(w * d * s**2 for w, d, s in zip(weights, sizes, stddevs, strict=True))
    assert power == pytest.approx(best, rel=1e-12)
    assert optimal_cost(bounds, sizes, mu=mu, weights=weights) == pytest.approx(best, rel=1e-12)
    assert is_isotropic_optimal([5.0 * k for k in vpdr.KAPPA], sizes)
    radii, noise = ellipsoid_stddevs(bounds, sizes, mu=mu)
    assert clip_mu(noise, ellipsoid_radii=radii) == pytest.approx(mu, rel=1e-12)
    cost = sum(d * s**2 for d, s in zip(sizes, noise, strict=True))
    plain = sum(m * math.sqrt(d) for m, d in zip(bounds, sizes, strict=True))
    assert cost == pytest.approx((plain / mu) ** 2, rel=1e-12)

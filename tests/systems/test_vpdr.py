"""Reference numbers of VPDR's specification, to their printed digits."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from mpmath import exp as mp_exp
from mpmath import findroot, log, mp, mpf, ncdf, sqrt

from privassay.accountant.account import account
from privassay.accountant.allocation import (
    ellipsoid_stddevs,
    is_isotropic_optimal,
    optimal_cost,
    optimal_stddevs,
)
from privassay.accountant.geometry import clip_mu
from privassay.audit_reports.dossier import vpdr, vpdr_leaks, vpdr_noise
from privassay.mechanisms.groups import SecondMoments

from .conftest import near, params

F = 0.1  # two simulations of 12 seeds, each with a standard error of at most .024: 3 of both
CHECKLIST = [
    ("6, sigma", vpdr.sigmas, "0.5", [".1422", "43.38", "31.45", "9.70", "7.03", "48.15"]),
    ("6, sigma", vpdr.sigmas, "1", [".2681", "21.92", "16.68", "4.90", "3.73", "24.30"]),
    ("6, sigma", vpdr.sigmas, "2", [".5016", "11.18", "8.92", "2.50", "1.99", "12.37"]),
    ("6, sigma", vpdr.sigmas, "4", [".9249", "5.80", "4.8351", "1.30", "1.08", "6.40"]),
    ("6, sigma", vpdr.sigmas, "8", ["1.6660", "3.09", "2.68", "0.69", "0.60", "3.39"]),
    ("6, sigma", vpdr.sigmas, "10", ["2.0004", "2.54", "2.24", "0.57", "0.50", "2.78"]),
    ("6, verdicts", vpdr.totals, "1", [".741", ".762", ".841", "", ""]),
    ("6, verdicts", vpdr.totals, "2", ["1.555", "1.590", "1.755", "", ""]),
    ("6, verdicts", vpdr.totals, "8",
     [("6.763", "6.762"), ("6.852", "6.851"), ("7.563", "7.562"), "", ""]),
    ("6, verdicts", vpdr.totals, "10",
     [("8.555", "8.554"), ("8.657", "8.655"), ("9.555", "9.554"), "", ""]),
    ("5.8", vpdr.counterexample, "0.3 of the dimensions quiet, ratio 1.883",
     ["1.76", "3.56", "15.1"]),
    ("5.8", vpdr.counterexample, "0.3 of the dimensions quiet, ratio 4", ["3.92", "8.20", "39.3"]),
    ("5.8", vpdr.counterexample, "0.5 of the dimensions quiet, ratio 3", ["2.44", "5.00", "22.2"]),
    ("5.8", vpdr.counterexample, "0.1 of the dimensions quiet, ratio 3",
     ["3.23", ("6.70", "6.69"), "31.0"]),
    ("5.8", vpdr.counterexample, "VPP's own stds", ["1.47", "2.96", "12.3"]),
    ("5.8", vpdr.counterexample, "VPP, group clip, isotropic's power", ["1.20", "2.40", "9.75"]),
    ("F3", vpdr_noise.noise_ratios, "std on the leading group", [".706"]),
    ("F3", vpdr_noise.noise_ratios, "std on the rest", ["1.329"]),
    ("F3", vpdr_noise.noise_ratios, "power", ["1.384"]),
    ("F3", vpdr_noise.noise_ratios, "std on the leading group, 0.9 epsilon", [".782"]),
    ("F3", vpdr_noise.noise_ratios, "std on the rest, 0.9 epsilon", ["1.473"]),
    ("F3", vpdr_noise.noise_ratios, "power, 0.9 epsilon, epsilon 1", ["1.70"]),
    ("F3", vpdr_noise.noise_ratios, "power, 0.9 epsilon, epsilon 10", ["1.66"]),
    ("2.3, 6", vpdr_noise.noise_ratios, "mu^2 sigma^2", ["1.000000"]),
    ("F4", vpdr_noise.noise_ratios, "worth of a leading dimension that would justify it (F4)",
     ["12.6"]),
    ("F5", vpdr_leaks.legacy, "mu, one global clip, over the accounted one", ["1.82"]),
    ("F5", vpdr_leaks.legacy, "mu, clip for each group, over the accounted one", ["1.41"]),
    ("F5", vpdr_leaks.legacy, "epsilon at claimed 1, global clip", ["1.94"]),
    ("F5", vpdr_leaks.legacy, "epsilon at claimed 2, global clip", ["3.95"]),
    ("F5", vpdr_leaks.legacy, "epsilon at claimed 8, global clip", ["16.9"]),
    ("not on the page", vpdr_leaks.legacy, "epsilon spent by its own accounting, claimed 1", [""]),
    ("F6", vpdr_leaks.trained_encoder, "23", ["6.17", "44.5"]),
    ("F6", vpdr_leaks.trained_encoder, "600", ["160.8", "13,618"]),
    ("F8", vpdr_leaks.count_leak, "5", ["70.6"]),
    ("F8", vpdr_leaks.count_leak, "23", ["7.42"]),
    ("F8", vpdr_leaks.count_leak, "100", ["1.33"]),
    ("F8", vpdr_leaks.count_leak, "600", ["0.18"]),
    ("F1", vpdr_noise.choice, "Laplace scale, epsilon 1, T 20", ["6160"]),
    ("F1", vpdr_noise.choice, "Laplace scale, epsilon 1, T 1", ["308"]),
    ("F1", vpdr_noise.choice, "overlap with the true top at chance", [".3008"]),
    # simulated: a standard error of .0005 here, and at least the rounding of .0005 there
    ("F1", vpdr_noise.choice, "overlap, epsilon 1, 4,000 draws", [near(".301", 0.002)]),
    ("F1", vpdr_noise.choice, "overlap, epsilon 10, 4,000 draws", [near(".301", 0.002)]),
    ("F1", vpdr_noise.choice, "overlap, epsilon 100, 4,000 draws", [near(".302", 0.002)]),
    ("F2", vpdr_noise.choice, "P(F < 0.1), 10 classes, 230 records (F2)", ["4e-4"]),
    ("F2", vpdr_noise.choice, "share of scores at the clamp, 230 records of the fixture (F2)",
     ["1.00"]),
    ("F9", vpdr_noise.choice, "epsilon spent by IGPP's own accounting, claimed 1 (F9)", ["1.1"]),
    ("F11", vpdr_noise.choice, "noise power left after projecting back to 192 (F11)", [".375"]),
    ("F12", vpdr_noise.signal, "signal over noise at most, class of 4 (F12)", ["0.004"]),
    ("F12", vpdr_noise.signal, "signal over noise at most, class of 23 (F12)", ["0.023"]),
    ("F12", vpdr_noise.signal, "signal over noise at most, class of 60 (F12)", ["0.06"]),
    ("F12", vpdr_noise.signal, "signal over noise at most, class of 600 (F12)", ["0.60"]),
    ("F13", vpdr_noise.signal, "gain of exact accounting, epsilon 1 (F13)", ["1.31"]),
    ("F13", vpdr_noise.signal, "gain of exact accounting, epsilon 8 (F13)", ["1.15"]),
    ("F13", vpdr_noise.signal, "gain of a single exact release, epsilon 1", ["5.9"]),
    ("5.5", vpdr.sampled, "mu without sampling", ["1"]),
    ("5.5", vpdr.sampled, "delta at epsilon 0.2, one dimension", ["0.00988931"]),
    ("5.7", vpdr_noise.moments, "230", [".1", "0.032"]),
    ("5.7", vpdr_noise.moments, "6,000", [".1", "0.83"]),
    ("7", vpdr.attack_ceilings, "1", [".107", ".575", ".020"]),
    ("7", vpdr.attack_ceilings, "8", [".595", ".881", ".255"]),
    ("8", vpdr_noise.fixture, "60 records, epsilon 8, l2 all dims",
     [near(".360", F), near(".244", F), near(".240", F), near(".432", F), near(".993", F)]),
    ("8", vpdr_noise.fixture, "60 records, epsilon 8, l2 on A only",
     [near(".599", F), near(".375", F), near(".729", F), near(".694", F), near(".999", F)]),
    ("8", vpdr_noise.fixture, "600 records, epsilon 1, l2 all dims",
     [near(".523", F), near(".399", F), near(".368", F), near(".701", F), near(".999", F)]),
    ("8", vpdr_noise.fixture, "600 records, epsilon 1, cosine",
     [near(".599", F), near(".470", F), near(".469", F), near(".745", F), near("1.000", F)]),
    ("8", vpdr_noise.fixture, "600 records, epsilon 1, l2 on A only",
     [near(".807", F), near(".641", F), near(".908", F), near(".934", F), near("1.000", F)]),
    ("not on the page", vpdr_noise.fixture, "60 records, epsilon 8, cosine", [""] * 5),
]  # fmt: skip


SLOW = (vpdr_noise.fixture,)


@pytest.mark.parametrize(("where", "function", "label", "wanted"), params(CHECKLIST, SLOW))
def test_the_page(check_row, where, function, label, wanted):
    check_row(function, label, wanted)


def test_every_row_is_listed(check_complete):
    check_complete(vpdr, CHECKLIST, [], SLOW)


def test_released_sigma_is_the_objects():
    """21.9209, where the released bisection stops; the infimum would be 21.9202."""
    assert round(vpdr.sigmas(vpdr.RELEASED).rows[1][2], 4) == 21.9209


def test_classic_conversion_costs_14_to_38_percent():
    gains = [row[2] / row[3] - 1.0 for row in vpdr.sigmas(vpdr.RELEASED).rows]
    assert round(min(gains), 2) == 0.14 and round(max(gains), 2) == 0.38


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
    assert vpdr.counterexample(vpdr.RELEASED).rows[3][2] == pytest.approx(float(found), rel=1e-12)


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
    assert is_isotropic_optimal(vpdr.RELEASED.shape(sum(sizes))[0], sizes)
    radii, noise = ellipsoid_stddevs(bounds, sizes, mu=mu)
    assert clip_mu(noise, ellipsoid_radii=radii) == pytest.approx(mu, rel=1e-12)
    cost = sum(d * s**2 for d, s in zip(sizes, noise, strict=True))
    plain = sum(m * math.sqrt(d) for m, d in zip(bounds, sizes, strict=True))
    assert cost == pytest.approx((plain / mu) ** 2, rel=1e-12)


def test_totals_at_8_and_10_by_a_second_method():
    """The page's last digits are those of an ideal sigma; the released one is up to 1e-3 larger.

    Epsilon of mu = sqrt(20)/sigma by 40 digits of mpmath, for the object's sigma.
    """
    rows = {row[0]: row[1] for row in vpdr.totals(vpdr.RELEASED).rows}
    for claimed, page in ((8.0, 6.763), (10.0, 8.555)):
        sigma = replace(vpdr.RELEASED, scheme="igpp", epsilon=claimed).sigma
        with mp.workdps(40):
            mu = sqrt(mpf(20)) / mpf(sigma)

            def delta(epsilon, mu=mu):
                tail = ncdf(-mu / 2 - epsilon / mu)
                return ncdf(mu / 2 - epsilon / mu) - mp_exp(epsilon) * tail

            found = findroot(
                lambda e: log(delta(e) * mpf(10) ** 5), (page - 0.2, page + 0.2), solver="anderson"
            )
        assert rows[claimed] == pytest.approx(float(found), rel=1e-12)
        assert round(float(found), 3) < page


def test_second_moments_cost_mu_v():
    """The multiplier sqrt(2)/mu_v of section 5.7 is mu_v-GDP under replace-one."""
    made = SecondMoments(clip_norm=1.0, noise_multiplier=math.sqrt(2.0) / 0.1, public_count=230)
    bound = account(made.event("replace-one"), adjacency="replace-one")
    assert bound.mu.upper == pytest.approx(0.1, rel=1e-12)


def test_clipped_means_are_the_mechanisms():
    """The fixture's shortcut against the released clip and a plain mean."""
    rows = torch.randn(40, 512, generator=torch.Generator().manual_seed(5))
    group = torch.zeros(512, dtype=torch.bool)
    group[::3] = True
    bounds = vpdr.RELEASED.shape(512)[0]
    wanted = vpdr.RELEASED.clip(rows, group, bounds).reshape(10, 4, 512).mean(dim=1)
    radius, squares = vpdr.RELEASED.radius, rows.square()
    found = vpdr_noise.clipped_means(rows, squares, group, bounds[0] * radius)
    found += vpdr_noise.clipped_means(rows, squares, ~group, bounds[1] * radius)
    assert torch.allclose(found, wanted, atol=1e-6)


def test_the_sound_upload_is_within_the_claim():
    (sound,) = [a for a in vpdr.accounts() if a.mode == "sound"]
    assert sound.epsilon.upper <= 1.0 < sound.epsilon.upper * (1.0 + 1e-9)

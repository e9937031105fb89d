import json
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy.special import betaincinv, ndtr

from privassay.accountant.errors import DesignError, ParameterError
from privassay.audit_reports.estimators import band
from privassay.audit_reports.estimators.band import band_bound, band_level, miss_probability
from privassay.audit_reports.estimators.clopper_pearson import (
    distinct_counts,
    epsilon_from_limits,
    limit_table,
    mu_from_limits,
)


def boundaries(n, level):
    rank = np.arange(1, n + 1)
    return betaincinv(rank, n + 1 - rank, level)


def miss_by_integration(cuts, number):
    """1 - n! times the iterated integral over cuts[i] <= x_i <= x_(i+1); no Poisson anywhere."""
    polynomial = [number(1)]
    for i, cut in enumerate(cuts, start=1):
        raised = [number(0), *(c / (j + 1) for j, c in enumerate(polynomial))]
        raised[0] = -sum(c * number(cut) ** j for j, c in enumerate(raised))
        polynomial = [c * i for c in raised]  # the factor i builds up n!
    return 1 - sum(polynomial)


@pytest.mark.parametrize(
    ("n", "level"),
    [
        (50, 1.474124e-3),
        (200, 8.481185e-4),
        (500, 6.392628e-4),
        (2000, 4.540005e-4),
        (5000, 3.772021e-4),
    ],
)
def test_reference_levels(n, level):
    assert f"{band_level(n, 0.025):.6e}" == f"{level:.6e}"


@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("level", [0.2, 0.01, 1e-5])
def test_miss_probability_against_exact_fractions(n, level):
    exact = miss_by_integration(boundaries(n, level).tolist(), Fraction)
    found = miss_probability(n, level)
    assert exact <= found <= exact + Fraction(1e-12), (float(exact), found)


@pytest.mark.parametrize(("n", "level"), [(50, 1.474124e-3), (120, 0.02)])
def test_miss_probability_against_many_digits(n, level):
    with mpmath.workdps(200):
        exact = miss_by_integration(boundaries(n, level).tolist(), mpmath.mpf)
        assert 0 <= miss_probability(n, level) - exact < 1e-11


def test_boundaries_against_mpmath():
    cuts = boundaries(30, 1e-3)
    with mpmath.workdps(30):
        for i, cut in enumerate(cuts, start=1):
            back = mpmath.betainc(i, 31 - i, 0, float(cut), regularized=True)
            assert float(back) == pytest.approx(1e-3, rel=1e-11)


def test_two_boundaries_by_hand():
    assert miss_by_integration([0.1, 0.4], Fraction) == pytest.approx(1 - 0.72)


@pytest.mark.parametrize("n", [1, 2, 5, 37, 300, 1000])
@pytest.mark.parametrize("alpha", [0.5, 0.05, 1e-4])
def test_level_is_certified_and_not_wasteful(n, alpha):
    level = band_level(n, alpha)
    assert alpha / n <= level <= alpha
    assert miss_probability(n, level) <= alpha * (1 + 1e-8 * (n == 1))
    assert miss_probability(n, level * 1.000001) > alpha


def test_tiny_alpha_falls_back_to_the_union_bound():
    assert band_level(100, 1e-14) == pytest.approx(1e-16, rel=0.3)


def test_simulated_miss_rate_through_the_limits_that_are_used():
    n, repeats, alpha = 50, 20_000, 0.025
    table = limit_table(n, band_level(n, alpha))
    rates = np.sort(np.random.default_rng(3).random((repeats, n)), axis=1)
    misses = int(np.sum((rates > table[:n]).any(axis=1)))  # k hits just below the (k+1)-st rate
    assert 427 <= misses <= 573, f"{misses}/{repeats}"  # binomial(20000, .025), 99.9 % interval


def test_ties_miss_no_more_than_continuous_scores():
    n, repeats, alpha = 60, 20_000, 0.025
    table = limit_table(n, band_level(n, alpha))
    hits = np.random.default_rng(4).multinomial(n, [0.05, 0.15, 0.3, 0.5], size=repeats)
    above = np.cumsum(hits, axis=1)
    misses = int(np.sum((table[above] < np.array([0.05, 0.2, 0.5, 1.0])).any(axis=1)))
    assert misses <= 573, f"{misses}/{repeats}"


def audits(make_scores, draw_in, draw_out, n, repeats, delta=1e-5, seed=0):
    rng = np.random.default_rng(seed)
    return [
        band_bound(make_scores(draw_in(rng, n), draw_out(rng, n)), confidence=0.95, delta=delta)
        for _ in range(repeats)
    ]


def normal(mu):
    return lambda rng, n: rng.normal(mu, 1.0, n)


def laplace(shift):
    return lambda rng, n: rng.laplace(shift, 1.0, n)


@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
def test_gaussian_truth_is_covered(make_scores, mu):
    found = audits(make_scores, normal(mu), normal(0.0), 500, 400)
    assert sum(b.mu_lower > mu for b in found) <= 35  # binomial(400, .05), 99.9 % point
    for b in found:  # the truth of epsilon at any threshold is at most this
        assert b.epsilon_lower <= b.ceiling_epsilon and b.mu_lower <= b.ceiling_mu
    assert np.median([b.mu_lower for b in found]) > 0.4 * mu


def test_laplace_truth_is_covered(make_scores):
    found = audits(make_scores, laplace(1.0), laplace(0.0), 500, 400, delta=0.0)
    values = np.array([b.epsilon_lower for b in found])
    assert np.sum(values > 1.0) <= 35 and np.median(values) > 0.4


def test_pure_noise_is_not_accused(make_scores):
    found = audits(make_scores, normal(0.0), normal(0.0), 500, 400, delta=0.0)
    assert sum(b.mu_lower > 0.0 for b in found) <= 35
    assert sum(b.epsilon_lower > 0.0 for b in found) <= 35


def test_every_threshold_is_covered_at_once(make_scores):
    """The sharp test: all mu limits and all epsilon limits below the truth at their threshold."""
    rng = np.random.default_rng(8)
    n, mu, repeats, misses_mu, misses_epsilon = 200, 1.0, 1500, 0, 0
    table = limit_table(n, band_level(n, 0.025))
    missed = 0
    for _ in range(repeats):
        cuts, tp, fp = distinct_counts(rng.normal(mu, 1.0, n), rng.normal(size=n))
        fpr, fnr = table[fp], table[n - tp]
        missed += bool(np.any(fpr < ndtr(-cuts)) or np.any(fnr < ndtr(cuts - mu)))
        truth = np.log(np.maximum(ndtr(mu - cuts) / ndtr(-cuts), ndtr(cuts) / ndtr(cuts - mu)))
        misses_epsilon += bool(np.any(epsilon_from_limits(fpr, fnr, 0.0) > truth))
        misses_mu += bool(np.any(mu_from_limits(fpr, fnr) > mu))
    assert 40 <= missed <= 103, f"{missed}/{repeats} bands missed"  # .0494: 74, 99.9 % interval
    assert misses_mu <= missed and misses_epsilon <= missed


def test_the_uncorrected_maximum_fails_the_same_test():
    """Negative control: Clopper-Pearson at alpha/2, best of all thresholds, on n = 5000."""
    rng = np.random.default_rng(9)
    n, repeats = 5000, 200
    plain = limit_table(n, 0.025)
    paid = limit_table(n, band_level(n, 0.025))
    false_plain = false_paid = 0
    for _ in range(repeats):
        _, tp, fp = distinct_counts(rng.normal(1.0, 1.0, n), rng.normal(size=n))
        false_plain += bool(np.max(mu_from_limits(plain[fp], plain[n - tp])) > 1.0)
        false_paid += bool(np.max(mu_from_limits(paid[fp], paid[n - tp])) > 1.0)
    assert false_plain > 21, f"{false_plain}/{repeats}"  # binomial(200, .05), 99.9 % point
    assert false_paid <= 21, f"{false_paid}/{repeats}"


def test_power_at_mu_one(make_scores):
    found = audits(make_scores, normal(1.0), normal(0.0), 2000, 100)
    median = np.median([b.mu_lower for b in found])
    assert 0.80 <= median <= 0.89, median
    median = np.median([b.epsilon_lower_gaussian for b in found])
    assert 3.4 <= median <= 3.8, median
    assert all(b.epsilon_lower <= b.epsilon_lower_gaussian for b in found[:20])


def test_best_threshold_against_a_loop(make_scores):
    rng = np.random.default_rng(2)
    scores = make_scores(rng.integers(0, 9, 150) + 1.0, rng.integers(0, 9, 170))
    found = band_bound(scores, confidence=0.9, delta=1e-3)
    in_table = limit_table(150, found.rate_level)
    out_table = limit_table(170, found.rate_level)
    best_mu = best_epsilon = 0.0
    for cut in range(10):
        fpr = out_table[int(np.sum(scores.values_out >= cut))]
        fnr = in_table[int(np.sum(scores.values_in < cut))]
        best_mu = max(best_mu, float(mu_from_limits(fpr, fnr)))
        best_epsilon = max(best_epsilon, float(epsilon_from_limits(fpr, fnr, 1e-3)))
    assert (found.mu_lower, found.epsilon_lower) == (best_mu, best_epsilon)
    assert len(found.roc) == 10 and "10 distinct" in found.threshold_from


def test_constant_scores_give_zero(make_scores):
    found = band_bound(make_scores([2.0] * 40, [2.0] * 40), confidence=0.95, delta=1e-5)
    assert found.mu_lower == found.epsilon_lower == found.epsilon_lower_gaussian == 0.0
    assert found.roc == ((40, 40),)


def test_separation_reaches_the_ceiling(make_scores):
    found = band_bound(make_scores([1.0] * 300, [0.0] * 300), confidence=0.95, delta=0.0)
    assert found.mu_lower == found.ceiling_mu > 3.8
    assert found.epsilon_lower == found.ceiling_epsilon > 3.0


def test_reversed_scores_give_zero(make_scores):
    found = band_bound(make_scores([0.0] * 300, [1.0] * 300), confidence=0.95, delta=0.0)
    assert found.mu_lower == found.epsilon_lower == 0.0


def test_unequal_samples_use_the_stricter_level(make_scores):
    rng = np.random.default_rng(1)
    found = band_bound(
        make_scores(rng.normal(1, 1, 100), rng.normal(size=900)), confidence=0.95, delta=1e-5
    )
    assert found.rate_level == min(band_level(100, 0.025), band_level(900, 0.025))
    assert (found.n_in, found.n_out) == (100, 900)


def test_design_is_checked(make_scores):
    with pytest.raises(DesignError, match="per_round"):
        band_bound(make_scores([1.0], [0.0], design="per_round"), confidence=0.95, delta=0.0)


def test_too_many_trials_raise():
    with pytest.raises(ParameterError, match="split"):
        miss_probability(300_000, 1e-4)


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVASSAY_CACHE", str(tmp_path / "deep"))
    band_level.cache_clear()
    yield tmp_path / "deep" / "band_levels.json"
    band_level.cache_clear()


def test_levels_are_kept_on_disk(fresh_cache, monkeypatch):
    level = band_level(80, 0.025)
    assert json.loads(fresh_cache.read_text()) == {"80 0.025": level}
    assert [file.name for file in fresh_cache.parent.iterdir()] == ["band_levels.json"]
    band_level.cache_clear()
    monkeypatch.setattr(band, "_solve", lambda n, alpha: pytest.fail("not read from disk"))
    assert band_level(80, 0.025) == level


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[1]",
        '{"80 0.025": "1e-3"}',
        '{"80 0.025": 0.5}',
        '{"80 0.025": 0.02}',
        '{"80 0.025": NaN}',
    ],
)
def test_a_wrong_level_on_disk_is_not_used(fresh_cache, content):
    truth = band_level(80, 0.025)
    band_level.cache_clear()
    fresh_cache.write_text(content)
    assert band_level(80, 0.025) == truth


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PRIVASSAY_CACHE", str(tmp_path / "file" / "below"))
    band_level.cache_clear()
    assert band_level(40, 0.05) > 0.0


def test_cache_folder_names(monkeypatch, tmp_path):
    monkeypatch.delenv("PRIVASSAY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert band._cache_file() == tmp_path / "privassay" / "band_levels.json"

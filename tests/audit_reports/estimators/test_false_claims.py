"""No estimator accuses the innocent more often than it may; the common practice does.

Each check is a binomial test at the level 1e-4: it passes while the number of false claims is at
most the 1 - 1e-4 quantile of Bin(repeats, alpha).
"""

import math

import numpy as np
import pytest
from scipy.stats import binom

from privassay.audit_reports.estimators.band import band_bound
from privassay.audit_reports.estimators.clopper_pearson import (
    distinct_counts,
    epsilon_from_limits,
    limit_table,
)
from privassay.audit_reports.estimators.dkw import dkw_bound
from privassay.audit_reports.estimators.e_process import e_process_bound
from privassay.audit_reports.estimators.guess_count import guess_count_bound, one_run_epsilon
from privassay.audit_reports.estimators.guesses import coin_flips, right_guesses
from privassay.audit_reports.estimators.multi_split import multi_split_bound
from privassay.audit_reports.estimators.one_run_fdp import one_run_fdp_bound
from privassay.audit_reports.estimators.split import split_bound

REPEATS, N, ALPHA = 200, 300, 0.05
OPTIONS = {"confidence": 0.95, "delta": 1e-5}
ALLOWED = int(binom.isf(1e-4, REPEATS, ALPHA))

ESTIMATORS = {
    "band": (band_bound, "many_runs"),
    "split": (split_bound, "many_runs"),
    "multi_split": (multi_split_bound, "many_runs"),
    "dkw": (dkw_bound, "many_runs"),
    "guess_count": (guess_count_bound, "one_run"),
    "guess_count, many runs": (guess_count_bound, "many_runs"),
    "one_run_fdp": (one_run_fdp_bound, "one_run"),
    "one_run_fdp, many runs": (one_run_fdp_bound, "many_runs"),
    "e_process": (e_process_bound, "many_runs"),
}


def noise(rng, n):
    return rng.normal(size=n), rng.normal(size=n)


def laplace(rng, n):
    return rng.laplace(1.0, 1.0, n), rng.laplace(0.0, 1.0, n)


def tied_noise(rng, n):
    return rng.integers(0, 4, n).astype(float), rng.integers(0, 4, n).astype(float)


NULLS = {"noise": (noise, 0.0), "laplace": (laplace, 1.0), "ties": (tied_noise, 0.0)}


@pytest.mark.parametrize("null", NULLS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_epsilon_is_rarely_above_the_truth(make_scores, name, null):
    bound, design = ESTIMATORS[name]
    draw, truth = NULLS[null]
    rng = np.random.default_rng(11)
    claims = 0
    for _ in range(REPEATS):
        n_in = int(rng.binomial(2 * N, 0.5))
        inside, outside = draw(rng, 2 * N)
        scores = make_scores(inside[:n_in], outside[: 2 * N - n_in], design=design)
        claims += bound(scores, **OPTIONS).epsilon_lower > truth
    assert claims <= ALLOWED, f"{claims} of {REPEATS}, at most {ALLOWED} allowed"


def best_threshold(inside, outside):
    """Clopper-Pearson at the threshold that looks best on the same scores, alpha per rate."""
    _, tp, fp = distinct_counts(inside, outside)
    fnr = limit_table(inside.size, ALPHA)[inside.size - tp]
    return float(epsilon_from_limits(limit_table(outside.size, ALPHA)[fp], fnr, 1e-5).max())


def best_k(make_scores, inside, outside):
    """One run, the best of a grid of (k_in, k_out) on the same canaries."""
    canaries = coin_flips(make_scores(inside, outside, design="one_run"))
    m = canaries.values.size
    step = max(1, round(math.sqrt(m)))
    found = 0.0
    for k_in in range(0, m // 2 + 1, step):
        for k_out in range(0, m // 2 + 1, step):
            if k_in + k_out and not found:
                right = right_guesses(canaries, k_in, k_out)
                found = one_run_epsilon(
                    delta=1e-5, canaries=m, guesses=k_in + k_out, correct=right, alpha=ALPHA
                )
    return found


def test_the_common_practice_fails_the_same_test(make_scores):
    rng = np.random.default_rng(11)
    claims = {"threshold": 0, "k": 0}
    for _ in range(REPEATS):
        claims["threshold"] += best_threshold(*laplace(rng, 2000)) > 1.0
        claims["k"] += best_k(make_scores, *noise(rng, N)) > 0.0
    assert claims["k"] > ALLOWED, claims
    assert claims["threshold"] > ALLOWED, claims


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_leak_is_found(make_scores, name):
    """Valid and not merely silent: mu = 2, epsilon 9.997 at 1e-5."""
    bound, design = ESTIMATORS[name]
    rng = np.random.default_rng(12)
    scores = make_scores(rng.normal(2, 1, 1000), rng.normal(size=1000), design=design)
    found = bound(scores, **OPTIONS)
    assert 1.0 < found.epsilon_lower < 9.997
    if found.mu_lower is not None:
        assert 0.7 < found.mu_lower < 2.0

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binom

from privassay.accountant.errors import DesignError, ParameterError
from privassay.audit_reports.estimators.guess_count import (
    epsilon_from_rate,
    guess_count_bound,
    one_run_epsilon,
    p_value,
    sequential_epsilon,
)
from privassay.audit_reports.estimators.guesses import coin_flips, right_guesses
from privassay.audit_reports.estimators.one_run_fdp import one_run_mu

OPTIONS = {"confidence": 0.95, "delta": 1e-5}


def published(epsilon, delta, m, r, v):
    """The loop as printed, with i from 1 to v; exact binomials."""
    q = 1.0 / (1.0 + math.exp(-epsilon))
    beta = binom.sf(v - 1, r, q)
    total, best = 0.0, 0.0
    for i in range(1, v + 1):
        total += binom.pmf(v - i, r, q)
        best = max(best, total / i)
    return min(1.0, beta + 2.0 * m * delta * best)


@pytest.mark.parametrize(
    ("m", "r", "v", "delta", "alpha", "expected"),
    [
        (2000, 300, 240, 0.0, 0.05, 1.14280151),
        (2000, 300, 240, 1e-5, 0.05, 1.14058865),
        (500, 500, 300, 1e-5, 0.01, 0.18937789),
        (2000, 40, 40, 0.0, 0.05, 2.5540104),
        (2000, 40, 40, 1e-5, 0.05, 2.49580293),
        (2000, 300, 155, 0.0, 0.05, 0.0),
        (10**3, 100, 90, 1e-6, 0.05, 1.630358),
        (10**4, 1000, 900, 1e-7, 0.05, 2.021175),
        (10**5, 10**4, 9000, 1e-8, 0.05, 2.142101),
        (10**6, 10**5, 90000, 1e-9, 0.05, 2.179856),
    ],
)
def test_known_values(m, r, v, delta, alpha, expected):
    found = one_run_epsilon(delta=delta, canaries=m, guesses=r, correct=v, alpha=alpha)
    digits = len(str(expected).partition(".")[2])
    assert found == pytest.approx(expected, abs=0.51 * 10.0**-digits)


def test_the_fast_p_value_is_the_published_loop():
    rng = np.random.default_rng(0)
    for _ in range(300):
        r = int(rng.integers(1, 400))
        v = int(rng.integers(0, r + 1))
        m = r + int(rng.integers(0, 1000))
        epsilon, delta = float(rng.exponential(1.0)), float(10.0 ** rng.uniform(-9, -1))
        fast = p_value(epsilon, delta=delta, canaries=m, guesses=r, correct=v)
        slow = published(epsilon, delta, m, r, v) if v else 1.0
        assert fast >= slow * (1.0 - 1e-9), (r, v, m, epsilon, delta)
        assert fast <= slow * (1.0 + 1e-6) + 1e-300, (r, v, m, epsilon, delta)


def test_the_p_value_does_not_underflow_far_in_the_tail():
    """All masses near v are 0 in doubles here, yet the mean over them is not."""
    found = p_value(0.0, delta=1e-9, canaries=10**6, guesses=10**5, correct=90_000)
    # The best i reaches just below the mean r/2: nearly all of the mass over v - r/2.
    assert found == pytest.approx(2e-3 / 40_000, rel=0.03)


def test_exact_tail_in_rationals():
    q, r, v = Fraction(3, 4), 12, 11
    tail = sum(math.comb(r, k) * q**k * (1 - q) ** (r - k) for k in range(v, r + 1))
    found = p_value(math.log(3.0), delta=0.0, canaries=r, guesses=r, correct=v)
    assert float(tail) <= found <= float(tail) * (1 + 1e-9)


def test_the_p_value_grows_with_epsilon_where_it_matters():
    rng = np.random.default_rng(1)
    for _ in range(60):
        r = int(rng.integers(2, 300))
        v = int(rng.integers(r // 2, r + 1))
        delta = float(10.0 ** rng.uniform(-6, -1))
        values = [
            p_value(e, delta=delta, canaries=2 * r, guesses=r, correct=v)
            for e in np.linspace(0, 6, 60)
        ]
        small = [p for p in values if p <= 0.3]
        assert small == values[: len(small)]


def test_the_bound_is_where_the_p_value_crosses():
    for r, v, delta in ((100, 80, 0.0), (100, 80, 1e-4), (1000, 700, 1e-5), (30, 30, 1e-3)):
        counts = {"delta": delta, "canaries": 2 * r, "guesses": r, "correct": v}
        found = one_run_epsilon(alpha=0.05, **counts)
        assert found > 0.0
        assert p_value(found, **counts) <= 0.05 < p_value(found + 1e-6, **counts)


def test_a_large_delta_leaves_nothing():
    assert one_run_epsilon(delta=0.05, canaries=2000, guesses=50, correct=50, alpha=0.05) == 0.0
    assert one_run_epsilon(delta=1.0, canaries=10, guesses=10, correct=10, alpha=0.05) == 0.0


def test_one_guess_proves_nothing():
    assert one_run_epsilon(delta=0.0, canaries=1, guesses=1, correct=1, alpha=0.05) == 0.0
    assert one_run_epsilon(delta=0.0, canaries=1, guesses=1, correct=0, alpha=0.05) == 0.0


def test_randomised_response_is_covered_and_not_timidly():
    """The worst case of the theorem: each guess right with e/(1 + e)."""
    rng = np.random.default_rng(2)
    q = math.e / (1.0 + math.e)
    right = rng.binomial(200, q, 2000)
    known = {
        v: one_run_epsilon(delta=0.0, canaries=200, guesses=200, correct=v, alpha=0.05)
        for v in set(right.tolist())
    }
    misses = sum(known[v] > 1.0 for v in right.tolist())
    exact = sum(
        float(binom.pmf(v, 200, q))
        for v in range(201)
        if one_run_epsilon(delta=0.0, canaries=200, guesses=200, correct=v, alpha=0.05) > 1.0
    )
    assert 0.03 < exact <= 0.05
    assert abs(misses - 2000 * exact) < 4.0 * math.sqrt(2000 * exact)


def test_sequential_is_clopper_pearson_of_the_rate():
    assert sequential_epsilon(delta=0.0, trials=300, correct=240, alpha=0.05) == pytest.approx(
        1.14280151, abs=1e-8
    )
    assert epsilon_from_rate(0.5, 0.0) == 0.0
    assert epsilon_from_rate(0.75, 0.01) == pytest.approx(math.log(0.74 / 0.25))
    assert epsilon_from_rate(0.9, 0.95) == 0.0


def test_guesses_are_ranked_without_a_look_at_the_labels(make_scores):
    """All scores tied: a rule that kept the order of the input would be right every time."""
    scores = make_scores([0.0] * 500, [0.0] * 500, design="one_run")
    found = [right_guesses(coin_flips(scores, seed=seed), 200, 200) / 400 for seed in range(30)]
    assert abs(np.mean(found) - 0.5) < 0.02


def test_constant_scores_give_zero(make_scores):
    for design in ("one_run", "many_runs"):
        scores = make_scores([3.0] * 200, [3.0] * 200, design=design)
        found = guess_count_bound(scores, **OPTIONS)
        assert found.epsilon_lower == 0.0 and found.guesses == 0


def test_permuted_labels_prove_nothing(make_scores):
    rng = np.random.default_rng(5)
    values = np.concatenate((rng.normal(3, 1, 500), rng.normal(size=500)))
    above = 0
    for _ in range(150):
        labels = rng.random(1000) < 0.5
        scores = make_scores(values[labels], values[~labels], design="one_run")
        above += guess_count_bound(scores, **OPTIONS).epsilon_lower > 0.0
    assert above <= 20, above  # binomial(150, .05), 1e-4 point


def test_labels_that_were_no_coins_are_refused(make_scores):
    scores = make_scores([1.0] * 900, [0.0] * 100, design="one_run")
    with pytest.raises(DesignError, match="fair coin"):
        guess_count_bound(scores, **OPTIONS)
    # independent runs may be unequal: coins are thrown over them
    uneven = make_scores(np.linspace(1, 2, 900), np.linspace(0, 1, 100), design="many_runs")
    assert guess_count_bound(uneven, **OPTIONS).canaries < 200


def test_always_saying_in_is_no_evidence(make_scores):
    """900 + 100 independent trials and a useless attack that likes the larger side."""
    rng = np.random.default_rng(8)
    uneven = make_scores(rng.normal(size=900), rng.normal(size=100), design="many_runs")
    found = guess_count_bound(uneven, guesses=(100, 0), **OPTIONS)
    assert found.epsilon_lower == 0.0


def test_thrown_coins_are_fair_and_use_nearly_all_trials(make_scores):
    scores = make_scores(np.arange(1000.0), -np.arange(1.0, 1001.0))
    heads = [int(coin_flips(scores, seed=seed).included.sum()) for seed in range(200)]
    size = coin_flips(scores).values.size
    assert 1700 < size < 2000
    assert abs(np.mean(heads) - size / 2) < 4 * math.sqrt(size / 4 / 200)
    canaries = coin_flips(scores, seed=3)
    assert np.all(canaries.included == (canaries.values >= 0.0))  # values stay with their world
    assert np.unique(canaries.values).size == size  # and none is used twice


def test_fixed_and_chosen_numbers_are_told_apart(make_scores):
    rng = np.random.default_rng(7)
    scores = make_scores(rng.normal(2, 1, 500), rng.normal(size=500), design="one_run")
    fixed = guess_count_bound(scores, guesses=(100, 50), **OPTIONS)
    assert (fixed.canaries, fixed.guesses, fixed.k_in, fixed.k_out) == (1000, 150, 100, 50)
    assert fixed.k_from == "fixed beforehand"
    chosen = guess_count_bound(scores, seed=4, **OPTIONS)
    assert chosen.canaries == 500 and "seed 4" in chosen.k_from
    assert chosen == guess_count_bound(scores, seed=4, **OPTIONS)
    assert 0.0 < chosen.epsilon_lower < chosen.ceiling_epsilon
    assert (
        one_run_epsilon(
            delta=1e-5,
            canaries=chosen.canaries,
            guesses=chosen.guesses,
            correct=chosen.correct,
            alpha=0.05,
        )
        == chosen.epsilon_lower
    )


def test_rounds_are_all_guessed(make_scores):
    rng = np.random.default_rng(7)
    scores = make_scores(rng.normal(2, 1, 500), rng.normal(size=500), design="per_round")
    found = guess_count_bound(scores, threshold=1.0, **OPTIONS)
    assert found.guesses == found.canaries == 1000 and found.k_in is None
    right = int((scores.values_in >= 1.0).sum() + (scores.values_out < 1.0).sum())
    assert found.correct == right
    with pytest.raises(DesignError, match="threshold="):
        guess_count_bound(scores, **OPTIONS)
    with pytest.raises(DesignError, match="no threshold"):
        guess_count_bound(make_scores([1.0], [0.0], design="one_run"), threshold=1.0, **OPTIONS)


def test_one_trial_on_each_side(make_scores):
    for design in ("one_run", "many_runs"):
        found = guess_count_bound(make_scores([1.0], [0.0], design=design), **OPTIONS)
        assert found.epsilon_lower == 0.0


def test_wrong_input_raises(make_scores):
    scores = make_scores([1.0] * 5, [0.0] * 5, design="one_run")
    for bad in ((0, 0), (6, 6), (-1, 3), (1.0, 2)):
        with pytest.raises(ParameterError, match="guesses"):
            guess_count_bound(scores, guesses=bad, **OPTIONS)
    with pytest.raises(ParameterError, match="seed"):
        guess_count_bound(scores, seed=-1, **OPTIONS)
    with pytest.raises(ParameterError, match="correct"):
        p_value(1.0, delta=0.0, canaries=5, guesses=4, correct=5)


@pytest.mark.parametrize("counts", [(100, 80.9), (100.5, 80), (100, np.float64(80.0))])
def test_counts_are_whole(counts):
    guesses, correct = counts
    with pytest.raises(ParameterError, match="whole number"):
        one_run_epsilon(delta=0.0, canaries=200, guesses=guesses, correct=correct, alpha=0.05)
    with pytest.raises(ParameterError, match="whole number"):
        one_run_mu(canaries=200, guesses=guesses, correct=correct, alpha=0.05)

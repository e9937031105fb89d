"""A seed decides no ties in lists whose places say who was in."""

import numpy as np
import pytest
from scipy.stats import binomtest

from privassay.accountant.claim import PrivacyClaim
from privassay.attacks.scores import Scores
from privassay.audit_reports.estimators.estimate import estimate
from privassay.audit_reports.estimators.guesses import coin_flips, right_guesses

CLAIM = PrivacyClaim(epsilon=0.01, delta=0.0, adjacency="add-remove", unit="example")
REPEATS = 200


def mostly_tied(rng, size):
    """Scores of canaries and their coins: three stand out by chance, nothing leaks."""
    values = np.zeros(size)
    values[rng.integers(0, size, 3)] = 1.0
    coins = rng.random(size) < 0.5
    return values[coins], values[~coins]


@pytest.mark.parametrize("design", ["one_run", "many_runs"])
def test_a_fixed_seed_refutes_correct_claims_no_more_often(design):
    rng = np.random.default_rng(1)
    for seed in (45, None):  # ties in the order of the lists: 45 refutes always
        false = 0
        for _ in range(REPEATS):
            found = estimate(
                *mostly_tied(rng, 200),
                design=design,
                claim=CLAIM,
                method="guess_count",
                guesses=(50, 50) if design == "one_run" else None,
                seed=seed,
            )
            false += found.refutes(CLAIM)
        test = binomtest(false, REPEATS, 0.05, alternative="greater")
        assert test.pvalue > 1e-3, f"{false}/{REPEATS} at seed {seed}"


def test_no_seed_is_bad_for_tied_scores(make_scores):
    """Over the seeds, the rate of right guesses of one of them must vary as coins do."""
    scores = make_scores([0.0] * 300, [0.0] * 300, design="one_run")
    for seed in range(5):
        rights = [right_guesses(coin_flips(scores, seed=seed), 100, 100) for _ in range(60)]
        assert np.std(rights) > 3.0, seed  # sqrt(200)/2 = 7 less what the fixed numbers take
        assert abs(np.mean(rights) - 100.0) < 5.0, seed


def test_without_ties_a_seed_repeats_and_ignores_the_order_of_the_lists(make_scores):
    rng = np.random.default_rng(2)
    inside, outside = rng.normal(1.0, 1.0, 150), rng.normal(size=150)
    one, two = (
        coin_flips(make_scores(a, b, design="one_run"), seed=4)
        for a, b in ((inside, outside), (inside[::-1], np.sort(outside)))
    )
    assert np.array_equal(one.values, two.values) and np.array_equal(one.included, two.included)
    other = coin_flips(make_scores(inside, outside, design="one_run"), seed=5)
    assert not np.array_equal(one.values, other.values)
    assert np.array_equal(np.sort(one.values[one.included]), np.sort(inside))


def test_with_an_order_a_seed_decides_everything():
    order = np.random.default_rng(3).permutation(200)
    scores = Scores(
        values_in=np.zeros(100),
        values_out=np.zeros(100),
        design="one_run",
        adversary="server",
        attack="test",
        adjacency="add-remove",
        order=order,
    )
    one, two = coin_flips(scores, seed=1), coin_flips(scores, seed=1)
    assert np.array_equal(one.included, two.included)

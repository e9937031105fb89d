import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import betaln

from privassay.accountant.errors import DesignError, ParameterError
from privassay.attacks.scores import Scores
from privassay.audit_reports.estimators.e_process import EProcess, e_process_bound
from privassay.audit_reports.estimators.tradeoff import TradeOff
from privassay.audit_reports.estimators.wealth import right_rate

OPTIONS = {"confidence": 0.95, "delta": 1e-5}


@pytest.mark.parametrize(
    ("right", "wrong", "delta", "log_e", "epsilon"),
    [
        (45, 5, 0.0, 16.903648, 1.0351286),
        (190, 10, 0.0, 96.7397844, 2.1056584),
        (190, 10, 1e-5, 96.7379908, 2.1056472),
        (55, 45, 0.0, -1.50966629, 0.0),
    ],
)
def test_known_values(right, wrong, delta, log_e, epsilon):
    process = EProcess(delta=delta)
    process.add(right=right, wrong=wrong)
    digits = len(str(log_e).partition(".")[2])
    found = process.log_e_value(TradeOff.point(0.0, delta))
    assert found == pytest.approx(log_e, abs=0.51 * 10.0**-digits)
    assert process.epsilon_lower == pytest.approx(epsilon, abs=0.51e-7)


def test_the_mixture_is_its_integral():
    for right, wrong, epsilon in ((7, 3, 0.0), (20, 5, 0.5), (3, 9, 1.0)):
        p = math.exp(epsilon) / (1 + math.exp(epsilon))
        process = EProcess()
        process.add(right=right, wrong=wrong)

        def density(t, power=0, p=p, right=right, wrong=wrong):
            ratio = (t / p) ** right * ((1 - t) / (1 - p)) ** wrong if power else 1.0
            return ratio * math.exp(-betaln(0.5, 0.5)) / math.sqrt(t * (1 - t))

        slow = quad(lambda t: density(t, 1), p, 1)[0] / quad(density, p, 1)[0]
        assert process.log_e_value(TradeOff.point(epsilon, 0.0)) == pytest.approx(
            math.log(slow), rel=1e-6
        )


@pytest.mark.parametrize("abstention", [False, True])
def test_the_wealth_is_fair_at_the_edge_of_the_claim(abstention):
    """Mean 1 or less after n trials, summed over all outcomes, where a guess is right with p."""
    n, epsilon = 12, 0.7
    p = math.exp(epsilon) / (1 + math.exp(epsilon))
    total = 0.0
    for right in range(n + 1):
        process = EProcess(abstention=abstention)
        process.counts = np.array([right, n - right, 0, 0, 0])
        wealth = math.exp(process.log_e_value(TradeOff.point(epsilon, 0.0)))
        total += math.comb(n, right) * p**right * (1 - p) ** (n - right) * wealth
    assert total <= 1.0 + 1e-9
    assert total > 0.999


def coins(rng, n, p, abstain=0.0):
    included = rng.random(n) < 0.5
    right = rng.random(n) < p
    guess = np.where(right == included, 1, -1)
    return np.where(rng.random(n) < abstain, 0, guess), included


@pytest.mark.parametrize("abstention", [False, True])
def test_looking_after_every_trial_is_paid_for(abstention):
    """Right with exactly e/(1 + e): ever refuting epsilon = 1 has probability <= .05."""
    rng = np.random.default_rng(3)
    p = math.e / (1.0 + math.e)
    repeats = 100
    above = 0
    for _ in range(repeats):
        process = EProcess(abstention=abstention)
        process.update(*coins(rng, 300, p, 0.3 if abstention else 0.0))
        above += process.epsilon_lower > 1.0
    assert above <= 15, f"{above}/{repeats}"  # binomial(100, .05), 1e-4 point


def test_a_peeking_fixed_sample_test_fails_where_the_e_process_holds():
    """The check above can fail: Clopper-Pearson looked at after every trial."""
    from privassay.audit_reports.estimators.clopper_pearson import lower_limit

    rng = np.random.default_rng(3)
    above = 0
    for _ in range(150):
        right = np.cumsum(rng.random(400) < 0.5)
        limits = [float(lower_limit(int(right[n - 1]), n, 0.05)) for n in range(5, 401, 5)]
        above += max(limits) > 0.5
    assert above > 20


def test_batches_do_not_matter():
    rng = np.random.default_rng(5)
    guess, included = coins(rng, 120, 0.85)
    for abstention in (False, True):
        at_once, one_by_one = (EProcess(delta=1e-3, abstention=abstention) for _ in range(2))
        at_once.update(guess, included)
        for g, i in zip(guess, included, strict=True):
            one_by_one.update(int(g), bool(i))
        assert at_once.epsilon_lower == pytest.approx(one_by_one.epsilon_lower, abs=1e-6)
        assert np.array_equal(at_once.counts, one_by_one.counts)


def test_the_running_maximum_stays():
    process = EProcess()
    process.add(right=60)
    best = process.epsilon_lower
    process.add(right=0, wrong=60)
    assert process.epsilon_lower == best > 1.5
    assert process.log_e_value(TradeOff.point(0.0, 0.0)) < 0.0


def test_abstention_pays_where_most_trials_say_nothing():
    """One in ten is sure; guessing the others by a coin drowns it."""
    rng = np.random.default_rng(6)
    included = rng.random(3000) < 0.5
    sure = rng.random(3000) < 0.1
    silent = np.where(sure, np.where(included, 1, -1), 0)
    loud = np.where(silent == 0, rng.choice([-1, 1], 3000), silent)
    abstaining, guessing = EProcess(abstention=True), EProcess()
    abstaining.update(silent, included)
    guessing.update(loud, included)
    assert abstaining.epsilon_lower > 3.0 > 0.5 > guessing.epsilon_lower
    assert abstaining.mu_lower > guessing.mu_lower


def test_abstaining_under_delta_is_covered():
    """A mechanism that reveals the coin with probability delta, and nothing else."""
    rng = np.random.default_rng(7)
    delta, above = 0.05, 0
    for _ in range(100):
        included = rng.random(600) < 0.5
        shown = rng.random(600) < delta
        process = EProcess(delta=delta, abstention=True)
        process.update(np.where(shown, np.where(included, 1, -1), 0), included)
        above += process.epsilon_lower > 0.0
    assert above <= 15, above


def test_mu_is_covered_and_close():
    rng = np.random.default_rng(8)
    above, found = 0, []
    for _ in range(60):
        included = rng.random(2000) < 0.5
        scores = rng.normal(size=2000) + included
        process = EProcess()
        process.update(np.where(scores >= 0.5, 1, -1), included)
        found.append(process.mu_lower)
        above += process.mu_lower > 1.0
    assert above <= 11 and np.median(found) > 0.75


def test_rates_of_claims():
    assert right_rate(TradeOff.point(1.0, 0.0)) == pytest.approx(math.e / (1 + math.e))
    assert right_rate(TradeOff.point(0.0, 0.1)) == pytest.approx(0.55)
    assert right_rate(TradeOff.gaussian(1.0)) == pytest.approx(0.6914624612740131)
    lines = TradeOff.gaussian(1.0)
    lines = TradeOff(lines.epsilon, lines.delta_remove, lines.delta_add)
    assert right_rate(lines) == pytest.approx(0.6914624612740131, rel=1e-9)


def test_the_evidence_is_against_a_given_claim():
    process = EProcess()
    process.add(right=90, wrong=10)
    assert process.refutes(TradeOff.point(1.0, 1e-5)) and process.refutes(TradeOff.gaussian(1.0))
    assert not process.refutes(TradeOff.point(3.0, 0.0))
    assert not process.refutes(TradeOff.point(1.0, 0.9))


def ordered(values_in, values_out, order, design="sequential"):
    return Scores(
        values_in=np.asarray(values_in, dtype=float),
        values_out=np.asarray(values_out, dtype=float),
        design=design,
        adversary="server",
        attack="test",
        adjacency="add-remove",
        order=order,
    )


def test_the_threshold_comes_from_earlier_trials():
    rng = np.random.default_rng(9)
    labels = rng.random(1000) < 0.5
    values = rng.normal(size=1000) + 2.0 * labels
    order = np.concatenate((np.flatnonzero(labels), np.flatnonzero(~labels)))
    scores = ordered(values[labels], values[~labels], order)
    found = e_process_bound(scores, **OPTIONS)
    assert found.guesses == 984 and found.canaries == 1000
    assert 1.2 < found.mu_lower < 2.0 and "before" in found.k_from
    # the order is used: the first trials useless, in both worlds alike
    noisy = np.where(np.arange(1000) < 500, rng.normal(size=1000), values)
    late = e_process_bound(ordered(noisy[labels], noisy[~labels], order), **OPTIONS)
    mixed = rng.permutation(1000)
    other = e_process_bound(ordered(noisy[labels], noisy[~labels], mixed), **OPTIONS)
    assert late != other


def test_designs(make_scores):
    scores = make_scores([1.0] * 60, [0.0] * 60, design="per_round")
    with pytest.raises(DesignError, match="order"):
        e_process_bound(scores, **OPTIONS)
    found = e_process_bound(scores, threshold=0.5, **OPTIONS)
    assert found.correct == found.guesses == 120
    assert found.epsilon_lower == found.ceiling_epsilon > 2.0
    with pytest.raises(DesignError, match="one_run"):
        e_process_bound(make_scores([1.0], [0.0], design="one_run"), **OPTIONS)
    many = e_process_bound(make_scores(np.linspace(1, 2, 99), np.linspace(0, 1, 99)), **OPTIONS)
    assert many.mu_lower > 1.5


def test_constants_and_single_trials_give_zero(make_scores):
    for n in (1, 200):
        found = e_process_bound(make_scores([1.0] * n, [1.0] * n), **OPTIONS)
        assert found.epsilon_lower == found.mu_lower == 0.0
    assert e_process_bound(make_scores([1.0], [0.0]), **OPTIONS).epsilon_lower == 0.0


def test_wrong_input_raises():
    process = EProcess()
    with pytest.raises(ParameterError, match="abstention"):
        process.update(0, True)
    with pytest.raises(ParameterError, match="guess must be"):
        process.update(2, True)
    with pytest.raises(ParameterError, match="one label"):
        process.update([1, 1], [True])
    with pytest.raises(ParameterError, match="counts"):
        process.add(right=-1)
    with pytest.raises(ParameterError, match="update"):
        EProcess(abstention=True).add(right=1)
    with pytest.raises(DesignError, match="order"):
        ordered([1.0], [0.0], np.array([1, 1]))


def test_counts_are_whole_and_coins_are_coins():
    process = EProcess(delta=0.0)
    for wrong in ({"right": 50, "wrong": 9.99}, {"right": True}, {"right": -1}):
        with pytest.raises(ParameterError, match="whole number"):
            process.add(**wrong)
    for coins in ([0.3, True, False], [math.nan, True, False], [2, 1, 0]):
        with pytest.raises(ParameterError, match="included must be"):
            process.update([1, 1, -1], coins)
    assert process.trials == 0
    process.update([1, 1, -1], [1, True, 0])
    assert process.trials == 3

import math

import numpy as np
import pytest

from privassay.accountant import gaussian, jsonio
from privassay.accountant.claim import PrivacyClaim
from privassay.accountant.errors import ParameterError
from privassay.audit_reports.estimators.estimate import estimate_scores
from privassay.audit_reports.estimators.power import RefutablePower, power, smallest_refutable

CLAIMS = {"curve": {"mu": 0.5}, "point": {"epsilon": 1.0, "delta": 1e-5}}


def simulated(make_scores, claim, mu, n_in, n_out, method, threshold=None, repeats=300):
    rng = np.random.default_rng(17)
    hits = 0
    for _ in range(repeats):
        scores = make_scores(rng.normal(mu, 1.0, n_in), rng.normal(size=n_out))
        hits += estimate_scores(scores, claim, method=method, threshold=threshold).refutes(claim)
    return hits / repeats


@pytest.mark.parametrize(
    ("kind", "mu", "n_in", "n_out"),
    [
        ("curve", 0.7, 1000, 1000),
        ("curve", 0.85, 800, 400),
        ("point", 0.9, 1000, 1000),
        ("point", 1.3, 300, 600),
    ],
)
def test_band_power_is_a_lower_bound_and_not_far_below(
    make_scores, make_claim, kind, mu, n_in, n_out
):
    claim = make_claim(**CLAIMS[kind])
    bound = power(n_in, n_out, claim, mu=mu)
    measured = simulated(make_scores, claim, mu, n_in, n_out, "band")
    slack = 3.3 * math.sqrt(0.25 / 300)
    assert bound <= measured + slack, f"{bound:.3f} above the simulated {measured:.3f}"
    assert bound >= measured - 0.1, f"{bound:.3f} far below the simulated {measured:.3f}"


@pytest.mark.parametrize("mu", [0.6, 0.7, 0.8])
def test_band_power_is_at_most_a_tenth_below(make_scores, make_claim, mu):
    claim = make_claim(mu=0.5)
    bound = power(2000, 2000, claim, mu=mu)
    measured = simulated(make_scores, claim, mu, 2000, 2000, "band", repeats=400)
    assert measured - 0.1 <= bound <= measured + 0.02, (bound, measured)


def test_power_at_a_fixed_threshold_is_exact(make_scores, make_claim):
    claim = make_claim(mu=0.5)
    bound = power(1000, 1000, claim, mu=0.7, method="clopper_pearson")
    measured = simulated(
        make_scores, claim, 0.7, 1000, 1000, "clopper_pearson", threshold=0.35, repeats=800
    )
    assert measured - 0.07 <= bound <= measured + 0.12, (bound, measured)


def test_split_power_is_near_the_simulation(make_scores, make_claim):
    claim = make_claim(mu=0.5)
    bound = power(1000, 1000, claim, mu=0.9, method="split")
    measured = simulated(make_scores, claim, 0.9, 1000, 1000, "split")
    assert abs(bound - measured) < 0.15, (bound, measured)


@pytest.mark.parametrize("kind", CLAIMS)
@pytest.mark.parametrize("method", ["band", "split", "clopper_pearson"])
def test_a_true_claim_is_refuted_with_at_most_alpha(make_claim, kind, method):
    claim = make_claim(**CLAIMS[kind])
    truth = 0.5 if kind == "curve" else gaussian.mu_interval(1.0, 1e-5)[0]
    assert power(500, 500, claim, mu=truth, method=method) <= 0.05
    assert power(500, 500, claim, mu=0.0, method=method) <= 0.05


def test_power_grows_with_mu_and_trials(make_claim):
    claim = make_claim(mu=0.5)
    by_mu = [power(500, 500, claim, mu=mu) for mu in (0.5, 0.7, 0.9, 1.1, 1.5, 3.0)]
    by_n = [power(n, n, claim, mu=0.8) for n in (50, 200, 800, 3200)]
    assert by_mu == sorted(by_mu) and by_n == sorted(by_n) and by_mu[-1] > 0.999


def test_smallest_refutable_is_the_root(make_claim):
    claim = make_claim(mu=0.5, delta=1e-6)
    found = smallest_refutable(1000, 1000, claim)
    assert (
        power(1000, 1000, claim, mu=found.mu) >= 0.9 > power(1000, 1000, claim, mu=found.mu * 0.998)
    )
    assert found.multiple == found.mu / 0.5 and found.delta == 1e-6
    assert found.epsilon == gaussian.epsilon_interval(1e-6, mu=found.mu)[1]
    assert found.how == "lower bound"
    assert smallest_refutable(1000, 1000, claim, method="split").how == "at the best threshold"


def test_point_claims_have_a_multiple_where_a_curve_meets_them(make_claim):
    found = smallest_refutable(1000, 1000, make_claim(epsilon=1.0, delta=1e-5))
    assert found.multiple == pytest.approx(found.mu / 0.268051, rel=1e-5)
    pure = smallest_refutable(1000, 1000, make_claim(epsilon=1.0, delta=0.0))
    assert 1.2 < pure.multiple < 1.4 and pure.epsilon == math.inf and pure.mu < 2.0


def test_a_design_that_is_too_small_is_infinite(make_claim):
    claim = make_claim(epsilon=8.0, delta=1e-5)
    found = smallest_refutable(100, 100, claim)
    assert found.mu == found.epsilon == found.multiple == math.inf
    assert power(100, 100, claim, mu=40.0) == 0.0
    assert jsonio.load(RefutablePower, jsonio.dump(found)) == found


def test_wrong_input_raises(make_claim):
    claim = make_claim(mu=0.5)
    with pytest.raises(ParameterError, match="mu"):
        power(10, 10, claim, mu=-1.0)
    with pytest.raises(ParameterError, match="method"):
        power(10, 10, claim, mu=1.0, method="best")
    with pytest.raises(ParameterError, match="probability"):
        smallest_refutable(10, 10, claim, probability=1.0)


@pytest.mark.parametrize("guarantee", [{"mu": 0.5}, {"epsilon": 2.0, "delta": 1e-5}])
def test_one_run_power_is_reached(guarantee):
    from privassay.audit_reports.estimators.estimate import estimate
    from privassay.audit_reports.estimators.one_run_power import one_run_power

    claim = PrivacyClaim(**guarantee, adjacency="add-remove", unit="example")
    power, hits = one_run_power(600, claim), 0
    for seed in range(100, 160):  # other runs than those it was simulated on
        generator = np.random.default_rng(seed)
        included = generator.random(600) < 0.5
        values = generator.normal(size=600) + power.mu * included
        found = estimate(
            values[included], values[~included], design="one_run", claim=claim, seed=seed
        )
        hits += found.refutes(claim)
    assert hits >= 0.8 * 60


def test_pure_claims_have_a_multiple_of_their_epsilon():
    from privassay.audit_reports.estimators.one_run_power import e_process_power

    claim = PrivacyClaim(epsilon=1.0, delta=0.0, adjacency="add-remove", unit="example")
    found = smallest_refutable(5000, 5000, claim)
    assert 1.0 < found.multiple < 1.3
    # simulated: randomised response at that epsilon
    rate = 1.0 / (1.0 + np.exp(found.multiple))
    generator, hits = np.random.default_rng(0), 0
    from privassay.audit_reports.estimators.estimate import estimate

    for _ in range(60):
        inside, outside = generator.random(5000) >= rate, generator.random(5000) < rate
        found = estimate(inside * 1.0, outside * 1.0, design="many_runs", claim=claim)
        hits += found.refutes(claim)
    assert hits >= 0.8 * 60
    assert 1.0 < e_process_power(2000, claim).multiple < 2.0
    tight = PrivacyClaim(epsilon=6.0, delta=0.0, adjacency="add-remove", unit="example")
    assert e_process_power(200, tight).multiple > 3.0

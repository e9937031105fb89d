import math

import dp_accounting.dp_event as dpe
import pytest

from privassay.accountant import gaussian
from privassay.accountant.account import account
from privassay.accountant.calibrate import calibrate, calibrate_gaussian
from privassay.accountant.errors import ParameterError
from privassay.accountant.events import GroupwiseGaussianDpEvent
from privassay.accountant.reduce import gaussian_mu


def rounds_at(noise):
    return lambda rounds: dpe.SelfComposedDpEvent(dpe.GaussianDpEvent(noise), int(rounds))


@pytest.mark.parametrize("adjacency", ["add-remove", "replace-one"])
@pytest.mark.parametrize("epsilon, delta", [(1.0, 1e-5), (8.0, 1e-9), (0.01, 1e-12)])
def test_noise_is_the_smallest_safe(epsilon, delta, adjacency):
    def make(noise):
        return dpe.SelfComposedDpEvent(dpe.GaussianDpEvent(noise), 50)

    found = calibrate(make, epsilon=epsilon, delta=delta, adjacency=adjacency)
    assert account(make(found), adjacency=adjacency).epsilon(delta).upper <= epsilon
    less = account(make(found * (1 - 1e-10)), adjacency=adjacency).epsilon(delta)
    assert less.lower > epsilon
    factor = 2 if adjacency == "replace-one" else 1
    closed = factor * math.sqrt(50) / gaussian.mu(epsilon, delta)
    assert found == pytest.approx(closed, rel=1e-11)


def test_rounds_are_the_most_that_are_safe():
    make = rounds_at(20.0)
    rounds = int(calibrate(make, epsilon=2.0, delta=1e-6, adjacency="add-remove"))
    assert rounds == math.floor((20.0 * gaussian.mu(2.0, 1e-6)) ** 2) > 50
    for more, is_safe in ((0, True), (1, False)):
        bound = account(make(rounds + more), adjacency="add-remove")
        assert (bound.epsilon(1e-6).upper <= 2.0) == is_safe


def test_a_scale_of_groupwise_noise_and_a_group_of_users():
    def make(scale):
        return GroupwiseGaussianDpEvent((scale, 2 * scale), (0.5, 0.8), 0.9)

    terms = dict(adjacency="add-remove", unit="user", group_size=4)
    scale = calibrate(make, epsilon=3.0, delta=1e-5, **terms)
    assert 3.0 * (1 - 1e-11) < account(make(scale), **terms).epsilon(1e-5).upper <= 3.0


@pytest.mark.parametrize(
    "target",
    [
        dict(epsilon=8.0, delta=1e-5),
        dict(epsilon=0.4, delta=1e-5),
        dict(advantage=0.3),
        dict(tpr=0.4, fpr=0.1),
        dict(mu=2.0),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "rate, steps",
    [(0.2, 5), (0.5, 4), pytest.param(0.01, 300, marks=pytest.mark.slow)],
)
def test_a_fresh_account_of_sampled_noise_meets_the_target(rate, steps, target):
    """Under replace-one the lattice answers, whose tables depend on what is asked of them."""

    def make(noise):
        step = dpe.PoissonSampledDpEvent(rate, dpe.GaussianDpEvent(noise))
        return dpe.SelfComposedDpEvent(step, steps)

    def leaks(noise):
        bound = account(make(noise), adjacency="replace-one")
        if "delta" in target:
            return bound.epsilon(target["delta"]).upper / target["epsilon"]
        if "fpr" in target:
            return bound.tpr(target["fpr"]).upper / target["tpr"]
        if "mu" in target:
            return bound.mu.upper / target["mu"]
        return bound.advantage().upper / target["advantage"]

    found = calibrate(make, **target, adjacency="replace-one", bracket=(0.1, 1e4))
    assert leaks(found) <= 1.0, "as it is promised"
    assert leaks(found * (1 - 1e-4)) > 1.0, "and no more noise than that takes"


def test_rates_are_moved_to_the_safe_side_too():
    def make(rate):
        return dpe.SelfComposedDpEvent(dpe.PoissonSampledDpEvent(rate, dpe.GaussianDpEvent(1.0)), 4)

    ask = dict(epsilon=4.0, delta=1e-5, adjacency="replace-one")
    rate = calibrate(make, **ask, bracket=(1e-3, 1.0))
    assert account(make(rate), adjacency="replace-one").epsilon(1e-5).upper <= 4.0
    more = account(make(rate * (1 + 1e-4)), adjacency="replace-one").epsilon(1e-5)
    assert more.upper > 4.0


def test_what_cannot_be_met_is_said():
    def floor(noise):
        return dpe.ComposedDpEvent([dpe.GaussianDpEvent(1.0), dpe.GaussianDpEvent(noise)])

    ask = dict(epsilon=1.0, delta=1e-5, adjacency="add-remove")
    with pytest.raises(ParameterError, match=r"epsilon = 1 at delta = 1e-05 .*unreachable"):
        calibrate(floor, **ask)
    with pytest.raises(ParameterError, match="leak alike"):
        calibrate(lambda x: dpe.GaussianDpEvent(2.0), **ask)
    with pytest.raises(ParameterError, match="met by all"):
        calibrate(dpe.GaussianDpEvent, **ask, bracket=(100.0, 200.0))
    with pytest.raises(ParameterError, match="unreachable"):
        calibrate(rounds_at(0.1), **ask, bracket=(1.0, 100.0))
    with pytest.raises(ParameterError, match="smaller, larger"):
        calibrate(dpe.GaussianDpEvent, **ask, bracket=(2.0, 1.0))
    with pytest.raises(ParameterError, match="delta"):
        calibrate(dpe.GaussianDpEvent, epsilon=1.0, delta=0.0, adjacency="add-remove")


@pytest.mark.parametrize("mu", [0.1, 1 / 3, 1.0, 7.3])
@pytest.mark.parametrize("rounds", [1, 30, 1000])
def test_closed_form_is_safe_and_tight(mu, rounds):
    for adjacency in ("add-remove", "replace-one"):
        noise = calibrate_gaussian(mu=mu, rounds=rounds, adjacency=adjacency)
        for change, is_safe in ((0.0, True), (1e-15, False)):
            event = dpe.SelfComposedDpEvent(dpe.GaussianDpEvent(noise * (1 - change)), rounds)
            assert (gaussian_mu(event, adjacency=adjacency)[1] <= mu) == is_safe


def test_closed_form_checks_its_numbers():
    with pytest.raises(ParameterError, match="mu"):
        calibrate_gaussian(mu=0.0, rounds=1, adjacency="add-remove")
    with pytest.raises(ParameterError, match="rounds"):
        calibrate_gaussian(mu=1.0, rounds=0, adjacency="add-remove")


def test_a_budget_that_all_meet_names_no_wrong_end():
    """At epsilon 1e6 delta is 0 for both ends, so that nothing tells where noise grows."""
    with pytest.raises(ParameterError, match=r"at both ends by far.\n.*less noise") as caught:
        calibrate(
            dpe.GaussianDpEvent, epsilon=1e6, delta=1e-5, adjacency="add-remove", bracket=(0.1, 1e5)
        )
    assert "Take 100000" not in str(caught.value)

import math

import dp_accounting.dp_event as dpe
import numpy as np
import pytest
from dp_accounting import NeighboringRelation
from dp_accounting.pld import PLDAccountant

from privassay.accountant import gaussian
from privassay.accountant.account import account
from privassay.accountant.allocation import equal_power_stddevs
from privassay.accountant.errors import ParameterError
from privassay.accountant.events import GroupwiseGaussianDpEvent
from privassay.accountant.geometry import clip_mu

STDDEVS = (6.0, 12.0, 24.0)


@pytest.mark.parametrize(
    "norm_bounds, joint, epsilon",
    [
        ((1.0, 1.0, 1.0), None, 5.1425901971),
        ((1.0, 1.0, 1.0), 1.0, 4.40636539724),
        ((0.6, 0.7, 0.9), 1.0, 2.96148282058),
    ],
)
def test_groupwise_regression_values(norm_bounds, joint, epsilon):
    event = dpe.SelfComposedDpEvent(GroupwiseGaussianDpEvent(STDDEVS, norm_bounds, joint), 30)
    found = account(event, adjacency="add-remove").epsilon(1e-6)
    assert found.lower == pytest.approx(epsilon, rel=3e-11) and found.width < 1e-11


def test_more_regression_values():
    event = GroupwiseGaussianDpEvent(STDDEVS, (0.6, 0.7, 0.9), 1.0)
    mu = account(dpe.SelfComposedDpEvent(event, 30), adjacency="add-remove").mu
    assert mu.upper == pytest.approx(0.640231078075, rel=1e-12)
    ellipsoid = clip_mu(STDDEVS, ellipsoid_radii=(0.6, 0.7, 0.9)) * math.sqrt(30)
    assert gaussian.epsilon(1e-6, mu=ellipsoid) == pytest.approx(2.49196204868, rel=1e-11)


@pytest.mark.parametrize(
    "fraction, ratio, expected",
    [
        (0.3, 1.883, ("1.76", "3.56", "15.1")),
        (0.3, 4.0, ("3.92", "8.20", "39.3")),
        (0.5, 3.0, ("2.44", "5.00", "22.2")),
        (0.1, 3.0, ("3.23", "6.69", "31.0")),  # 6.69497; shared/systems/vpdr.md prints 6.70
    ],
)
def test_uneven_noise_of_equal_power_leaks_more_under_a_global_clip(fraction, ratio, expected):
    for isotropic, text in zip((1.0, 2.0, 8.0), expected, strict=True):
        stddev = 1.0 / gaussian.mu_interval(isotropic, 1e-5)[0]
        event = GroupwiseGaussianDpEvent(
            equal_power_stddevs(stddev, fraction, ratio), (1.0, 1.0), 1.0
        )
        found = account(event, adjacency="add-remove").epsilon(1e-5).upper
        digits = len(text.split(".")[1])
        assert f"{found:.{digits}f}" == text


@pytest.mark.parametrize(
    "adjacency, relation",
    [
        ("add-remove", NeighboringRelation.ADD_OR_REMOVE_ONE),
        ("replace-one", NeighboringRelation.REPLACE_ONE),
    ],
)
def test_dp_accounting_agrees(adjacency, relation):
    event = dpe.ComposedDpEvent(
        [dpe.SelfComposedDpEvent(dpe.GaussianDpEvent(8.0), 20), dpe.GaussianDpEvent(3.0)]
    )
    peer = PLDAccountant(relation)
    peer.compose(event)
    bound = account(event, adjacency=adjacency)
    for delta in (1e-3, 1e-5, 1e-9):
        ours, theirs = bound.epsilon(delta), peer.get_epsilon(delta)
        assert ours.lower <= theirs <= ours.upper + 1e-3, (delta, ours, theirs)
    assert bound.delta(1.0).upper == pytest.approx(peer.get_delta(1.0), rel=1e-3)


def test_group_privacy_is_k_mu_and_terms_are_kept():
    event = dpe.GaussianDpEvent(3.0)
    one, five = (account(event, adjacency="zero-out", unit="client", group_size=k) for k in (1, 5))
    assert five.mu.upper == pytest.approx(5 * one.mu.upper, rel=1e-15)
    assert (five.adjacency, five.unit, five.group_size) == ("zero-out", "client", 5)


def test_the_bound_in_every_form():
    bound = account(dpe.GaussianDpEvent(1.0), adjacency="add-remove")
    assert gaussian.epsilon(1e-5, mu=1.0) in bound.epsilon(1e-5)
    assert gaussian.delta(1.0, mu=1.0) in bound.delta(1.0)
    assert gaussian.tpr(0.01, mu=1.0) in bound.tpr(0.01)
    assert gaussian.advantage(mu=1.0) in bound.advantage()
    curve = bound.tradeoff(np.linspace(0, 1, 11))
    assert curve[0] == 1.0 and curve[-1] == 0.0 and (np.diff(curve) < 0).all()
    assert "mu in [1, 1]" in repr(bound)


def test_edges():
    nothing = account(dpe.NoOpDpEvent(), adjacency="add-remove")
    assert nothing.epsilon(0.0).upper == 0.0 and nothing.tpr(0.3).upper == 0.3
    everything = account(dpe.NonPrivateDpEvent(), adjacency="add-remove")
    assert everything.epsilon(0.5).lower == math.inf and everything.advantage().lower == 1.0
    assert everything.tradeoff([0.1])[0] == 0.0


def test_names_are_checked():
    event = dpe.GaussianDpEvent(1.0)
    with pytest.raises(ParameterError, match="adjacency"):
        account(event, adjacency="swap")
    with pytest.raises(ParameterError, match="unit"):
        account(event, adjacency="add-remove", unit="person")
    with pytest.raises(TypeError):
        account(event)

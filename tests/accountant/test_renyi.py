import math

import dp_accounting
import dp_accounting.dp_event as dpe
import mpmath as mp
import numpy as np
import pytest
from dp_accounting.rdp import RdpAccountant
from dp_accounting.rdp.rdp_privacy_accountant import (
    _compute_rdp_poisson_subsampled_gaussian,
    _compute_rdp_repeat_and_select,
    compute_delta,
    compute_epsilon,
)

from privassay.accountant import gaussian, renyi
from privassay.accountant.account import account
from privassay.accountant.bounds import Interval, ProvenBound
from privassay.accountant.errors import ParameterError

SOME = np.array([1.01, 1.1, 1.5, 2.0, 2.7, 5.0, 12.3, 40.0, 64.0, 500.0])


def log_moment(p, q, order):
    with mp.workdps(60):
        return mp.log(
            mp.fsum(mp.mpf(x) ** order * y ** (1 - order) for x, y in zip(p, q, strict=True))
        )


def check_upper(found, exact, tolerance):
    assert exact <= mp.mpf(float(found)) <= exact * (1 + mp.mpf(tolerance)) + mp.mpf(10) ** -320


@pytest.mark.parametrize("epsilon", [1e-9, 1e-4, 0.1, 1.0, 7.0, 60.0])
def test_pure_is_randomised_response(epsilon):
    with mp.workdps(400):
        p = mp.exp(epsilon) / (1 + mp.exp(mp.mpf(epsilon)))
        for order, found in zip(SOME, renyi.rdp_pure(epsilon, SOME), strict=True):
            a = mp.mpf(float(order))
            total = p**a * (1 - p) ** (1 - a) + (1 - p) ** a * p ** (1 - a)
            check_upper(found, mp.log(total) / (a - 1), 1e-13)


@pytest.mark.parametrize("shift", [1e-9, 1e-4, 0.1, 1.0, 7.0, 60.0])
def test_laplace_is_the_exact_divergence(shift):
    with mp.workdps(400):
        m = mp.mpf(shift)
        for order, found in zip(SOME, renyi.rdp_laplace(shift, SOME), strict=True):
            a = mp.mpf(float(order))
            total = (a * mp.exp((a - 1) * m) + (a - 1) * mp.exp(-a * m)) / (2 * a - 1)
            check_upper(found, mp.log(total) / (a - 1), 1e-13)


def test_gaussian_and_zcdp():
    for mu in (1e-200, 1e-3, 1.0, 50.0):
        for order, found in zip(SOME, renyi.rdp_gaussian(mu, SOME), strict=True):
            check_upper(found, mp.mpf(float(order)) * mp.mpf(mu) ** 2 / 2, 1e-14)
    for order, found in zip(SOME, renyi.rdp_zcdp(0.1, 0.3, SOME), strict=True):
        check_upper(found, mp.mpf(0.1) * float(order) + mp.mpf(0.3), 1e-14)
    assert (renyi.rdp_gaussian(0.0) == 0.0).all() and (renyi.rdp_zcdp(0.0) == 0.0).all()
    assert (renyi.rdp_gaussian(1e200) == math.inf).all()


def exact_subsampled(q, s, a):
    # whole orders by the binomial sum; others by the integral
    with mp.workdps(40):
        q, s = mp.mpf(q), mp.mpf(s)
        if a == int(a):
            a = int(a)
            terms = (
                mp.binomial(a, k) * (1 - q) ** (a - k) * q**k * mp.exp((k * k - k) / (2 * s * s))
                for k in range(a + 1)
            )
            return mp.log(mp.fsum(terms)) / (a - 1)
        a = mp.mpf(float(a))

        def value(x):
            return mp.npdf(x, 0, s) * (1 - q + q * mp.exp((2 * x - 1) / (2 * s * s))) ** a

        # trapezoid: spectrally exact, much finer than ours
        h, lo, hi = s * min(s, 1) / 8, -14 * s - a * s, a + 14 * s + a * s
        nodes = range(int(lo / h), int(hi / h) + 1)
        return mp.log(h * mp.fsum(value(j * h) for j in nodes)) / (a - 1)


@pytest.mark.parametrize(
    "q, s, a",
    [
        (0.01, 0.8, 2.5),
        (0.01, 0.8, 7.3),
        (0.3, 0.4, 1.1),
        (0.999, 3.0, 4.7),
        (1e-6, 2.0, 3.3),
        (1e-5, 0.6, 20.5),
        (0.02, 1.3, 5.0),
        (0.5, 0.3, 2.0),
        (1e-8, 1.0, 64.0),
        (0.01, 20.0, 400.0),
        (1.0 - 1e-12, 1.0, 3.0),
        (1.0 - 1e-12, 1.0, 3.5),
    ],
)
def test_subsampled_gaussian_agrees_with_mpmath(q, s, a):
    found = renyi.rdp_subsampled_gaussian(q, s, [a])[0]
    exact = exact_subsampled(q, s, a)
    # a fractional order loses a few 1e-15 of the moment itself, in the safe direction
    slack = 1e-9 * exact + (0 if a == int(a) else 4e-15)
    assert exact <= float(found) <= exact + slack, float(found - exact)


def test_subsampled_gaussian_agrees_with_the_peer_on_the_grid():
    orders = renyi.ORDERS[renyi.ORDERS < 200.0]
    for q, s in ((0.01, 0.8), (0.2, 2.0), (1e-3, 0.6)):
        ours = renyi.rdp_subsampled_gaussian(q, s, orders)
        theirs = _compute_rdp_poisson_subsampled_gaussian(q, s, orders)
        whole = orders == np.floor(orders)
        np.testing.assert_allclose(ours[whole], theirs[whole], rtol=1e-9)
        # theirs adds up an alternating series without its signs, so it is too large there
        assert (ours <= theirs * (1.0 + 1e-9)).all()
        assert (np.diff(ours) > 0.0).all()


def test_interpolated_orders_stay_above_the_integral(monkeypatch):
    from privassay.accountant import renyi_divergences

    exact = renyi.rdp_subsampled_gaussian(0.05, 1.0, [1.5, 2.5, 7.9])
    monkeypatch.setattr(renyi_divergences, "_MOST_NODES", 0)
    loose = renyi.rdp_subsampled_gaussian(0.05, 1.0, [1.5, 2.5, 7.9])
    assert (loose >= exact).all() and (loose <= exact * 2.0).all()


@pytest.mark.parametrize("q, s", [(1.0, 2.0), (0.5, 1e-160), (0.5, 1e160), (5e-324, 1.0), (1, 1)])
def test_extreme_sampling_neither_warns_nor_falls_to_zero(q, s):
    found = renyi.rdp_subsampled_gaussian(q, s)
    assert (found > 0.0).all() and not np.isnan(found).any()
    assert (found <= renyi.rdp_gaussian(1.0 / s) * (1.0 + 1e-12)).all()


def test_trivial_sampling():
    assert (renyi.rdp_subsampled_gaussian(0.0, 1.0) == 0.0).all()
    assert (renyi.rdp_subsampled_gaussian(0.1, math.inf) == 0.0).all()
    assert (renyi.rdp_subsampled_gaussian(0.1, 0.0) == math.inf).all()


# exact values: accounting notes, two independent codes
WORKLOADS = [
    (0.01, 0.8, 1000, 1e-5, 3.141014139455),
    (256 / 60000, 1.1, 14063, 1e-5, 2.381689726142),
    (1.0, 4.0, 100, 1e-5, 13.206712240452),
    (1e-3, 0.6, 100000, 1e-5, 6.112825183612),
    (1e-4, 2.0, 1000000, 1e-9, 0.278468917496),
]


@pytest.mark.parametrize("q, s, steps, delta, exact", WORKLOADS)
def test_epsilon_lies_between_the_truth_and_the_peer(q, s, steps, delta, exact):
    rdp = renyi.compose_rdp([(renyi.rdp_subsampled_gaussian(q, s), steps)])
    found = renyi.epsilon_from_rdp(rdp, renyi.ORDERS, delta)
    peer = RdpAccountant()
    event = dp_accounting.PoissonSampledDpEvent(q, dp_accounting.GaussianDpEvent(s))
    peer.compose(event, steps)
    assert exact <= found <= peer.get_epsilon(delta) * (1.0 + 1e-3)
    assert renyi.delta_from_rdp(rdp, renyi.ORDERS, found) <= delta * (1.0 + 1e-9)


def test_pure_composition_lies_between_the_truth_and_the_peer():
    rdp = renyi.compose_rdp([(renyi.rdp_pure(1.0), 64)])
    found = renyi.epsilon_from_rdp(rdp, renyi.ORDERS, 1e-5)
    assert 55.7092580 <= found <= 57.187 * (1.0 + 1e-3)
    rdp = renyi.compose_rdp([(renyi.rdp_laplace(1.0), 64)])
    assert 48.00558 <= renyi.epsilon_from_rdp(rdp, renyi.ORDERS, 1e-5) <= 49.75 * (1.0 + 1e-3)


@pytest.mark.parametrize("mu", [0.01, 0.3, 1.0, 5.0])
def test_conversions_cover_the_gaussian_and_equal_the_formula(mu):
    rdp = renyi.rdp_gaussian(mu)
    for epsilon in (0.0, 0.1, 1.0, 5.0, 30.0):
        found = renyi.delta_from_rdp(rdp, renyi.ORDERS, epsilon)
        assert gaussian.delta_interval(epsilon, mu=mu)[1] <= found
        assert found <= compute_delta(renyi.ORDERS, rdp, epsilon)[0] * (1.0 + 1e-9) + 5e-324
    for delta in (1e-300, 1e-10, 1e-3, 0.5):
        found = renyi.epsilon_from_rdp(rdp, renyi.ORDERS, delta)
        assert gaussian.epsilon_interval(delta, mu=mu)[1] <= found
        theirs = compute_epsilon(renyi.ORDERS, rdp, delta)[0]
        assert found <= theirs * (1.0 + 1e-9) + 1e-12


def test_conversion_by_one_order_is_rounded_up():
    for order, rdp, epsilon in ((1.01, 0.3, 2.0), (7.3, 0.8, 1.1), (1e5, 2.0, 2.001)):
        found = renyi.delta_from_rdp([rdp], [order], epsilon)
        with mp.workdps(60):
            a = mp.mpf(order)
            exact = mp.exp((a - 1) * (mp.mpf(rdp) - epsilon + mp.log(1 - 1 / a))) / a
            total = mp.sqrt(1 - mp.exp(-mp.mpf(rdp)))
            exact = min(exact, total, mp.sqrt(mp.mpf(rdp) / 2))
            check_upper(found, exact, 1e-8)
    for order, rdp, delta in ((1.01, 0.3, 1e-3), (7.3, 0.8, 1e-9), (1e5, 2.0, 1e-300)):
        found = renyi.epsilon_from_rdp([rdp], [order], delta)
        with mp.workdps(60):
            a = mp.mpf(order)
            exact = rdp + mp.log(1 - 1 / a) - (mp.log(delta) + mp.log(a)) / (a - 1)
            check_upper(found, exact, 1e-12)


def test_conversion_edges():
    free, none = np.zeros(3), np.full(3, math.inf)
    orders = [2.0, 3.0, 4.0]
    assert renyi.epsilon_from_rdp(free, orders, 0.0) == 0.0
    assert renyi.delta_from_rdp(free, orders, 0.0) == 0.0
    assert renyi.epsilon_from_rdp(none, orders, 0.5) == math.inf
    assert renyi.epsilon_from_rdp(none, orders, 1.0) == 0.0
    assert renyi.delta_from_rdp(none, orders, math.inf) == 1.0
    some = np.array([0.1, 0.2, math.inf])
    assert renyi.epsilon_from_rdp(some, orders, 0.0) == math.inf
    assert renyi.delta_from_rdp(some, orders, math.inf) == 0.0
    assert 0.0 < renyi.delta_from_rdp(some, orders, 1e308) < 1e-300
    assert 0.0 < renyi.delta_from_rdp([0.1], [1e300], 1e308) <= 1.0


@pytest.mark.parametrize("mean", [1.0, 1.5, 10.0, 1000.0])
@pytest.mark.parametrize("shape", [0.0, 0.3, 1.0, 5.0, math.inf])
def test_repeat_and_select_equals_the_peer(mean, shape):
    orders = np.array([1.1, 1.5, 2.0, 3.5, 8.0, 20.0, 64.0, 300.0])
    for once in (renyi.rdp_gaussian(0.2, orders), renyi.rdp_gaussian(1.0, orders)):
        ours = renyi.rdp_repeat_and_select(once, orders, mean=mean, shape=shape)
        theirs = _compute_rdp_repeat_and_select(orders, once, mean, shape)
        theirs = np.minimum.accumulate(theirs[::-1])[::-1]  # they do so for finite shapes only
        if shape < math.inf:
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)
        else:  # Pinsker's limit of delta helps us
            assert (ours <= theirs * (1.0 + 1e-6)).all()
            deltas = [renyi.delta_from_rdp(once, orders, math.log(a / (a - 1))) for a in orders]
            plain = once + mean * np.array(deltas) + math.log(mean) / (orders - 1.0)
            np.testing.assert_allclose(ours, np.minimum.accumulate(plain[::-1])[::-1], rtol=1e-9)


@pytest.mark.parametrize(
    "mean, shape", [(1.0 + 2e-16, 2.0), (1e308, 0.5), (7.0, 1e308), (3, 1e-300)]
)
def test_halting_probability_is_not_above_the_truth(mean, shape):
    x = renyi._minus_log_gamma(float(mean), shape)
    with mp.workdps(400):
        y = mp.mpf(x)
        reached = mp.expm1(y) * shape / -mp.expm1(-shape * y)
        assert reached >= mean
        assert x <= 1e-13 or mp.expm1(y / 2) * shape / -mp.expm1(-shape * y / 2) < mean


def test_repeat_and_select_is_an_upper_bound_of_a_simulable_case():
    # geometric number of runs of binary randomised response, the larger answer kept: exact law
    epsilon, mean = 0.4, 3.0
    p, gamma = math.exp(epsilon) / (1 + math.exp(epsilon)), 1.0 / mean
    orders = renyi.ORDERS[renyi.ORDERS < 100.0]
    found = renyi.rdp_repeat_and_select(renyi.rdp_pure(epsilon, orders), orders, mean=mean, shape=1)

    def none(zero):  # all answers are the small one
        return gamma * zero / (1.0 - (1.0 - gamma) * zero)

    for first, second in ((p, 1 - p), (1 - p, p)):
        laws = (none(first), 1 - none(first)), (none(second), 1 - none(second))
        for order, value in zip(orders[::10], found[::10], strict=True):
            assert log_moment(*laws, float(order)) / (order - 1.0) <= value


def test_curve_encloses_the_gaussian():
    mu = 0.7
    lower = ProvenBound(mu=Interval(mu, mu), adjacency="add-remove")
    curve = renyi.RenyiCurve(renyi.ORDERS, renyi.rdp_zcdp(mu * mu / 2 * (1 + 1e-15)), lower=lower)
    for delta in (0.0, 1e-9, 1e-3, 0.2, 1.0):
        assert gaussian.epsilon(delta, mu=mu) in curve.epsilon(delta), delta
    for epsilon in (0.0, 0.5, 3.0, math.inf):
        assert gaussian.delta(epsilon, mu=mu) in curve.delta(epsilon)
    for fpr in (0.0, 1e-300, 1e-9, 1e-3, 0.1, 0.5, 0.9, 1.0 - 1e-9, 1.0):
        assert gaussian.tpr(fpr, mu=mu) in curve.tpr(fpr), fpr
    assert gaussian.advantage(mu=mu) in curve.advantage()
    assert curve.epsilon(1e-5).lower == lower.epsilon(1e-5).lower
    known = renyi.RenyiCurve(renyi.ORDERS, curve.rdp, mu_upper=mu, lower=lower)
    assert known.epsilon(1e-5).width < 1e-9 and known.tpr(0.01).width < 1e-9
    assert renyi.RenyiCurve(renyi.ORDERS, curve.rdp).epsilon(1e-5).lower == 0.0


def test_rate_is_the_minimum_over_epsilon():
    # the closed form against the minimum over a grid of e^eps fpr + delta(eps), eps >= 0
    rdp, grid = renyi.rdp_gaussian(0.8), np.linspace(0.0, 8.0, 400)
    curve = renyi.RenyiCurve(renyi.ORDERS, rdp)
    deltas = np.array([renyi.delta_from_rdp(rdp, renyi.ORDERS, float(e)) for e in grid])
    for fpr in (1e-6, 1e-3, 0.05):
        slow = float((np.exp(grid) * fpr + deltas).min())
        assert curve.tpr(fpr).upper <= slow * (1.0 + 1e-12)
        assert curve.tpr(fpr).upper >= 0.99 * slow
    for fpr in (0.6, 0.9, 0.999):
        slow = float((1.0 - np.exp(-grid) * (1.0 - deltas - fpr)).min())
        assert curve.tpr(fpr).upper <= slow + 1e-12
    rates = [curve.tpr(float(fpr)).upper for fpr in np.linspace(0.0, 1.0, 101)]
    assert (np.diff(rates) >= -1e-15).all()


def test_curve_of_nothing_and_of_everything():
    free = renyi.RenyiCurve(renyi.ORDERS, np.zeros_like(renyi.ORDERS))
    assert free.tpr(0.3).width < 1e-15 and free.advantage().upper == 0.0
    none = renyi.RenyiCurve(renyi.ORDERS, np.full_like(renyi.ORDERS, math.inf))
    assert none.tpr(0.0).upper == 1.0 and none.advantage().upper == 1.0
    assert none.epsilon(1e-5).upper == math.inf


@pytest.mark.parametrize(
    "call",
    [
        lambda: renyi.rdp_gaussian(-1.0),
        lambda: renyi.rdp_gaussian(1.0, [1.0, 2.0]),
        lambda: renyi.rdp_gaussian(1.0, [3.0, 2.0]),
        lambda: renyi.rdp_gaussian(1.0, []),
        lambda: renyi.rdp_gaussian(1.0, [math.inf]),
        lambda: renyi.rdp_subsampled_gaussian(1.1, 1.0),
        lambda: renyi.epsilon_from_rdp([0.1], [2.0, 3.0], 0.1),
        lambda: renyi.epsilon_from_rdp([-0.1], [2.0], 0.1),
        lambda: renyi.epsilon_from_rdp([math.nan], [2.0], 0.1),
        lambda: renyi.epsilon_from_rdp([0.1], [2.0], 1.1),
        lambda: renyi.rdp_repeat_and_select([0.1], [2.0], mean=0.5, shape=1.0),
        lambda: renyi.rdp_repeat_and_select([0.1], [2.0], mean=2.0, shape=-1.0),
        lambda: renyi.compose_rdp([]),
        lambda: renyi.compose_rdp([(np.ones(2), 1), (np.ones(3), 1)]),
        lambda: renyi.RenyiCurve(renyi.ORDERS, np.ones(3)),
    ],
)
def test_bad_numbers_are_refused(call):
    with pytest.raises(ParameterError):
        call()


def test_the_divergence_of_a_bound():
    orders = [1.5, 2.0, 8.0, 64.0]
    event = dpe.SelfComposedDpEvent(dpe.PoissonSampledDpEvent(0.01, dpe.GaussianDpEvent(0.8)), 1000)
    found = account(event, adjacency="add-remove").rdp(orders)
    one = renyi.rdp_subsampled_gaussian(0.01, 0.8, orders)
    np.testing.assert_allclose(found, 1000 * one, rtol=1e-12)
    assert np.all(found >= 1000 * one)
    plain = account(dpe.GaussianDpEvent(2.0), adjacency="replace-one").rdp(orders)
    np.testing.assert_allclose(plain, np.array(orders) / 2, rtol=1e-12)
    with pytest.raises(ParameterError, match="orders"):
        account(event, adjacency="add-remove").rdp([1.0])

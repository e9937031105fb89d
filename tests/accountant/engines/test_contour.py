"""Enclosures of the contour accountant against reference values, other codes and each other."""

import math
import warnings

import dp_accounting
import numpy as np
import pytest
from dp_accounting import pld, rdp

from privassay.accountant import gaussian
from privassay.accountant.engines.contour import (
    ContourTable,
    SubsampledStep,
    delta_interval,
    epsilon_interval,
)
from privassay.accountant.engines.contour_plan import plan_for
from privassay.accountant.engines.contour_table import LineTable
from privassay.accountant.engines.onestep import OneStep
from privassay.accountant.engines.tpr import tpr_interval as tpr_of_curve
from privassay.accountant.errors import ParameterError


def tpr_interval(steps, fpr, *, direction):
    table = ContourTable(steps, direction=direction, delta=min(fpr, 0.5) or 1e-5)
    return tpr_of_curve(table.log_delta_interval, fpr)


def _segments():
    draw = np.random.default_rng(0)
    found = []
    for _ in range(50):
        rate = round(10 ** draw.uniform(-3, -1.7), 6)
        found.append(SubsampledStep(rate, round(draw.uniform(0.8, 2), 4), 200))
    return found


W1, W2 = [SubsampledStep(0.01, 0.8, 1000)], [SubsampledStep(256 / 60000, 1.1, 14063)]
W3, W4 = [SubsampledStep(1.0, 4.0, 100)], [SubsampledStep(1e-3, 0.6, 100_000)]
W7 = [SubsampledStep(1e-4, 2.0, 1_000_000)]
OWN_COINS = [SubsampledStep(0.02, 1.5, 500), SubsampledStep(0.02, 2.0, 500)]

REFERENCE = [  # steps, delta, remove, digits known
    (W1, 1e-5, 3.141014139455, 5e-13),
    (W1, 1e-10, 5.916961619669, 5e-13),
    (W1, 1e-20, 11.176232935976, 5e-13),
    (W1, 1e-30, 16.250031575530, 5e-13),
    (W2, 1e-5, 2.381689726142, 5e-13),
    (W3, 1e-5, 13.206712240452, 5e-13),
    (W4, 1e-5, 6.112825183612, 5e-13),
    (W7, 1e-9, 0.278468917496, 5e-13),
    (_segments(), 1e-5, 3.835086851800, 5e-13),
    ([SubsampledStep(0.02, 1.2, 500)], 1e-5, 1.957337969, 5e-10),
    (OWN_COINS, 1e-5, 1.679064889, 5e-10),
    ([SubsampledStep(0.01, 1.2, 400)], 1e-5, 0.825470658, 5e-10),
    ([SubsampledStep(0.2, 1.0, 10)], 1e-5, 4.98421, 5e-6),
]


@pytest.mark.parametrize(("steps", "delta", "wanted", "digits"), REFERENCE)
def test_reference_values_lie_inside(steps, delta, wanted, digits):
    low, high = epsilon_interval(steps, delta, direction="remove")
    assert low - digits <= wanted <= high + digits, (low, high)
    assert high - low < 3e-9


@pytest.mark.parametrize(
    ("steps", "wanted", "digits"),
    [
        (W1, 1.983177, 5e-7),
        (W4, 4.8648, 5e-5),
        ([SubsampledStep(0.02, 1.2, 500)], 1.548544474, 5e-10),
        (OWN_COINS, 1.506993700, 5e-10),
    ],
)
def test_reference_values_add(steps, wanted, digits):
    low, high = epsilon_interval(steps, 1e-5, direction="add")
    assert low - digits <= wanted <= high + digits
    assert high - low < 3e-9


@pytest.mark.parametrize(("count", "wanted"), [(10**6, 0.2962662973), (10**7, 0.5650820116)])
def test_traps_that_look_converged_below_the_truth(count, wanted):
    steps = [SubsampledStep(1e-6, 0.5, count)]
    low, high = epsilon_interval(steps, 1e-8, direction="remove")
    assert low - 1e-10 <= wanted <= high + 1e-10, (low, high)
    assert high - low < 1e-4


def test_far_below_the_double_range():
    table = ContourTable(W1, direction="remove", log_delta=-1000.0)
    low, high = table.epsilon_interval(log_delta=-1000.0)
    assert 0.0 <= high - low < 1e-6
    ends = table.log_delta_interval([low, high])
    assert ends[1][1] <= -1000.0 <= ends[0][0] + 1e-6


@pytest.mark.parametrize("direction", ["remove", "add"])
@pytest.mark.parametrize(("rate", "noise"), [(0.3, 1.0), (0.05, 2.0), (0.9, 0.7), (0.01, 4.0)])
def test_two_steps_against_a_direct_integral(rate, noise, direction):
    sign = 1 if direction == "remove" else -1
    x = np.linspace(-13.0 * noise, 13.0 * noise + 1.0, 3001)
    density = np.exp(-0.5 * (x / noise) ** 2)
    if sign > 0:
        density = (1.0 - rate) * density + rate * np.exp(-0.5 * ((x - 1.0) / noise) ** 2)
    density *= (x[1] - x[0]) / (noise * math.sqrt(2.0 * math.pi))
    ratio = np.log1p(rate * np.expm1((x - 0.5) / noise**2))
    one = OneStep(rate, (1.0 / noise, 1.0 / noise), sign=sign)
    for epsilon in (-0.5, 0.0, 0.02, 0.4):
        truth = density @ np.exp(one.log_delta_interval(epsilon - sign * ratio)[1])
        steps = [SubsampledStep(rate, noise, 2)]
        low, high = delta_interval(steps, epsilon, direction=direction)
        slack = 1e-10 * truth + 1e-16
        assert low - slack <= truth <= high + slack, (epsilon, low, truth, high)
        assert high - low <= 1e-4 * high + 1e-30, (epsilon, low, high)


@pytest.mark.parametrize("count", [2, 3, 5, 8, 40])
def test_few_steps_against_dp_accounting(count):
    event = dp_accounting.PoissonSampledDpEvent(0.1, dp_accounting.GaussianDpEvent(0.9))
    steps = [SubsampledStep(0.1, 0.9, count)]
    above = pld.PLDAccountant(value_discretization_interval=1e-4).compose(event, count)
    upper = above.get_epsilon(1e-6)
    ends = [epsilon_interval(steps, 1e-6, direction=way) for way in ("remove", "add")]
    assert max(low for low, _ in ends) <= upper
    assert upper - max(high for _, high in ends) < 1e-4
    assert all(high - low < 1e-4 for low, high in ends)


@pytest.mark.parametrize("steps", [W1, W2, OWN_COINS, [*W1, SubsampledStep(1.0, 9.0, 7)]])
def test_swapping_the_two_laws(steps):
    for epsilon in (-2.0, -0.3, 0.2, 1.5):
        low, high = delta_interval(steps, epsilon, direction="remove")
        other = delta_interval(steps, -epsilon, direction="add")
        grown = math.exp(epsilon)
        rest = -math.expm1(epsilon)
        assert low <= rest + grown * other[1] + 1e-14
        assert high >= rest + grown * other[0] - 1e-14
        assert high - low < 1e-8


def test_total_variation_is_the_same_both_ways():
    found = [delta_interval(W2, 0.0, direction=way) for way in ("remove", "add")]
    for low, high in found:
        assert low - 1e-12 <= 0.224469317095 <= high + 1e-12
        assert high - low < 1e-9


def test_monotone_in_every_parameter():
    def upper_lower(rate, noise, count, epsilon):
        return delta_interval([SubsampledStep(rate, noise, count)], epsilon, direction="remove")

    base = upper_lower(0.01, 1.0, 500, 1.0)
    for more in ((0.011, 1.0, 500, 1.0), (0.01, 0.95, 500, 1.0), (0.01, 1.0, 520, 1.0)):
        assert upper_lower(*more)[0] > base[1]
    assert upper_lower(0.01, 1.0, 500, 1.01)[1] < base[0]


@pytest.mark.parametrize("steps", [W1, W7, OWN_COINS])
def test_other_positions_of_the_contour_agree(steps):
    one = ContourTable(steps, direction="remove", delta=1e-6)
    (engine,) = one._engines
    plan = engine.plan
    epsilon = np.linspace(0.8, 1.2, 9) * plan.epsilon
    low, high = one.log_delta_interval(epsilon)
    for factor in (0.7, 0.9, 1.1):
        moved = plan._replace(lam=plan.lam * factor, period=1.4 * plan.period)
        moved = moved._replace(beyond=tuple(b for b in plan.beyond if b > 1.2 * moved.lam))
        other = LineTable(one._composition, "remove", moved)
        found = other.log_delta_interval(epsilon)
        assert (found[0] <= high).all() and (low <= found[1]).all()
        assert np.abs(found[1] - high).max() < 1e-6


def test_one_table_serves_many_epsilons():
    table = ContourTable(W1, direction="remove", epsilon=3.0)
    epsilon = np.linspace(0.0, 6.0, 200)
    low, high = table.log_delta_interval(epsilon)
    assert (low <= high).all() and (np.diff(high) < 0.0).all()
    assert (high - low).max() < 1e-6
    for index in (0, 77, 199):
        single = delta_interval(W1, float(epsilon[index]), direction="remove")
        assert math.log(single[0]) <= high[index] and low[index] <= math.log(single[1])


def test_edges():
    assert epsilon_interval([], 1e-5, direction="remove") == (0.0, 0.0)
    assert delta_interval([], 0.5, direction="add") == (0.0, 0.0)
    assert epsilon_interval(W1, 1.0, direction="remove") == (0.0, 0.0)
    assert epsilon_interval(W1, 0.9999, direction="remove") == (0.0, 0.0)
    assert epsilon_interval(W1, 0.0, direction="remove") == (math.inf, math.inf)
    low, high = epsilon_interval(W1, 0.0, direction="add")
    assert low <= -1000.0 * math.log1p(-0.01) <= high < low + 1e-12
    assert delta_interval(W1, 10.1, direction="add") == (0.0, 0.0)
    assert delta_interval(W1, math.inf, direction="add") == (0.0, 0.0)
    low, high = delta_interval(W1, -40.0, direction="remove")
    assert 1.0 - 1e-12 < low <= high <= 1.0
    twice = [SubsampledStep(0.01, 0.8, 400), SubsampledStep(0.01, 0.8, 600)]
    assert epsilon_interval(twice, 1e-5, direction="add") == epsilon_interval(
        W1, 1e-5, direction="add"
    )
    for wrong in ((0.0, 1.0, 1), (1.1, 1.0, 1), (0.5, 0.0, 1), (0.5, 1.0, 0)):
        with pytest.raises(ParameterError):
            SubsampledStep(*wrong)
    with pytest.raises(ParameterError):
        delta_interval(W1, math.nan, direction="add")
    with pytest.raises(ParameterError, match="direction"):
        delta_interval(W1, 1.0, direction="sideways")


def test_plans_do_not_decide_what_holds():
    """A badly placed contour widens the enclosure and keeps the truth inside."""
    table = ContourTable(W1, direction="remove", delta=1e-5)
    plan = plan_for(table._composition.terms, 0.0, 1, epsilon=None, log_delta=math.log(1e-5))
    for changes in ({"period": 2.0}, {"lam": 0.05}, {"reach": 4.0}, {"beyond": ()}, {"lam": 5.0}):
        found = LineTable(table._composition, "remove", plan._replace(**changes))
        with np.errstate(all="ignore"):
            low, high = found.log_delta_interval(np.array([3.141014139455]))
        assert not low[0] > math.log(1e-5) + 1e-11, changes
        assert not high[0] < math.log(1e-5) - 1e-11, changes


@pytest.mark.parametrize("runs", [50, pytest.param(150, marks=pytest.mark.slow)])
def test_random_compositions_never_fall_below_rdp(runs):
    draw = np.random.default_rng(20261121)
    wide = []
    for _ in range(runs):
        rate = float(10 ** draw.uniform(-6, 0)) if draw.uniform() < 0.95 else 1.0
        noise = float(10 ** draw.uniform(math.log10(0.3), math.log10(50)))
        count = int(10 ** draw.uniform(0, 6))
        delta = float(10 ** draw.uniform(-30, math.log10(0.3)))
        case = (rate, noise, count, delta)
        steps = [SubsampledStep(rate, noise, count)]
        way = "remove" if draw.uniform() < 0.6 else "add"
        low, high = epsilon_interval(steps, delta, direction=way)
        assert 0.0 <= low <= high, case  # and no NaN
        if high - low > 1e-4 * (1.0 + low):
            wide.append((*case, way, low, high))
        event = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bound = rdp.RdpAccountant().compose(event, count).get_epsilon(delta)
        assert low <= bound * (1.0 + 1e-9) + 1e-12, (*case, way, low, bound)
    # heavy tails: tiny rates, few steps, tiny deltas; there the enclosure is honest but wide
    assert len(wide) <= runs // 8, wide


def test_random_compositions_never_fall_below_pld():
    draw = np.random.default_rng(7)
    for _ in range(10):
        rate, noise = float(10 ** draw.uniform(-3, -0.3)), float(draw.uniform(0.7, 4.0))
        count, delta = int(10 ** draw.uniform(1, 3)), float(10 ** draw.uniform(-9, -3))
        event = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
        peer = pld.PLDAccountant(value_discretization_interval=1e-3).compose(event, count)
        upper = peer.get_epsilon(delta)
        steps = [SubsampledStep(rate, noise, count)]
        ends = [epsilon_interval(steps, delta, direction=way) for way in ("remove", "add")]
        assert max(low for low, _ in ends) <= upper + 1e-12
        # the peer is above by about (lam + 1) count h^2/12, and not by more
        assert max(high for _, high in ends) >= upper - 0.05 * (1.0 + upper)


@pytest.mark.parametrize(
    ("fpr", "direction", "wanted"),
    [
        (1e-4, "remove", 0.000857967089),
        (1e-4, "add", 0.000785768947),
        (1e-2, "remove", 0.0402064532),
        (1e-2, "add", 0.0389050747),
    ],
)
def test_true_positive_rate(fpr, direction, wanted):
    low, high = tpr_interval(W2, fpr, direction=direction)
    assert low - 1e-10 <= wanted <= high + 1e-10
    assert 0.0 <= high - low < 1e-10


def test_true_positive_rate_of_gaussians_and_of_nothing():
    for fpr in (1e-9, 1e-3, 0.4, 0.999):
        low, high = tpr_interval([SubsampledStep(1.0, 4.0, 16)], fpr, direction="add")
        wanted = gaussian.tpr_interval(fpr, mu=1.0)
        assert low <= wanted[1] and wanted[0] <= high and high - low < 1e-8
    assert tpr_interval(W1, 0.0, direction="add") == (0.0, 0.0)

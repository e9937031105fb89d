"""Enclosures of heavy tails against direct integrals, closed forms and the other engines."""

import math
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from scipy.special import ndtr

from privassay.accountant.engines.contour import ContourTable, SubsampledStep
from privassay.accountant.engines.contour_plan import Term
from privassay.accountant.engines.contour_table import Composition, table_for
from privassay.accountant.engines.contour_tail import Line
from privassay.accountant.engines.onestep import OneStep
from privassay.accountant.engines.rare import RareTable
from privassay.accountant.engines.rare_small import SmallPart, _log_moment
from privassay.accountant.engines.subsampled import ROW, Kernel
from privassay.accountant.errors import ParameterError


def _table(*steps, **goal):
    return RareTable([SubsampledStep(*step) for step in steps], direction="remove", **goal)


def _rule(rate, noise, e, high):
    """Nodes and weights, one row for each e, fine where the loss is about e."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = 0.5 + noise**2 * np.log1p(np.expm1(e) / rate)
    centre = np.where(np.isfinite(centre), centre, 0.0)[:, None]
    near = noise * np.append(-np.geomspace(3.0, 1e-5, 24), np.geomspace(1e-5, 3.0, 24))
    coarse = np.linspace(-14.0 * noise, high, 48)
    edges = np.concatenate([centre + near, np.broadcast_to(coarse, (len(e), 48))], axis=1)
    edges = np.sort(np.clip(edges, coarse[0], high), axis=1)
    half = 0.5 * np.diff(edges, axis=1)[:, :, None]
    x = 0.5 * (edges[:, 1:] + edges[:, :-1])[:, :, None] + half * nodes
    return x.reshape(len(e), -1), (half * weights).reshape(len(e), -1)


def _one(rate, noise, e, cut=math.inf):
    """E_P (1 - e^(e - L))_+ of one step with draws up to `cut`."""
    grown = np.expm1(np.minimum(e, 700.0))
    with np.errstate(divide="ignore"):
        start = 0.5 + noise**2 * np.log1p(np.maximum(grown / rate, -1.0))
    start = np.minimum(start, cut)
    plain = ndtr(-start / noise) - ndtr(-cut / noise)
    moved = ndtr((1.0 - start) / noise) - ndtr((1.0 - cut) / noise)
    return rate * (moved - plain) - grown * plain


def _several(rate, noise, count, e, cut=math.inf):
    """The same for up to three steps: a direct integral over the draws of all but one."""
    if count == 1:
        return _one(rate, noise, e, cut)
    if len(e) > 400:  # in parts, to save memory
        halves = np.array_split(e, 1 + len(e) // 400)
        return np.concatenate([_several(rate, noise, count, part, cut) for part in halves])
    x, weight = _rule(rate, noise, e, min(cut, 14.0 * noise + 1.0))
    ratio = np.log1p(rate * np.expm1((x - 0.5) / noise**2))
    density = np.exp(ratio - 0.5 * (x / noise) ** 2) / (noise * math.sqrt(2.0 * math.pi))
    inner = _several(rate, noise, count - 1, (e[:, None] - ratio).ravel(), cut)
    return (inner.reshape(x.shape) * weight * density).sum(axis=1)


def _exact_two(rate, noise, epsilon):
    """The same for two steps at 40 digits."""
    with mp.workdps(40):
        q, s = mp.mpf(rate), mp.mpf(noise)

        def one(e):
            if e <= mp.log(1 - q):
                return -mp.expm1(e)
            x = mp.mpf(1) / 2 + s**2 * mp.log(1 + mp.expm1(e) / q)
            above = [mp.erfc(y / s / mp.sqrt(2)) / 2 for y in (x, x - 1)]
            return (1 - q) * above[0] + q * above[1] - mp.e**e * above[0]

        def part(x):
            ratio = mp.log(1 + q * mp.expm1((x - mp.mpf(1) / 2) / s**2))
            return mp.npdf(x, 0, s) * mp.e**ratio * one(mp.mpf(epsilon) - ratio)

        middle = mp.mpf(1) / 2 + s**2 * mp.log(1 + mp.expm1(mp.mpf(epsilon)) / q)
        ends = [-14 * s, -4 * s, 0, 4 * s, middle - 2 * s, middle - s / 4, middle, middle + s / 4]
        ends = sorted(ends) + [middle + 2 * s, middle + 8 * s]
        return float(mp.log(mp.quad(part, ends)))


TAILS = [  # noise and epsilon in the region where a single draw makes delta
    (6.37e-6, 1.07, 16, 5.4e-23),
    (7.43e-5, 1.25, 92515, 1.2e-18),
    (1.81e-4, 1.23, 9770, 2.8e-17),
    (2.9e-6, 2.05, 18, 8.2e-27),
    (3.44e-6, 0.933, 18, 5.9e-25),
]


@pytest.mark.parametrize(("rate", "noise", "count", "delta"), TAILS)
def test_heavy_tails_are_narrow(rate, noise, count, delta):
    table = _table((rate, noise, count), delta=delta)
    low, high = table.epsilon_interval(delta)
    assert 0.0 < low < high < low * (1.0 + 1e-6)
    ends = table.log_delta_interval([low, high])
    assert np.all(ends[1] - ends[0] < 1e-6)
    assert ends[0][0] >= math.log(delta) >= ends[1][1]
    # a composition is at least as bad as one of its steps; here as one of `count`, almost
    single = OneStep(rate, (1.0 / noise, 1.0 / noise), sign=1)
    assert ends[1][1] > single.log_delta_interval(np.array([high]))[0][0]


@pytest.mark.parametrize(("rate", "noise", "goal"), [(1e-6, 1.0, 1e-30), (1e-3, 0.6, 1e-30)])
def test_two_steps_against_an_integral_at_forty_digits(rate, noise, goal):
    table = _table((rate, noise, 2), delta=goal)
    low, high = table.epsilon_interval(goal)
    at = 0.5 * (low + high)
    truth = _exact_two(rate, noise, at)
    found = table.log_delta_interval([at])
    assert found[0][0] - 1e-12 <= truth <= found[1][0] + 1e-12, (found, truth)
    assert found[1][0] - found[0][0] < 1e-3


@pytest.mark.parametrize(
    ("rate", "noise", "epsilon", "count", "scales"),
    [
        (1e-4, 1.5, 0.004, 2, [0.3, 1.0, 2.0]),
        (1e-5, 1.0, 0.01, 2, [0.3, 1.0, 2.0]),
        (1e-4, 1.5, 0.004, 3, [1.0]),
    ],
)
def test_few_steps_against_a_direct_integral(rate, noise, epsilon, count, scales):
    table = _table((rate, noise, count), epsilon=epsilon)
    at = epsilon * np.array(scales)
    low, high = np.exp(table.log_delta_interval(at))
    truth = _several(rate, noise, count, at)
    assert np.all(low * (1.0 - 1e-9) <= truth), (low, truth)
    assert np.all(truth <= high * (1.0 + 1e-9)), (truth, high)
    aimed = scales.index(1.0)
    assert high[aimed] <= 1.03 * low[aimed]


@pytest.mark.parametrize(
    ("steps", "delta", "wanted", "width"),
    [
        ([(0.01, 0.8, 1000)], 1e-5, 3.141014139455, 1e-7),
        ([(0.01, 0.8, 1000)], 1e-20, 11.176232935976, 1e-6),
        ([(256 / 60000, 1.1, 14063)], 1e-5, 2.381689726142, 1e-6),
        ([(1e-3, 0.6, 100_000)], 1e-5, 6.112825183612, 1.0),
        ([(1e-4, 2.0, 1_000_000)], 1e-9, 0.278468917496, 1e-2),
        ([(0.02, 1.5, 500), (0.02, 2.0, 500)], 1e-5, 1.679064889, 1e-6),
        ([(1e-6, 0.5, 10**6)], 1e-8, 0.2962662973, 1.0),
        ([(0.2, 1.0, 10)], 1e-5, 4.98421, 1e-4),
    ],
)
def test_it_also_holds_where_others_are_better(steps, delta, wanted, width):
    low, high = _table(*steps, delta=delta).epsilon_interval(delta)
    assert low - 5e-6 * (wanted == 4.98421) - 5e-10 <= wanted <= high + 5e-10 + 5e-6
    assert high - low < width


@pytest.mark.parametrize("seed", [0, 1, 3, 4])
def test_it_overlaps_with_the_contour(seed):
    draw = np.random.default_rng(seed)
    steps = [
        SubsampledStep(10 ** draw.uniform(-6, -2), 10 ** draw.uniform(-0.3, 0.7), int(count))
        for count in 10 ** draw.uniform(0.3, 4, 1 + seed % 3)
    ]
    if seed % 4 == 0:
        steps.append(SubsampledStep(1.0, 10 ** draw.uniform(1, 3)))
    delta = 10 ** draw.uniform(-30, -8)
    table = RareTable(steps, direction="remove", delta=delta)
    other = ContourTable(steps, direction="remove", delta=delta)
    low, high = table.epsilon_interval(delta)
    ends = other.epsilon_interval(delta)
    assert max(low, ends[0]) <= min(high, ends[1]) * (1.0 + 1e-13)
    at = [0.5 * low, low, min(high, 1e3), 3.0 * low, -0.1]
    found, wanted = table.log_delta_interval(at), other.log_delta_interval(at)
    room = 1e-10 + 1e-12 * np.abs(found[1])
    assert np.all(np.maximum(found[0], wanted[0]) <= np.minimum(found[1], wanted[1]) + room)


@pytest.mark.parametrize(
    ("rate", "noise", "sign", "cut"),
    [(1e-4, 1.0, 1, 4.0), (1e-3, 2.0, -1, 5.0)],
)
def test_moments_of_a_cut_kernel(rate, noise, sign, cut):
    kernel = Kernel(rate, noise, sign=sign, reach=12.0, cut=cut)
    assert kernel.high == cut
    lam, step = 2.5, 1.3
    power = kernel.power(lam)
    edges = kernel.panels(power, 2.0 * ROW * step, -40.0)
    rule = kernel.rule(edges)

    def exact(z):
        w, q = (1 + z if sign > 0 else -z), mp.mpf(rate)

        def part(x):
            r = 1 + q * (mp.e ** ((2 * x - 1) / (2 * mp.mpf(noise) ** 2)) - 1)
            return mp.npdf(x, 0, noise) * r**w

        return mp.quad(part, mp.linspace(-13 * noise, cut, 30))

    with mp.workdps(22):
        low, high = kernel.real(rule, edges, lam)
        assert low - 1e-13 <= mp.log(exact(lam)) <= high
        rows = kernel.rows(rule, edges, lam, step=step, first=0, count=2)
        u = step * np.array([0, 7, 40])
        alone = kernel.at(rule, edges, lam, u)
        line = Line(kernel, 10, lam, low - 1e-9)
        for place, (k, at) in enumerate(zip([0, 7, 40], u, strict=True)):
            truth = exact(mp.mpc(lam, at))
            room = rows.error[k] + rows.rounding[k] * abs(truth) + 1e-15
            assert abs(mp.exp(mp.mpc(complex(rows.log[k]))) - truth) <= room
            room = alone.error[place] + alone.rounding[place] * abs(truth) + 1e-15
            assert abs(mp.exp(mp.mpc(complex(alone.log[place]))) - truth) <= room
            assert rows.error[k] < 1e-10 * abs(exact(lam))
            # what bounds the tail of the contour must see the hard edge
            size = float(abs(truth) / exact(lam))
            assert line.decay.log_bound(float(at)) >= math.log(size) - 1e-9


@pytest.mark.parametrize(("rate", "noise", "cut"), [(1e-3, 1.0, 4.0)])
def test_a_line_with_a_hard_edge_holds_for_a_single_step(rate, noise, cut):
    composition = Composition((Term(rate, noise, 1),), Fraction(0), (cut,))
    for target in (0.0, rate):
        table = table_for(composition, "remove", epsilon=target)
        at = np.array([-2.0 * rate, 0.0, 0.5 * rate, rate, 3.0 * rate])
        low, high = np.exp(table.log_delta_interval(at))
        truth = _one(rate, noise, at, cut)
        assert np.all(low * (1.0 - 1e-11) <= truth), (low, truth)
        assert np.all(truth <= high * (1.0 + 1e-11)), (high, truth)
        assert np.all((high - low)[3:] < 0.03 * rate)


@pytest.mark.parametrize(
    ("rate", "noise", "cut", "count"),
    [(1e-3, 1.0, 5.0, 1), (1e-3, 1.0, 5.0, 2), (1e-5, 2.0, 13.0, 3)],
)
def test_the_small_part_holds_everywhere(rate, noise, cut, count):
    small = SmallPart(Composition((Term(rate, noise, count),), Fraction(0), (cut,)))
    for target in (0.0, 3.0 * rate):
        small.add(target)
        at = rate * np.array([-1e3, -30.0, -5.0, -1.5, -0.5, 0.0, 0.1, 1.0, 4.0, 20.0])
        with np.errstate(divide="ignore"):
            low, high = small.interval(at)
            logs = small.log_interval(at)
        truth = _several(rate, noise, count, at, cut)
        # the integral's own error is relative to what the draws cancel to
        room = 1e-9 * truth + 1e-14 * rate
        assert np.all(low <= truth + room), (low - truth, truth)
        assert np.all(truth <= high + room), (high - truth, truth)
        assert np.all(np.exp(logs[0]) <= truth + room)
        assert np.all(truth <= np.exp(logs[1]) + room)
    assert np.all((high - low)[2:7] < 1e-3 * truth[2:7])


def test_far_beyond_the_bulk():
    low, high = _table((1.73e-6, 2.78, 570), epsilon=1e-3).log_delta_interval([1e-3])
    assert -math.inf < low[0] < high[0] < low[0] + 1e-6


def test_only_chernoff_where_many_draws_are_needed():
    table = _table((0.02, 1.0, 200), epsilon=1000.0)
    low, high = table.log_delta_interval([1000.0, 1e5])
    assert np.all(low == -math.inf)
    assert high[0] < -7000.0
    assert high[1] < high[0]
    assert table.epsilon_interval(log_delta=-7000.0)[1] < 1000.0


@pytest.mark.parametrize(
    ("rate", "noise", "order"), [(0.1, 0.7, 2), (1e-5, 1.3, 9), (0.9, 3.0, 40)]
)
def test_integer_moments(rate, noise, order):
    q, total = mp.mpf(rate), mp.mpf(0)
    for k in range(order + 1):
        power = mp.e ** (mp.mpf(k * k - k) / (2 * mp.mpf(noise) ** 2))
        total += mp.binomial(order, k) * (1 - q) ** (order - k) * q**k * power
    found = _log_moment(rate, noise, order)
    assert 0.0 <= found - mp.log(total) < 1e-9


@pytest.mark.parametrize(
    "steps",
    [
        [(1e-3, 100.0, 10)],
        [(1e-12, 3.0, 10**9)],
        [(1e-4, 1.0, 1)],
        [(1e-4, 1.0, 1), (1.0, 5000.0, 1)],
        [(1e-5, 1e-3, 3)],
        [(1e-300, 1.0, 3)],
        [(0.99, 0.8, 10)],
        [(1.0, 5.0, 1)],
    ],
)
def test_extremes_give_valid_ends(steps):
    table = _table(*steps, delta=1e-12)
    other = ContourTable([SubsampledStep(*s) for s in steps], direction="remove", delta=1e-12)
    low, high = table.epsilon_interval(1e-12)
    ends = other.epsilon_interval(1e-12)
    assert max(low, ends[0]) <= min(high, ends[1]) * (1.0 + 1e-12)
    found = table.log_delta_interval([-1.0, 0.0, 1.0, 1e6])
    assert not np.isnan(found).any()
    assert np.all(found[0] <= found[1])


def test_many_different_terms():
    steps = [SubsampledStep(10 ** -(4 + k / 5), 1.0 + k / 10, 50) for k in range(3)]
    low, high = RareTable(steps, direction="remove", delta=1e-15).epsilon_interval(1e-15)
    ends = ContourTable(steps, direction="remove", delta=1e-15).epsilon_interval(1e-15)
    assert ends[0] <= low < high <= ends[1]
    assert high - low < 1e-6 * high


def test_the_other_direction_and_wrong_arguments():
    table = RareTable([SubsampledStep(0.1, 1.0, 3)], direction="add", delta=1e-9)
    assert table.epsilon_interval(1e-9) == (0.0, math.inf)
    assert [end[0] for end in table.log_delta_interval([0.1])] == [-math.inf, 0.0]
    with pytest.raises(ParameterError, match="direction"):
        RareTable([], direction="both", delta=1e-9)
    with pytest.raises(ParameterError, match="delta"):
        _table((0.1, 1.0, 3), delta=0.0)

"""Random events of every kind against oracles that share no code with the engines (mpmath)."""

import math
import time

import dp_accounting.dp_event as dpe
import mpmath as mp
import numpy as np
import pytest

from privassay.accountant import events
from privassay.accountant.account import account


def _phi(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


def _gauss(mu, eps):
    return _phi(mu / 2 - eps / mu) - mp.e**eps * _phi(-mu / 2 - eps / mu)


def _one_sampled(q, s, eps):
    """The worse direction of one Poisson-sampled Gaussian step."""
    q, s = mp.mpf(q), mp.mpf(s)
    x = s**2 * mp.log((mp.e**eps - 1 + q) / q) + mp.mpf(1) / 2
    remove = (1 - q) * _phi(-x / s) + q * _phi(-(x - 1) / s) - mp.e**eps * _phi(-x / s)
    add = mp.mpf(0)
    if eps < -mp.log(1 - q):
        x = s**2 * mp.log((mp.e**-eps - 1 + q) / q) + mp.mpf(1) / 2
        add = _phi(x / s) - mp.e**eps * ((1 - q) * _phi(x / s) + q * _phi((x - 1) / s))
    return max(remove, add)


def _responses(eps0, count, eps):
    p = 1 / (1 + mp.e ** -mp.mpf(eps0))
    total = mp.mpf(0)
    for k in range(count + 1):
        a, b = p**k * (1 - p) ** (count - k), p ** (count - k) * (1 - p) ** k
        total += mp.binomial(count, k) * max(mp.mpf(0), a - mp.e**eps * b)
    return total


def _discrete_gaussian(sigma, shift, eps):
    far = int(40 * sigma) + 40 + shift
    mass = [mp.e ** (-(mp.mpf(x) ** 2) / (2 * mp.mpf(sigma) ** 2)) for x in range(-far, far + 1)]
    norm, total = mp.fsum(mass), mp.mpf(0)
    for index in range(shift, len(mass)):
        total += max(mp.mpf(0), mass[index - shift] - mp.e**eps * mass[index])
    return total / norm


def _gaussians(draw):
    sigma, count = 10 ** draw.uniform(-1.3, 2), int(10 ** draw.uniform(0, 6))
    event = dpe.SelfComposedDpEvent(dpe.GaussianDpEvent(sigma), count)
    return event, "add-remove", lambda eps: _gauss(mp.sqrt(count) / mp.mpf(sigma), eps)


def _groups(draw):
    stds, bounds = draw.uniform(0.5, 20, 3), draw.uniform(0.1, 2, 3)
    event = events.GroupwiseGaussianDpEvent(stds, bounds)
    mu = 2 * mp.sqrt(
        mp.fsum((mp.mpf(c) / mp.mpf(s)) ** 2 for c, s in zip(bounds, stds, strict=True))
    )
    return dpe.ComposedDpEvent([event, dpe.NoOpDpEvent()]), "replace-one", lambda e: _gauss(mu, e)


def _sampled(draw):
    q, sigma = 10 ** draw.uniform(-6, 0), 10 ** draw.uniform(-1.3, 2)
    event = dpe.PoissonSampledDpEvent(q, dpe.GaussianDpEvent(sigma))
    return event, "add-remove", lambda eps: _one_sampled(q, sigma, eps)


def _response(draw):
    eps0, count = draw.uniform(0.05, 3), int(draw.integers(1, 40))
    event = dpe.SelfComposedDpEvent(events.PureDpEvent(eps0), count)
    return event, "zero-out", lambda eps: _responses(eps0, count, eps)


def _laplace(draw):
    scale = 10 ** draw.uniform(-0.7, 1.5)
    m = 1 / mp.mpf(scale)
    event = dpe.LaplaceDpEvent(scale)
    return event, "add-remove", lambda e: max(mp.mpf(0), 1 - mp.e ** ((e - m) / 2))


def _discrete(draw):
    sigma, shift = draw.uniform(0.5, 6), int(draw.integers(1, 4))
    event = events.DiscreteGaussianDpEvent(sigma, shift)
    return event, "add-remove", lambda eps: _discrete_gaussian(sigma, shift, eps)


KINDS = [_gaussians, _groups, _sampled, _response, _laplace, _discrete]


def _check(kind, seed):
    draw = np.random.default_rng([seed, KINDS.index(kind)])
    event, adjacency, oracle = kind(draw)
    start = time.perf_counter()
    bound = account(event, adjacency=adjacency)
    with mp.workdps(60):
        delta = 10 ** draw.uniform(-30, math.log10(0.3))
        found = bound.epsilon(delta)
        assert 0.0 <= found.lower <= found.upper
        # the oracle at the ends: delta(upper) <= delta <= delta(lower), delta being decreasing
        if found.upper < math.inf:
            assert oracle(mp.mpf(found.upper)) <= delta * (1 + mp.mpf(10) ** -15)
        if found.lower > 0.0:
            assert oracle(mp.mpf(found.lower)) >= delta * (1 - mp.mpf(10) ** -15)
        epsilon = float(found.upper if found.upper < 500 else 1.0) * draw.uniform(0.1, 1.5)
        deltas = bound.delta(epsilon)
        truth = oracle(mp.mpf(epsilon))
        room = mp.mpf(10) ** -320
        assert deltas.lower <= truth + room and truth <= deltas.upper + room
        more = bound.delta(1.1 * epsilon + 1e-3)
        assert more.lower <= deltas.upper
        assert bound.epsilon(min(0.9, 2 * delta)).lower <= found.upper
    assert time.perf_counter() - start < 30  # a hang, not a speed; see the benchmark for times


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__[1:])
def test_the_truth_is_inside(kind):
    for seed in range(25):
        _check(kind, seed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__[1:])
def test_the_truth_is_inside_of_2400(kind):
    for seed in range(100, 500):
        _check(kind, seed)


def _tree(draw, depth=0):
    """Nested and heterogeneous; q 1e-6..1, sigma .05..100, T up to 1e6 in all."""
    if depth < 2 and draw.random() < 0.6:
        parts = [_tree(draw, depth + 1) for _ in range(int(draw.integers(1, 4)))]
        inner = dpe.ComposedDpEvent(parts)
        return dpe.SelfComposedDpEvent(inner, int(10 ** draw.uniform(0, 2)))
    noise = dpe.GaussianDpEvent(10 ** draw.uniform(-0.3, 2))
    if draw.random() < 0.25:
        return noise
    return dpe.PoissonSampledDpEvent(10 ** draw.uniform(-6, 0), noise)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_more_leaks_more_and_the_engines_agree(seed):
    draw = np.random.default_rng([seed, 77])
    event, delta = _tree(draw), 10 ** draw.uniform(-12, -1)
    ask = dict(adjacency="add-remove")
    one = account(event, **ask).epsilon(delta)
    assert 0.0 <= one.lower <= one.upper
    both = account(event, **ask, both_engines=True).epsilon(delta)  # raises if they disagree
    assert both.lower <= one.upper and one.lower <= both.upper
    twice = account(dpe.SelfComposedDpEvent(event, 2), **ask).epsilon(delta)
    assert twice.upper >= one.lower
    pair = account(event, **ask, group_size=2).epsilon(delta)
    replaced = account(event, adjacency="replace-one").epsilon(delta)
    assert pair.upper >= one.lower and replaced.upper >= one.lower


EDGES = [
    (dpe.NoOpDpEvent(), 1e-5, 0.0, 0.0),
    (dpe.SelfComposedDpEvent(dpe.LaplaceDpEvent(1.0), 0), 1e-5, 0.0, 0.0),
    (dpe.PoissonSampledDpEvent(0.0, dpe.LaplaceDpEvent(1.0)), 0.0, 0.0, 0.0),
    (dpe.GaussianDpEvent(0.0), 0.5, math.inf, math.inf),
    (dpe.GaussianDpEvent(0.0), 1.0, 0.0, 0.0),
    (dpe.GaussianDpEvent(1.0), 0.0, math.inf, math.inf),
    (dpe.GaussianDpEvent(1.0), 0.39, 0.0, 0.0),
    (dpe.LaplaceDpEvent(2.0), 0.0, 0.5 * (1 - 1e-9), 0.5 * (1 + 1e-9)),
    (dpe.LaplaceDpEvent(2.0), 0.3, 0.0, 0.0),
    (events.PureDpEvent(0.0), 1e-9, 0.0, 0.0),
    (dpe.PoissonSampledDpEvent(0.1, dpe.GaussianDpEvent(1.0)), 0.0, math.inf, math.inf),
    (dpe.PoissonSampledDpEvent(0.1, dpe.GaussianDpEvent(0.0)), 0.05, math.inf, math.inf),
    (dpe.PoissonSampledDpEvent(0.1, dpe.GaussianDpEvent(0.0)), 0.11, 0.0, 0.0),
]


@pytest.mark.parametrize("event, delta, low, high", EDGES)
def test_edges(event, delta, low, high):
    found = account(event, adjacency="add-remove").epsilon(delta)
    assert found.lower >= low and found.upper <= high, found


@pytest.mark.parametrize(
    "event, adjacency, name",
    [
        (dpe.UnsupportedDpEvent(), "add-remove", "UnsupportedDpEvent"),
        (dpe.SampledWithoutReplacementDpEvent(10, 2, dpe.GaussianDpEvent(1.0)), "add-remove", "S"),
        (dpe.PoissonSampledDpEvent(0.5, dpe.LaplaceDpEvent(1.0)), "replace-one", "PoissonSampled"),
        (dpe.SingleEpochTreeAggregationDpEvent(1.0, 4), "add-remove", "SingleEpochTree"),
        (dpe.RandomizedResponseDpEvent(0.5, 2), "add-remove", "RandomizedResponse"),
        (dpe.TruncatedSubsampledGaussianDpEvent(9, 0.1, 3, 1.0), "add-remove", "Truncated"),
    ],
)
def test_what_is_not_proven_is_named(event, adjacency, name):
    from privassay.accountant.errors import UnsupportedEventError

    with pytest.raises(UnsupportedEventError, match=name):
        account(dpe.ComposedDpEvent([dpe.GaussianDpEvent(1.0), event]), adjacency=adjacency)


def test_known_values_of_every_engine():
    gauss, compose = dpe.GaussianDpEvent, dpe.SelfComposedDpEvent
    steps = compose(dpe.PoissonSampledDpEvent(0.01, gauss(0.8)), 1000)
    table = [
        (steps, "add-remove", 1e-5, 3.141014139455),
        (steps, "replace-one", 1e-5, 4.228000829),
        (compose(dpe.LaplaceDpEvent(1.0), 64), "add-remove", 1e-5, 48.00558),
        (compose(events.PureDpEvent(1.0), 64), "add-remove", 1e-5, 55.7092580),
        (compose(dpe.LaplaceDpEvent(1.0), 5), "add-remove", 1e-6, 4.9999680),
    ]
    for event, adjacency, delta, value in table:
        found = account(event, adjacency=adjacency).epsilon(delta)
        assert found.lower <= value + 1e-6 and found.upper >= value - 1e-6
        assert found.width < 1e-3
    group = account(
        compose(dpe.PoissonSampledDpEvent(0.01, gauss(1.2)), 400),
        adjacency="add-remove",
        group_size=3,
    ).by_direction(1e-5)
    assert 2.797828540 in group["remove"] and 2.110552279 in group["add"]
    coins = [dpe.PoissonSampledDpEvent(0.02, gauss(s)) for s in (1.5, 2.0)]
    own = account(compose(dpe.ComposedDpEvent(coins), 500), adjacency="add-remove")
    assert own.epsilon(1e-5).lower == pytest.approx(1.679064889, abs=1e-8)

"""The lattice against the contour engine, which shares no code with it, and known values."""

import numpy as np
import pytest

from privassay.accountant.engines.contour import SubsampledStep, epsilon_interval
from privassay.accountant.engines.lattice import LatticeTable
from privassay.accountant.pairs import atoms, laplace, mixtures
from privassay.accountant.pairs.base import Step, exchanged


@pytest.mark.parametrize("seed", range(12))
def test_both_engines_enclose_the_same_number(seed):
    draw = np.random.default_rng([seed, 5])
    parts = [
        (10 ** draw.uniform(-4, -0.3), draw.uniform(0.6, 4), int(10 ** draw.uniform(0.5, 3)))
        for _ in range(int(draw.integers(1, 3)))
    ]
    delta = 10 ** draw.uniform(-15, -2)
    steps = [Step(mixtures.poisson(q, 1 / s), count) for q, s, count in parts]
    contour = [SubsampledStep(q, s, count) for q, s, count in parts]
    for direction, one_way in (("remove", steps), ("add", exchanged(steps))):
        low, high = LatticeTable(one_way, delta=delta).epsilon_interval(delta)
        known = epsilon_interval(contour, delta, direction=direction)
        # 1/s is rounded, by far less than this
        assert low <= known[1] * (1 + 1e-12) + 1e-15, (parts, delta, direction)
        assert high >= known[0] * (1 - 1e-12) - 1e-15, (parts, delta, direction)
        assert high - low <= 2e-3 * (1 + high)


@pytest.mark.parametrize(
    "pair, count, delta, value, width",
    [
        (atoms.PureDp(1.0), 64, 1e-5, 55.7092580, 1e-9),
        (atoms.PureDp(0.5), 20, 1e-6, 9.98679786964, 1e-9),
        (laplace.Laplace(1.0), 64, 1e-5, 48.00558, 1e-4),
        (mixtures.poisson_replace(0.01, 1 / 0.8), 1000, 1e-5, 4.228000829, 1e-4),
    ],
)
def test_known_values_in_both_directions(pair, count, delta, value, width):
    for steps in ([Step(pair, count)], exchanged([Step(pair, count)])):
        low, high = LatticeTable(steps, delta=delta).epsilon_interval(delta)
        assert low - 1e-5 * width <= value + 1e-6 and value - 1e-6 <= high
        assert high - low <= width


def test_nothing_released_and_everything_disclosed():
    empty = LatticeTable([], epsilon=0.0)
    assert empty.epsilon_interval(1e-5) == (0.0, 0.0)
    told = atoms.Atoms((0.9, 0.1), (1.0, 0.0))
    table = LatticeTable([Step(told, 3)], delta=0.1)
    assert table.epsilon_interval(0.1)[1] == np.inf  # 1 - .9^3 = .271 is disclosed
    assert table.delta_interval(0.5)[0] <= 0.271 <= table.delta_interval(0.5)[1]

"""Random compositions of different mechanisms between the two estimates of dp_accounting's PLD.

Its pessimistic estimate is above the truth and its optimistic one below, so ours must meet both.
"""

import warnings

import dp_accounting.dp_event as dpe
import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld

from privassay.accountant.account import account
from privassay.accountant.errors import UnsupportedEventError

_STEP = 2e-3


def _part(draw, pessimistic):
    """A mechanism as an event and as a PLD; the same draws for both estimates."""
    kind, count = draw.integers(0, 4), int(draw.integers(1, 12))
    options = {
        "pessimistic_estimate": pessimistic,
        "value_discretization_interval": _STEP,
        "use_connect_dots": pessimistic,
    }
    if kind == 0:
        sigma = float(draw.uniform(1.0, 8.0))
        return dpe.GaussianDpEvent(sigma), pld.from_gaussian_mechanism(sigma, **options), count
    if kind == 1:
        sigma, rate = float(draw.uniform(0.6, 4.0)), float(10 ** draw.uniform(-3, -0.3))
        event = dpe.PoissonSampledDpEvent(rate, dpe.GaussianDpEvent(sigma))
        return event, pld.from_gaussian_mechanism(sigma, sampling_prob=rate, **options), count
    if kind == 2:
        scale = float(draw.uniform(1.0, 10.0))
        return dpe.LaplaceDpEvent(scale), pld.from_laplace_mechanism(scale, **options), count
    parameter = float(draw.uniform(0.05, 0.6))
    made = pld.from_discrete_laplace_mechanism(parameter, **options)
    return dpe.DiscreteLaplaceDpEvent(parameter, 1), made, count


def _both(seed):
    found = []
    for pessimistic in (True, False):
        draw = np.random.default_rng([seed, 11])
        parts = [_part(draw, pessimistic) for _ in range(int(draw.integers(2, 5)))]
        total = None
        for _, made, count in parts:
            made = made.self_compose(count)
            total = made if total is None else total.compose(made)
        found.append(total)
    event = dpe.ComposedDpEvent([dpe.SelfComposedDpEvent(e, n) for e, _, n in parts])
    return event, *found


def _check(seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PLD's own
        event, above, below = _both(seed)
        bound = account(event, adjacency="add-remove")
        for delta in (1e-2, 1e-5, 1e-9):
            ours = bound.epsilon(delta)
            high, low = above.get_epsilon_for_delta(delta), below.get_epsilon_for_delta(delta)
            assert ours.lower <= high + 1e-9, (seed, delta, ours, high)
            assert ours.upper >= low - 1e-9, (seed, delta, ours, low)
            assert ours.width < 1e-3 * (1.0 + ours.upper), (seed, delta, ours)


def test_between_the_two_estimates():
    for seed in range(10):
        _check(seed)


@pytest.mark.slow
def test_between_the_two_estimates_200():
    for seed in range(100, 300):
        _check(seed)


def test_more_parts_leak_more():
    """A group or a parallel composition must not leak less than what it contains."""
    draw = np.random.default_rng(3)
    for _ in range(8):
        rate, sigma = 10 ** draw.uniform(-3, -0.5), draw.uniform(0.6, 3.0)
        one = dpe.SelfComposedDpEvent(
            dpe.PoissonSampledDpEvent(rate, dpe.GaussianDpEvent(sigma)), int(draw.integers(1, 30))
        )
        other = dpe.GaussianDpEvent(float(draw.uniform(1.0, 5.0)))
        alone = account(one, adjacency="add-remove").epsilon(1e-6)
        for more in (
            account(dpe.ComposedDpEvent([one, other]), adjacency="add-remove"),
            account(one, adjacency="add-remove", group_size=2),
            account(one, adjacency="replace-one"),
        ):
            assert more.epsilon(1e-6).upper >= alone.lower
        with pytest.raises(UnsupportedEventError):
            from privassay.accountant.events import ParallelDpEvent

            parts = ParallelDpEvent([one, other], "client")
            account(parts, adjacency="add-remove", group_size=2)

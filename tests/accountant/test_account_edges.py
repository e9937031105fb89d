"""Events that once gave a wrong bound, an internal error or a traceback."""

import math

import dp_accounting.dp_event as dpe
import numpy as np
import pytest

from privassay.accountant import events
from privassay.accountant.account import account
from privassay.accountant.errors import ParameterError, UnsupportedEventError

G, P, S, C = (
    dpe.GaussianDpEvent,
    dpe.PoissonSampledDpEvent,
    dpe.SelfComposedDpEvent,
    dpe.ComposedDpEvent,
)
SINGULAR = events.CorrelatedGaussianDpEvent(((1, 1), (1, 1)), 1.0)
NEARLY = events.CorrelatedGaussianDpEvent(((1, 1 - 1e-15), (1 - 1e-15, 1)), 1.0)


def bound(event, adjacency="add-remove", **others):
    return account(event, adjacency=adjacency, **others)


@pytest.mark.parametrize(
    "event, adjacency",
    [
        (C([SINGULAR, P(0.01, G(1.0))]), "add-remove"),
        (C([SINGULAR, dpe.LaplaceDpEvent(1.0)]), "add-remove"),
        (C([events.ShuffledBatchesDpEvent(5, G(0.0)), P(0.01, G(1.0))]), "zero-out"),
        (C([G(1e-8), dpe.LaplaceDpEvent(1.0)]), "add-remove"),
    ],
)
def test_what_is_not_protected_stays_so_beside_what_is(event, adjacency):
    found = bound(event, adjacency)
    assert found.epsilon(1e-5).upper == math.inf
    assert found.delta(1.0).upper == 1.0 and found.tpr(0.1).upper == 1.0


def test_groups_may_be_spread_over_parallel_parts():
    parts = [P(0.01, G(0.5)), events.PureDpEvent(2.5)]
    with pytest.raises(UnsupportedEventError, match="spread over the parts"):
        bound(events.ParallelDpEvent(parts, "client"), group_size=2)
    # all Gaussian: k^2 times the largest mu^2 covers every spread
    gaussians = events.ParallelDpEvent([G(1.0), G(2.0)], "client")
    spread = bound(C([G(1.0), G(2.0)])).epsilon(1e-5)
    assert bound(gaussians, group_size=2).epsilon(1e-5).lower > spread.upper


def test_a_shuffled_data_set_that_shrinks():
    with pytest.raises(UnsupportedEventError, match="moves others into its batch"):
        bound(events.ShuffledBatchesDpEvent(2, G(1.0)))
    found = bound(events.ShuffledBatchesDpEvent(50, dpe.ZCDpEvent(0.5)), "replace-one")
    assert found.epsilon(1e-5).lower == 0.0


def test_nearly_singular_samples_have_finite_lower_ends():
    found = bound(P(0.01, NEARLY)).epsilon(1e-5)
    assert found.lower < math.inf and found.upper == math.inf


@pytest.mark.parametrize("sigma, steps", [(0.34, 10), (0.5, 10), (0.7, 10), (0.2, 10), (1.0, 10)])
def test_random_allocation_is_never_above_no_amplification(sigma, steps):
    found = bound(events.RandomAllocationDpEvent(steps, G(sigma))).epsilon(1e-5)
    assert 0.0 <= found.lower <= found.upper <= bound(G(sigma)).epsilon(1e-5).upper * (1 + 1e-9)


def test_random_allocation_composed_is_no_internal_error():
    found = bound(S(events.RandomAllocationDpEvent(100, G(0.4)), 3)).epsilon(1e-3)
    assert found.upper <= bound(S(G(0.4), 3)).epsilon(1e-3).upper * (1 + 1e-9)


def test_more_than_the_chance_of_being_drawn():
    assert bound(S(P(5.757e-6, G(0.0506)), 8)).epsilon(5.087e-5).upper == 0.0


def test_far_out_the_shuffled_lower_end_is_below_the_truth():
    found = bound(events.ShuffledDpEvent(1000, events.PureDpEvent(1.0)), "replace-one")
    assert found.delta(0.8).lower <= 1.29e-90  # mpmath
    assert found.delta(0.5).lower <= 3.762059e-42
    assert found.epsilon(1e-5).lower == pytest.approx(0.10537, abs=1e-4)


@pytest.mark.parametrize(
    "event, low, high",
    [
        (dpe.LaplaceDpEvent(math.inf), 0.0, 0.0),
        (dpe.MixtureOfGaussiansDpEvent(1, [0.0], [1.0]), 0.0, 0.0),
        (events.PureDpEvent(1000.0), 600.0, math.inf),
        (events.PureDpEvent(math.inf), 600.0, math.inf),
        (S(events.PureDpEvent(1e-300), 10**6), 0.0, 1e-100),
        (G(np.float32(2.0)), 1.99, 2.0),
        (S(P(np.float64(0.5), G(np.int64(2))), np.int64(1)), 1.0, 2.0),
    ],
)
def test_defined_answers(event, low, high):
    found = bound(event).epsilon(1e-5)
    assert low <= found.lower <= found.upper <= high


def test_too_many_runs_say_so():
    with pytest.raises(ParameterError, match="too many"):
        bound(S(P(0.1, G(1.0)), 10**400))


def test_at_infinite_epsilon():
    assert bound(dpe.MixtureOfGaussiansDpEvent(1, [0, 1], [0.5, 0.5])).delta(math.inf).upper == 0.0
    assert bound(S(P(1e-5, G(5.0)), 10**6)).delta(math.inf).upper == 0.0
    assert bound(P(0.1, G(0.0))).delta(math.inf).upper == pytest.approx(0.1)


def test_rates_of_what_leaks_nearly_everything():
    found = bound(S(events.DiscreteGaussianDpEvent(0.3), 100)).tpr(0.01)
    assert found.lower > 0.9

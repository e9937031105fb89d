"""`bound.method` says how far the lower end can be off, and says it truly."""

import math

import dp_accounting.dp_event as dpe
import pytest

from privassay.accountant import events, jsonio
from privassay.accountant.account import account
from privassay.accountant.bounds import Interval, ProvenBound

G, C = dpe.GaussianDpEvent, dpe.ComposedDpEvent
BATCHES = events.ShuffledBatchesDpEvent(10, G(2.0))
LABELS = events.ParallelDpEvent((G(1.0), G(4.0)), "label")


@pytest.mark.parametrize(
    "event, adjacency, method",
    [
        (G(2.0), "add-remove", "gaussian"),
        (dpe.NonPrivateDpEvent(), "add-remove", "gaussian"),
        (dpe.NoOpDpEvent(), "add-remove", "gaussian"),
        (BATCHES, "zero-out", "gaussian, upper only"),
        (C([BATCHES, G(1.0)]), "zero-out", "gaussian, two pairs"),
        (C([LABELS, LABELS]), "add-remove", "gaussian, two pairs"),
        (events.RandomAllocationDpEvent(10, G(0.3)), "add-remove", "gaussian, upper only"),
        (dpe.ZCDpEvent(0.5), "add-remove", "renyi (loose)"),
        (C([dpe.ZCDpEvent(0.5), BATCHES]), "zero-out", "renyi (loose)"),
        (
            dpe.RepeatAndSelectDpEvent(G(5.0), 2.0, 1.0),
            "add-remove",
            "renyi (loose), upper only",
        ),
        (dpe.PoissonSampledDpEvent(0.1, G(1.0)), "add-remove", "contour"),
        (dpe.LaplaceDpEvent(1.0), "add-remove", "lattice"),
        (dpe.SampledWithoutReplacementDpEvent(100, 10, G(1.0)), "zero-out", "lattice, upper only"),
        (
            C([dpe.SampledWithoutReplacementDpEvent(100, 10, G(1.0)), dpe.LaplaceDpEvent(1.0)]),
            "zero-out",
            "lattice, two pairs",
        ),
    ],
)
def test_upper_only_means_that_the_lower_end_is_0_and_nothing_else(event, adjacency, method):
    bound = account(event, adjacency=adjacency)
    assert bound.method == method
    low, high = bound.delta(0.1).lower, bound.delta(0.1).upper
    assert (low == 0.0 < high) == ("upper only" in method), (low, high)
    if bound.method == "gaussian" and 0.0 < bound.mu.upper < math.inf:
        assert bound.mu.width <= 1e-9 * bound.mu.upper


def kept(bound):
    """As a record keeps it: mu, terms and method."""
    return ProvenBound(mu=bound.mu, adjacency=bound.adjacency, unit=bound.unit, method=bound.method)


@pytest.mark.parametrize(
    "event, method",
    [(dpe.LaplaceDpEvent(1.0), "lattice"), (dpe.PoissonSampledDpEvent(0.1, G(0.5)), "contour")],
)
def test_a_kept_mu_of_no_gaussian_has_no_lower_ends(event, method):
    """The mu that fits the advantage is far above the curve elsewhere: closed forms say so."""
    whole = account(event, adjacency="add-remove")
    bound = jsonio.load(ProvenBound, jsonio.dump(kept(whole)))
    assert bound.method == method and bound.mu.lower > 0.1
    for delta in (1e-9, 1e-5, 0.1):
        assert bound.epsilon(delta).lower <= whole.epsilon(delta).lower
        assert bound.epsilon(delta).upper >= whole.epsilon(delta).upper
    for epsilon in (0.0, 0.5, 1.5):
        assert bound.delta(epsilon).lower <= whole.delta(epsilon).lower
    for fpr in (1e-4, 0.01, 0.5):
        assert fpr * (1 - 1e-12) <= bound.tpr(fpr).lower <= fpr <= whole.tpr(fpr).upper
    assert bound.advantage().lower == 0.0
    assert "not below" not in bound.statement(delta=1e-5)


def test_laplace_in_closed_form():
    """Scale 1: epsilon is 1 at delta 0, and TPR is at most e FPR."""
    bound = kept(account(dpe.LaplaceDpEvent(1.0), adjacency="add-remove"))
    assert bound.epsilon(1e-9).lower <= 1.0 <= bound.epsilon(1e-9).upper
    assert bound.delta(1.5).lower == 0.0
    assert bound.tpr(1e-4).lower <= math.e * 1e-4 <= bound.tpr(1e-4).upper


def test_gaussians_keep_both_ends():
    for method in ("gaussian", "gaussian, two pairs"):
        bound = ProvenBound(mu=Interval(1.0, 1.0), adjacency="add-remove", method=method)
        assert bound.epsilon(1e-5).lower > 4.377 and bound.delta(1.0).lower > 0.12693
        assert bound.advantage().lower > 0.38 and bound.tpr(0.01).lower > 0.09

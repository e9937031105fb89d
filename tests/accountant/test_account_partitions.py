"""Partitions inside samples: the worst parts of two of them need not share a record."""

import dp_accounting.dp_event as dpe
import pytest

from privassay.accountant.account import account
from privassay.accountant.events import ParallelDpEvent, RandomAllocationDpEvent

G, C, S = dpe.GaussianDpEvent, dpe.ComposedDpEvent, dpe.SelfComposedDpEvent


def poisson(event):
    return dpe.PoissonSampledDpEvent(0.5, event)


def fixed(event):
    return dpe.SampledWithoutReplacementDpEvent(10, 5, event)


def repeated(event):
    return dpe.SampledWithReplacementDpEvent(10, 5, event)


def allocated(event):
    return RandomAllocationDpEvent(event=event, steps=4)


def once(event):
    return event


WAYS = [
    (poisson, "add-remove"),
    (poisson, "replace-one"),
    (fixed, "replace-one"),
    (repeated, "replace-one"),
    (allocated, "add-remove"),
]


@pytest.mark.parametrize("sampled, adjacency", WAYS)
@pytest.mark.parametrize(
    "within",
    [once, lambda e: C([e, dpe.NoOpDpEvent()]), lambda e: S(e, 1)],
    ids=["bare", "composed", "repeated"],
)
def test_no_record_is_in_the_worst_part_of_both(sampled, adjacency, within):
    """Every record sees one sharp and one blunt release, by the order of the parts."""
    sharp, blunt = G(1.0), G(50.0)
    one = within(ParallelDpEvent((sharp, blunt), "client"))
    other = within(ParallelDpEvent((blunt, sharp), "client"))
    bound = account(C([sampled(one), S(sampled(other), 1)]), adjacency=adjacency)
    truth = account(C([sampled(sharp), sampled(blunt)]), adjacency=adjacency).epsilon(1e-5)
    found = bound.epsilon(1e-5)
    assert found.lower <= truth.upper and truth.lower <= found.upper * (1.0 + 1e-9)
    assert bound.method.endswith("two pairs")


def test_a_part_without_a_release_leaves_no_lower_end():
    split = ParallelDpEvent((G(1.0), dpe.NoOpDpEvent()), "client")
    faint = ParallelDpEvent((G(1.0), G(1e6)), "client")
    for sampled, adjacency in WAYS:
        for part in (split, faint):
            found = account(C([sampled(part), sampled(part)]), adjacency=adjacency).epsilon(1e-5)
            assert 0.0 == found.lower < found.upper
    silent = ParallelDpEvent((G(0.0), dpe.NoOpDpEvent()), "client")
    found = account(C([poisson(silent), poisson(silent)]), adjacency="add-remove").epsilon(1e-5)
    assert found.lower == 0.0


def test_alone_the_worst_part_is_attained():
    """One partition: some record is in its worst part."""
    split = ParallelDpEvent((G(1.0), G(50.0)), "client")
    for sampled, adjacency in WAYS[:2]:
        found = account(sampled(split), adjacency=adjacency)
        assert found.epsilon(1e-5) == account(sampled(G(1.0)), adjacency=adjacency).epsilon(1e-5)
        assert not found.method.endswith("two pairs")

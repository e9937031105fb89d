"""The step plan: every record once an epoch, padding never counted."""

from collections import Counter as Tally

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privassay.accountant.errors import ParameterError
from privassay.fl_core.clients import ClientData
from privassay.fl_core.counters import Counter
from privassay.fl_core.plan import by_length, steps
from privassay.mechanisms.base import SeededKey


def orders(data, epoch):
    counter = Counter.of(SeededKey(1), "order")
    return counter.order(data.clients, data.replicas, data.lengths, epoch=epoch)


def rows_of(lengths):
    """Client data in which a record's number tells its owner."""
    parts, first = [], 0
    for length in lengths:
        parts.append(range(first, first + length))
        first += length
    data = ClientData.of(torch.zeros(first, 1), torch.zeros(first).long(), parts)
    return data.take(by_length(data))


def test_longest_first_and_ties_in_order():
    data = ClientData.of(
        torch.zeros(9, 1), torch.zeros(9).long(), [[0], [1, 2], [], [3], [4, 5], [6, 7, 8]]
    )
    assert by_length(data).tolist() == [5, 1, 4, 0, 3, 2]


@settings(deadline=None)
@given(
    lengths=st.lists(st.one_of(st.integers(0, 9), st.integers(0, 150)), max_size=7),
    batch=st.integers(1, 40),
    epochs=st.integers(1, 3),
    full=st.booleans(),
)
def test_every_record_once_an_epoch_with_weights_that_sum_to_one(lengths, batch, epochs, full):
    data = rows_of(lengths)
    seen = [Tally() for _ in lengths]
    taken = [0] * len(lengths)
    for step in steps(data, epochs=epochs, batch_size=batch, order=orders, full_batches_only=full):
        rows = range(len(data))[step.rows]
        assert step.records.shape == step.weights.shape == (len(rows), step.records.shape[1])
        assert step.weights.dtype == torch.float64
        for row, records, weights in zip(rows, step.records, step.weights, strict=True):
            real = records[weights > 0].tolist()
            assert 1 <= len(real) <= batch
            assert not full or len(real) == batch
            torch.testing.assert_close(
                weights[weights > 0] * len(real), torch.ones(len(real)).double()
            )
            seen[row].update(real)
            taken[row] += 1
    for row, length in enumerate(data.lengths.tolist()):
        own = set(data.index[row, :length].tolist())
        per_epoch = length // batch if full else -(-length // batch)
        assert taken[row] == epochs * per_epoch
        assert set(seen[row]) <= own
        if full:
            assert sum(seen[row].values()) == epochs * per_epoch * batch
        else:
            assert seen[row] == Tally({record: epochs for record in own})


def test_rows_of_one_step_follow_each_other_within_an_epoch():
    """A row's own steps come in its own order, whoever else is there."""
    data = rows_of([40, 33, 3, 0])
    together = list(steps(data, epochs=2, batch_size=8, order=orders))
    for row in range(4):
        alone = data.take(torch.tensor([row]))
        wanted = [
            s.records[0][s.weights[0] > 0].tolist()
            for s in steps(alone, epochs=2, batch_size=8, order=orders)
        ]
        found = [
            s.records[row - s.rows.start][s.weights[row - s.rows.start] > 0].tolist()
            for s in together
            if s.rows.start <= row < s.rows.stop
        ]
        assert found == wanted


def test_much_padding_splits_a_step():
    data = rows_of([200, 1])
    parts = [s for s in steps(data, epochs=1, batch_size=200, order=orders)]
    assert [s.records.shape for s in parts] == [(1, 200), (1, 1)]
    data = rows_of([9, 1])
    (step,) = steps(data, epochs=1, batch_size=16, order=orders)
    assert step.records.shape == (2, 9) and step.weights[1].tolist() == [1.0] + [0.0] * 8


def test_nothing_to_do():
    for lengths in ([], [0, 0]):
        assert list(steps(rows_of(lengths), epochs=2, batch_size=4, order=orders)) == []


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 0}, {"epochs": 1.5}])
def test_wrong_numbers_are_refused(wrong):
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        list(steps(rows_of([3]), **({"epochs": 1, "batch_size": 2} | wrong), order=orders))


def test_unsorted_rows_are_refused():
    data = ClientData.of(torch.zeros(3, 1), torch.zeros(3).long(), [[0], [1, 2]])
    with pytest.raises(ValueError, match="longest first"):
        list(steps(data, epochs=1, batch_size=2, order=orders))


def test_more_epochs_than_counters_have_are_refused():
    with pytest.raises(ParameterError, match="epoch 256"):
        list(steps(rows_of([1]), epochs=257, batch_size=1, order=orders))
    assert len(list(steps(rows_of([1]), epochs=256, batch_size=1, order=orders))) == 256

"""The step plan: which records each row takes in each step, with as little padding as possible.

Rows are sorted by length, so the rows that still have records in a step are the first ones, and
a step works on a view of the stacked parameters, not on a copy.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..accountant import check
from .clients import ClientData

Order = Callable[[ClientData, int], Tensor]
"""(rows, epoch) -> int64[rows, longest]: a permutation of each row's positions, padding last."""

_WORTH_A_CALL = 96  # padded slots from which a second call is cheaper than computing them


@dataclass(frozen=True)
class Step:
    """One optimiser step of some rows.

    Attributes:
        rows: the rows that take part.
        records: int64[rows, width] indices into the pool; padding repeats a record of the row.
        weights: float64[rows, width]: 1 / batch of each record, 0 for padding; each row sums to 1.
    """

    rows: slice
    records: Tensor
    weights: Tensor


def by_length(data: ClientData) -> Tensor:
    """int64[rows]: the rows, longest first; ties keep their order."""
    return data.lengths.argsort(descending=True, stable=True)


def steps(
    data: ClientData, *, epochs: int, batch_size: int, order: Order, full_batches_only: bool = False
) -> Iterator[Step]:
    """The steps of `epochs` local epochs.

    Args:
        data: rows, longest first (`by_length`).
        epochs: >= 1.
        batch_size: records of a step, >= 1; the last batch of an epoch may be short.
        order: the order of the records in an epoch.
        full_batches_only: leave short batches out.

    Raises:
        ParameterError: epochs or batch_size is not a whole number >= 1.
        ValueError: the rows are not sorted.
    """
    check.count(epochs=epochs, batch_size=batch_size)
    lengths = data.lengths.tolist()
    if any(a < b for a, b in zip(lengths, lengths[1:], strict=False)):
        raise ValueError("rows must be sorted by length, longest first")
    longest = lengths[0] if lengths else 0
    for epoch in range(epochs if longest else 0):
        turn = order(data, epoch)
        records = data.index.gather(1, turn)
        # Padding repeats the row's own record: another client's, if it is not finite, would
        # spoil this row in spite of its weight of zero.
        records = torch.where(turn < data.lengths.unsqueeze(1), records, records[:, :1])
        for start in range(0, longest, batch_size):
            least = start + (batch_size if full_batches_only else 1)
            left = [min(n - start, batch_size) for n in lengths if n >= least]
            for first, last in _segments(left):
                width = left[first]
                yield Step(
                    rows=slice(first, last),
                    records=records[first:last, start : start + width],
                    weights=_weights(left[first:last], records.device),
                )


def _weights(batch: list[int], device: torch.device) -> Tensor:
    """float64[rows, width]: each row's records count 1 / batch, its padding 0."""
    width = batch[0]
    if batch[-1] == width:  # batches fall: all are full
        one = torch.full((1, 1), 1.0 / width, dtype=torch.float64, device=device)
        return one.expand(len(batch), width)
    sizes = torch.tensor(batch, device=device).unsqueeze(1)
    return (torch.arange(width, device=device) < sizes) / sizes.double()


def _segments(left: list[int]) -> Iterator[tuple[int, int]]:
    """Consecutive rows that are computed together; `left` falls."""
    first, count = 0, len(left)
    while first < count:
        last, padded = first + 1, 0
        while last < count:
            padded += left[first] - left[last]
            if padded > _WORTH_A_CALL:
                break
            last += 1
        yield first, last
        first = last

"""Training at the server on what was uploaded: batches of prototypes, the same in any stack."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ...mechanisms.base import Key
from ..counters import Counter
from .method import Uploads


class Batch(NamedTuple):
    """Some uploaded prototypes of every replica.

    Attributes:
        x: float32[replicas, batch, dim]; y: int64[replicas, batch]: their classes.
        weights: float32[replicas, batch]: 1 / number of known ones, 0 for unknown ones.
    """

    x: Tensor
    y: Tensor
    weights: Tensor


def batches(
    uploads: Uploads, *, epochs: int, batch_size: int, round: int, key: Key, purpose: str
) -> Iterator[Batch]:
    """Every upload once per epoch, in an order of its own for each replica.

    Args:
        uploads: of a round.
        epochs: >= 1.
        batch_size: >= 1; the last batch of an epoch may be short.
        round: which round.
        key: root of the run.
        purpose: what the order is for.
    """
    rows, known = uploads.by_class()  # [replicas, classes, clients * centres, dim]
    x = rows.flatten(1, 2).float()
    valid = known.flatten(1).float()
    classes = torch.arange(rows.shape[1], device=x.device)
    y = classes.repeat_interleave(rows.shape[2]).expand_as(valid)
    counter = Counter.of(key, purpose, round=round)
    nobody = torch.zeros_like(uploads.replicas)
    lengths = torch.full_like(nobody, x.shape[1])
    for epoch in range(epochs):
        order = counter.order(nobody, uploads.replicas, lengths, epoch=epoch)
        for some in order.split(batch_size, dim=1):
            weights = valid.gather(1, some)
            where = some.unsqueeze(2).expand(-1, -1, x.shape[2])
            yield Batch(
                x.gather(1, where),
                y.gather(1, some),
                weights / weights.sum(dim=1, keepdim=True).clamp(min=1.0),
            )

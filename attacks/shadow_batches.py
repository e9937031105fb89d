"""What each step of a shadow's training sees: epochs, draws with replacement, or Poisson samples.

All draws are counters of (key, replica, step): a shadow gets the same batches in any chunk, in any
process and on any device.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..accountant import check
from ..fl_core.clients import ClientData
from ..fl_core.counters import Counter
from ..fl_core.plan import Step, steps

_EPOCHS = 256  # as many as one round of a counter has orders for
_STEPS = 16  # drawn at once: small draws cost more in calls than in numbers


class Key(Protocol):
    """The same as `mechanisms.base.Key`, which an attack may not import."""

    @property
    def fingerprint(self) -> str:
        """Text that two keys share only if they draw the same numbers; "system" if fresh."""

    def child(self, *names: str | int) -> "Key":
        """An independent source for a narrower purpose."""

    def normal(self, *shape: int) -> Tensor:
        """float64[shape] of independent standard normals."""

    def generator(self) -> np.random.Generator:
        """A numpy generator."""


class Batches(Protocol):
    """A rule; its representation names every parameter, since caches are keyed by it."""

    def plan(self, data: ClientData, key: Key) -> Iterator[Step]:
        """The steps of all rows, longest row first; every row holds at least one record."""


@dataclass(frozen=True, kw_only=True)
class Epochs:
    """Each epoch takes every record once, in a new random order; the last batch may be short.

    Attributes:
        epochs, batch_size: >= 1.
        full_batches_only: leave short batches out.
    """

    epochs: int
    batch_size: int
    full_batches_only: bool = False

    def __post_init__(self) -> None:
        check.count(epochs=self.epochs, batch_size=self.batch_size)

    def plan(self, data: ClientData, key: Key) -> Iterator[Step]:
        """See `Batches`."""

        def order(some: ClientData, epoch: int) -> Tensor:
            counter = Counter.of(key, "order", round=epoch // _EPOCHS)
            now = epoch % _EPOCHS
            return counter.order(some.clients, some.replicas, some.lengths, epoch=now)

        return steps(
            data,
            epochs=self.epochs,
            batch_size=self.batch_size,
            order=order,
            full_batches_only=self.full_batches_only,
        )


@dataclass(frozen=True, kw_only=True)
class WithReplacement:
    """Each step draws every record of its batch uniformly, so one may occur twice.

    A record's probability is off by at most one part in 2**32 / records.

    Attributes:
        steps, batch_size: >= 1.
    """

    steps: int
    batch_size: int

    def __post_init__(self) -> None:
        check.count(steps=self.steps, batch_size=self.batch_size)

    def plan(self, data: ClientData, key: Key) -> Iterator[Step]:
        """See `Batches`."""
        counter, rows, size = Counter.of(key, "draws"), len(data), self.batch_size
        share = torch.full((1, 1), 1.0 / size, dtype=torch.float64, device=data.index.device)
        weights = share.expand(rows, size)
        each = -(-size // 4)  # a position of the counter gives four numbers
        for first in range(0, self.steps, _STEPS):
            some = min(_STEPS, self.steps - first)
            words = counter.words(data.clients, data.replicas, some * each, first=first * each)
            drawn = torch.stack(words, dim=-1).view(rows, some, 4 * each)[..., :size]
            places = (drawn * data.lengths.view(-1, 1, 1)) >> 32
            records = data.index.gather(1, places.view(rows, -1)).view(rows, some, size)
            for step in range(some):
                yield Step(slice(0, rows), records[:, step], weights)


@dataclass(frozen=True, kw_only=True)
class Poisson:
    """Each step takes each record on its own with this probability; a sample may be empty.

    The sum of the sampled gradients is divided by the expected size of the row's sample. An empty
    sample has gradient zero, with which momentum and decay go on.

    Attributes:
        steps: >= 1.
        rate: in (0, 1].
    """

    steps: int
    rate: float

    def __post_init__(self) -> None:
        check.count(steps=self.steps)
        check.positive(rate=self.rate)
        check.probability(rate=self.rate)

    def plan(self, data: ClientData, key: Key) -> Iterator[Step]:
        """See `Batches`."""
        longest = data.index.shape[1]
        place = torch.arange(longest, device=data.index.device)
        held = place < data.lengths.unsqueeze(1)
        share = 1.0 / (self.rate * data.lengths.double().unsqueeze(1))
        for step in range(self.steps):
            counter = Counter.of(key, "sample", round=step)
            drawn = counter.uniform(data.clients, data.replicas, longest)
            taken = (drawn < self.rate) & held
            counts = taken.sum(dim=1, keepdim=True)
            most = max(1, int(counts.max()))
            order = (~taken).to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
            used = place[:most] < counts
            # Padding repeats the row's own record, as in `plan.steps`.
            records = torch.where(used, data.index.gather(1, order), data.index[:, :1])
            yield Step(slice(0, len(data)), records, share * used)

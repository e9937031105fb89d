"""Records of a DP-FedLoRA comparison that clients hold in each seed, and how models do on them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...mechanisms.base import Key
from ..clients import ClientData
from ..kernels.base import Kernel, Params

Values = dict[str, tuple[tuple[float, ...], ...]]
Judge = Callable[[Tensor, Tensor], dict[str, Tensor]]
"""(logits float64[..., classes], y int64[...]) -> name -> float64[...], of each record."""

_ROWS = 16  # models that are judged at once; bounds the memory


class Split(NamedTuple):
    """Which records each client holds, of each seed after another.

    Attributes:
        train, test: int64[each]: numbers of records, an array per (seed, client).
        seeds: how many.
    """

    train: list[NDArray[np.int64]]
    test: list[NDArray[np.int64]]
    seeds: int


class Reported(NamedTuple):
    """A metric: what the judge calls it, and on whose test records.

    Attributes:
        metric: its name in the table.
        score: name in what a `Judge` gives.
        whose: of the client itself, or of all others.
    """

    metric: str
    score: str
    whose: Literal["own", "others"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Records:
    """Training and test records; rows are (seed, client), and a seed's number is a replica's.

    Attributes:
        train, test: on one pool of records, disjoint in each seed.
        seeds, clients: how many.
        judge: scores of single records.
        reported: the metrics.
    """

    train: ClientData
    test: ClientData
    seeds: int
    clients: int
    judge: Judge
    reported: tuple[Reported, ...]

    @classmethod
    def of(
        cls, x: Tensor, y: Tensor, split: Split, *, judge: Judge, reported: tuple[Reported, ...]
    ) -> "Records":
        """Of records x, float[records, ...], with labels y, int64[records]."""
        count = len(split.train) // split.seeds
        clients = list(range(count)) * split.seeds
        replicas = [seed for seed in range(split.seeds) for _ in range(count)]
        train, test = (
            ClientData.of(x, y, parts, clients=clients, replicas=replicas)
            for parts in (split.train, split.test)
        )
        return cls(
            train=train,
            test=test,
            seeds=split.seeds,
            clients=count,
            judge=judge,
            reported=reported,
        )

    def described_by(self, x: Tensor) -> "Records":
        """The same records, each described by x, float[records, ...]."""
        return replace(self, train=replace(self.train, x=x), test=replace(self.test, x=x))

    def merged(self) -> ClientData:
        """One client per seed that holds all training records."""
        parts = [part.flatten().numpy() for part in self.train.index.chunk(self.seeds)]
        return ClientData.of(
            self.train.x, self.train.y, parts,
            clients=[0] * self.seeds, replicas=list(range(self.seeds)),
        )  # fmt: skip

    def alone(self) -> ClientData:
        """Every client of every seed as the only one of a replica of its own."""
        count = torch.arange(len(self.train))
        return replace(self.train, clients=torch.zeros_like(count), replicas=count)

    def shared(self, models: list[tuple[Kernel, Params]]) -> Values:
        """Values of one model per seed, for all clients of that seed."""
        found: dict[str, list[Tensor]] = {}
        for (kernel, params), index in zip(models, self.test.index.chunk(self.seeds), strict=True):
            flat = index.flatten()
            logits = kernel.outputs(params, self.test.x[flat].unsqueeze(0)).logits[0].double()
            for name, value in self.judge(logits, self.test.y[flat]).items():
                found.setdefault(name, []).append(value.view(self.clients, -1).mean(dim=1))
        own = {name: torch.stack(each) for name, each in found.items()}
        others = {
            name: (each.sum(dim=1, keepdim=True) - each) / (self.clients - 1)
            for name, each in own.items()
        }
        return self._values(own, others)

    def personal(self, kernel: Kernel, params: Params, key: Key, sample: int) -> Values:
        """Values of a model per row; its neighbours are `sample` test records of other clients."""
        split = self.test.index.shape[1]
        asked = torch.cat([self.test.index, self._others(key, sample)], dim=1)
        found: dict[str, list[Tensor]] = {}
        for rows in torch.arange(len(asked)).split(_ROWS):
            some = {name: value[rows] for name, value in params.items()}
            logits = kernel.outputs(some, self.test.x[asked[rows]]).logits.double()
            for name, value in self.judge(logits, self.test.y[asked[rows]]).items():
                found.setdefault(name, []).append(value)
        each = {name: torch.cat(parts) for name, parts in found.items()}
        own, others = (
            {n: v[:, part].mean(dim=1).view(self.seeds, -1) for n, v in each.items()}
            for part in (slice(split), slice(split, None))
        )
        return self._values(own, others)

    def _others(self, key: Key, sample: int) -> Tensor:
        """int64[rows, sample]: test records of other clients of the same seed."""
        generator, found = key.generator(), []
        for index in self.test.index.chunk(self.seeds):
            for client in range(self.clients):
                rest = torch.cat([index[:client], index[client + 1 :]]).flatten().numpy()
                found.append(torch.from_numpy(generator.permutation(rest)[:sample]))
        return torch.stack(found)

    def _values(self, own: dict[str, Tensor], others: dict[str, Tensor]) -> Values:
        """Metric -> of each seed, of each client; arguments are float64[seeds, clients] each."""
        scores = {"own": own, "others": others}
        return {
            each.metric: tuple(tuple(row) for row in scores[each.whose][each.score].tolist())
            for each in self.reported
        }

"""Mails of a DP-FedLoRA comparison: states of a frozen encoder, dealt out anew by each seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...accountant.errors import ConfigError
from ...mechanisms.base import Key
from ..clients import ClientData
from ..data.mixtures import dirichlet_mixture
from ..data.text import TextPool, load_spam
from ..kernels.base import Kernel, Params
from .dp_fedlora import DataSection

Values = dict[str, tuple[tuple[float, ...], ...]]

_ROWS = 16  # models that are judged at once; bounds the memory


@dataclass(frozen=True, kw_only=True, eq=False)
class Mails:
    """Training and test records; rows are (seed, client), and a seed's number is a replica's.

    Attributes:
        train, test: on one pool of records, disjoint in each seed.
        seeds, clients: how many.
    """

    train: ClientData
    test: ClientData
    seeds: int
    clients: int

    def of(self, x: Tensor) -> "Mails":
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
        right, losses = [], []
        for (kernel, params), index in zip(models, self.test.index.chunk(self.seeds), strict=True):
            flat = index.flatten()
            logits = kernel.outputs(params, self.test.x[flat].unsqueeze(0)).logits[0].double()
            found = _judged(logits, self.test.y[flat])
            right.append(found[0].view(self.clients, -1))
            losses.append(found[1].view(self.clients, -1))
        each = torch.stack(right).mean(dim=2)
        others = (each.sum(dim=1, keepdim=True) - each) / (self.clients - 1)
        return self._values(others, each, torch.stack(losses).mean(dim=2))

    def personal(self, kernel: Kernel, params: Params, key: Key, sample: int) -> Values:
        """Values of a model per row; its neighbours are `sample` test records of other clients."""
        own = self.test.index
        asked = torch.cat([own, self._others(key, sample)], dim=1)
        right, losses = [], []
        for rows in torch.arange(len(asked)).split(_ROWS):
            some = {name: value[rows] for name, value in params.items()}
            logits = kernel.outputs(some, self.test.x[asked[rows]]).logits.double()
            found = _judged(logits, self.test.y[asked[rows]])
            right.append(found[0])
            losses.append(found[1])
        hits, loss = torch.cat(right), torch.cat(losses)
        split = own.shape[1]
        parts = (hits[:, split:], hits[:, :split], loss[:, :split])
        return self._values(*(part.mean(dim=1).view(self.seeds, -1) for part in parts))

    def _others(self, key: Key, sample: int) -> Tensor:
        """int64[rows, sample]: test records of other clients of the same seed."""
        generator, found = key.generator(), []
        for index in self.test.index.chunk(self.seeds):
            for client in range(self.clients):
                rest = torch.cat([index[:client], index[client + 1 :]]).flatten().numpy()
                found.append(torch.from_numpy(generator.permutation(rest)[:sample]))
        return torch.stack(found)

    def _values(self, neighbour: Tensor, local: Tensor, loss: Tensor) -> Values:
        named = {"neighbour": neighbour, "local": local, "log-loss": loss}
        return {name: tuple(tuple(row) for row in v.tolist()) for name, v in named.items()}


def load(section: DataSection, encode: Callable[[Sequence[str]], Tensor]) -> TextPool:
    """As many mails of each class, no two of which are the same to the model.

    Args:
        section: sizes.
        encode: texts -> int64[texts, tokens], what the model sees of them. Of equal mails one
            stays: no test mail may be one of training.

    Raises:
        AssetError: the asset is missing. ConfigError: it has fewer mails of a class.
    """
    pool = load_spam()
    _, first = np.unique(encode(pool.texts).numpy(), axis=0, return_index=True)
    pool = pool.take(np.sort(first))
    rng = np.random.default_rng(section.seed)
    rows = []
    for label, name in enumerate(pool.classes):
        mine = np.flatnonzero(pool.y == label)
        if len(mine) < section.per_class:
            raise ConfigError(
                f"data.per_class is {section.per_class}, but there are {len(mine)} different mails "
                f"of class {name!r}; ask for fewer"
            )
        rows.append(rng.permutation(mine)[: section.per_class])
    return pool.take(rng.permutation(np.concatenate(rows)))


def deal(x: Tensor, pool: TextPool, section: DataSection, *, seeds: int, key: Key) -> Mails:
    """Mixtures of classes, training and test records of every seed.

    Args:
        x: float[records, ...]: what describes each text of the pool.
        pool: the texts.
        section: sizes.
        seeds: >= 1.
        key: of the dealing.
    """
    train, test = [], []
    for seed in range(seeds):
        held = dirichlet_mixture(
            pool.y,
            section.clients,
            alpha=section.mixture,
            size=section.train_each + section.test_each,
            seed=key.child(seed).generator(),
        )
        shuffled = key.child("halves", seed).generator()
        for part in held.parts:
            mixed = shuffled.permutation(part)
            train.append(mixed[: section.train_each])
            test.append(mixed[section.train_each :])
    y = torch.from_numpy(pool.y.copy())
    clients = list(range(section.clients)) * seeds
    replicas = [seed for seed in range(seeds) for _ in range(section.clients)]
    parts = [
        ClientData.of(x, y, held, clients=clients, replicas=replicas) for held in (train, test)
    ]
    return Mails(train=parts[0], test=parts[1], seeds=seeds, clients=section.clients)


def _judged(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """float64[...] each: 1 where the largest logit is right; cross-entropy."""
    loss = -logits.log_softmax(dim=-1).gather(-1, y.unsqueeze(-1)).squeeze(-1)
    return (logits.argmax(dim=-1) == y).double(), loss

"""The records of a comparison: each seed deals every client's records into training and test."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..mechanisms.base import Key
from .clients import ClientData
from .task import Task


class Dealt(NamedTuple):
    """Rows are (seed, client), seed by seed; a seed's number is that of its replica.

    Attributes:
        data: training records, all rows of the same length.
        test_x: float32[rows, n, dim]; test_y: int64[rows, n].
    """

    data: ClientData
    test_x: Tensor
    test_y: Tensor


def deal(task: Task, *, seeds: int, key: Key) -> Dealt:
    """Training and test records of every seed, by class, as many of each as the task has.

    Intervals over seeds then cover the choice of records, too. Seeds share records, so that they
    are a little narrower than those over new records would be.
    """
    pool_x = torch.cat([task.train_x, task.test_x], dim=1)  # [clients, n, dim]
    pool_y = torch.cat([task.train_y, task.test_y], dim=1)
    clients, size = pool_y.shape
    train_per_class = task.train_y.shape[1] // task.classes
    train, test = [], []
    for seed in range(seeds):
        for client in range(clients):
            order = key.child(seed, client).generator().permutation(size)
            mixed = torch.from_numpy(order)
            by_class = [mixed[pool_y[client, mixed] == c] for c in range(task.classes)]
            train.append(torch.cat([part[:train_per_class] for part in by_class]) + client * size)
            test.append(torch.cat([part[train_per_class:] for part in by_class]) + client * size)
    x, y = pool_x.flatten(0, 1).float(), pool_y.flatten()
    data = ClientData.of(
        x,
        y,
        [part.numpy() for part in train],
        clients=list(range(clients)) * seeds,
        replicas=[seed for seed in range(seeds) for _ in range(clients)],
    )
    tested = torch.stack(test)
    return Dealt(data, x[tested], y[tested])

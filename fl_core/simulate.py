"""A federated run: privatise, upload, aggregate, broadcast, train; all rows at once.

The rows are (variant, seed, client), so that a comparison of five mechanisms and three controls
over five seeds is one stacked run. Every release is in the ledger before it is made.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..accountant.event_json import to_dict
from ..accountant.ledger import Ledger, LedgerEntry
from ..mechanisms.base import Key, Mechanism
from .algorithms import fedproto
from .config import TrainingSection
from .task import Task
from .transcript import Transcript


@contextmanager
def one_thread() -> Iterator[None]:
    """Small tensors: a second thread gains nothing and loses a lot on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def release(
    task: Task, mechanism: Mechanism, *, rounds: int, key: Key, ledger: Ledger
) -> Transcript:
    """All uploads and broadcasts of one run.

    The encoder is frozen, so each round releases the same class sums under fresh noise, and
    nothing that leaves depends on local training.
    """
    statistic = mechanism.statistic(task.train_x, task.train_y, task.classes)
    event = to_dict(mechanism.event())
    uploads = []
    for round_ in range(rounds):
        keys = [key.child("noise", round_, client) for client in task.clients]
        ledger.write(
            LedgerEntry(
                release="prototype",
                client=client,
                label=task.class_names[label],
                round=round_,
                event=event,
                noise=f"{k.fingerprint}/{label}" if k.fingerprint != "system" else "system",
            )
            for client, k in zip(task.clients, keys, strict=True)
            for label in range(task.classes)
        )
        rows = zip(statistic, keys, strict=True)
        uploads.append(torch.stack([mechanism.perturb(row, k) for row, k in rows]))
    stacked = torch.stack(uploads)
    return Transcript(uploads=stacked, broadcasts=fedproto.aggregate(stacked))


@dataclass(frozen=True)
class Utility:
    """Accuracies of one variant, float64[seeds, clients].

    Attributes:
        head: each client's own model on its own domain's test set.
        prototype: nearest global prototype on the same test set.
    """

    head: Tensor
    prototype: Tensor


def utility(
    task: Task,
    broadcasts: Mapping[str, list[Tensor]],
    training: TrainingSection,
    *,
    key: Key,
    local_only: str,
) -> dict[str, Utility]:
    """Train the clients of every variant and seed on what they received.

    Args:
        task: the records.
        broadcasts: variant -> one float[rounds, classes, dim] per seed.
        training: local training.
        key: root of initial models and record orders; shared by the variants, so that these differ
            by their prototypes alone.
        local_only: name of the variant whose rows ignore the prototypes.
    """
    names, clients, seeds = list(broadcasts), len(task.clients), training.seeds
    with one_thread():
        per_seed = [
            key.child("seed", seed, client) for seed in range(seeds) for client in task.clients
        ]
        models = fedproto.initial_models(
            per_seed * len(names),
            dim=task.train_x.shape[2],
            width=training.adapter_width,
            classes=task.classes,
        )
        copies = len(names) * seeds
        x, y = task.train_x.float().repeat(copies, 1, 1), task.train_y.repeat(copies, 1)
        received = torch.stack([b.float() for name in names for b in broadcasts[name]])
        received = received.repeat_interleave(clients, dim=0)  # [rows, rounds, classes, dim]
        weight = torch.tensor(
            [0.0 if name == local_only else training.prototype_weight for name in names]
        )
        for round_ in range(received.shape[1]):
            orders = [_orders(k.child(round_), training.local_epochs, x.shape[1]) for k in per_seed]
            fedproto.train_locally(
                models,
                x,
                y,
                received[:, round_],
                weight=weight.repeat_interleave(seeds * clients).unsqueeze(1),
                orders=torch.stack(orders * len(names), dim=1),
                batch_size=training.batch_size,
                learning_rate=training.learning_rate,
            )
        test_x = task.test_x.float().repeat(copies, 1, 1)
        test_y = task.test_y.repeat(copies, 1)
        shape = (len(names), seeds, clients)
        head = fedproto.accuracy(models, test_x, test_y).reshape(shape)
        near = fedproto.prototype_accuracy(received[:, -1], test_x, test_y).reshape(shape)
    return {name: Utility(head[i], near[i]) for i, name in enumerate(names)}


def random_prototypes(like: Tensor, key: Key) -> Tensor:
    """Prototypes without any information, with the norms of `like`, float[rounds, classes, dim]."""
    noise = key.normal(*like.shape)
    scale: Tensor = like.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)
    return noise * scale


def _orders(key: Key, epochs: int, count: int) -> Tensor:
    generator = key.child("order").generator()
    return torch.stack([torch.from_numpy(generator.permutation(count)) for _ in range(epochs)])

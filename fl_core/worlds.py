"""Audit worlds: many independent runs of one release, with and without one record.

A trial is a whole run of the release path for one class of one client: the mechanism's own
`statistic` and `perturb`, all rounds, the server's step. Other classes have independent noise and
other records, so leaving them out changes nothing in the law of what is compared. It does not go
through `federation.run`, whose counters draw normals four times as slowly as a generator; given
the same normals, the two give the same transcript.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..accountant.adjacency import Adjacency
from ..accountant.errors import ConfigError
from ..mechanisms.base import Key, Mechanism, SystemKey
from .algorithms.method import Uploads
from .simulate import SERVER
from .task import Task
from .transcript import Transcript

BLOCK = 500  # part of the keys' meaning: changing it changes the noise of every audit


@dataclass(frozen=True, kw_only=True)
class Target:
    """One class of one client, and the record whose presence is the question.

    Attributes:
        client: row of the client; label: the class.
        records: float64[n, dim] features of the class at this client.
        strongest: the record that moves the noise-scaled class sum most. Chosen from the records
            and the declared noise alone, before anything is released.
    """

    client: int
    label: int
    records: Tensor
    strongest: int


def choose_target(task: Task, mechanism: Mechanism, *, client: int, label: int) -> Target:
    """The class and its strongest record.

    Raises:
        ConfigError: no such class, or the client holds fewer than two records of it.
    """
    if label >= task.classes:
        raise ConfigError(
            f"estimate.target_class = {label}, but the classes are 0..{task.classes - 1}"
        )
    records = task.train_x[client][task.train_y[client] == label]
    if len(records) < 2:
        raise ConfigError(f"client {task.clients[client]} holds fewer than 2 records of {label}")
    pull = (mechanism.contribution(records) / noise_scale(mechanism)).square().sum(dim=1)
    return Target(client=client, label=label, records=records, strongest=int(pull.argmax()))


def noise_scale(mechanism: Mechanism) -> Tensor:
    """Declared noise standard deviation per dimension, float64[dim]; 1 where there is no noise."""
    per_group = torch.tensor(mechanism.noise_stddevs, dtype=torch.float64)
    per_group = torch.where(per_group > 0, per_group, 1.0)
    return torch.repeat_interleave(per_group, torch.tensor(mechanism.group_sizes))


def neighbour(records: Tensor, index: int, adjacency: Adjacency) -> Tensor:
    """The other data set: `records` without, or with an exchanged, record `index`.

    add-remove: the record is gone. zero-out: it is all zeros. replace-one: it becomes its
    antipode, the replacement that moves the sum farthest (a planted feature vector, not an image).
    """
    if adjacency == "add-remove":
        return torch.cat([records[:index], records[index + 1 :]])
    exchanged = records.clone()
    exchanged[index] = 0.0 if adjacency == "zero-out" else -records[index]
    return exchanged


def trials(
    task: Task,
    mechanism: Mechanism,
    target: Target,
    *,
    indices: Tensor,
    adjacency: Adjacency,
    rounds: int,
    with_peers: bool,
    key: Key,
) -> Iterator[tuple[Tensor, Transcript, Transcript]]:
    """Blocks of (record indices, transcripts with the record, transcripts without it).

    Args:
        task: the records.
        mechanism: what is audited.
        target: class and client.
        indices: int64[trials], the record in question in each trial.
        adjacency: how the worlds differ.
        rounds: releases in each run.
        with_peers: also release the other clients' prototypes, which broadcasts need.
        key: root of the noise; world, block, round and client are added to it.
    """

    def prototype(records: Tensor) -> Tensor:
        labels = torch.zeros(len(records), dtype=torch.int64)
        return mechanism.statistic(records, labels, 1)  # [1 class, dim]

    whole = prototype(target.records)
    without = {
        int(i): prototype(neighbour(target.records, int(i), adjacency)) for i in indices.unique()
    }
    others = [
        prototype(task.train_x[c][task.train_y[c] == target.label])
        for c in range(len(task.clients))
        if with_peers and c != target.client
    ]
    for number, block in enumerate(indices.split(BLOCK)):
        lacking = torch.stack([without[int(i)] for i in block])
        pair = [
            _run(mechanism, [own, *others], len(block), rounds, key.child(world, number))
            for world, own in (("in", whole.expand_as(lacking)), ("out", lacking))
        ]
        yield block, pair[0], pair[1]


def _run(
    mechanism: Mechanism, statistics: list[Tensor], copies: int, rounds: int, key: Key
) -> Transcript:
    uploads = [
        mechanism.perturb(
            s.expand(copies, *s.shape[-2:]).unsqueeze(1).expand(-1, rounds, -1, -1), key.child(c)
        )
        for c, s in enumerate(statistics)
    ]
    return heard(torch.stack(uploads, dim=2))  # [copies, rounds, clients, 1 class, dim]


def heard(uploads: Tensor) -> Transcript:
    """The transcript of runs whose uploads are float[..., rounds, clients, classes, dim].

    The server is that of the audited run, and what it sends is post-processing of what it has.
    """
    runs = uploads.reshape(-1, *uploads.shape[-4:]).unsqueeze(-2)  # one centre per class
    replicas, clients = torch.arange(len(runs)), runs.shape[2]
    arrived = torch.ones(len(runs), clients, dtype=torch.bool)
    key = SystemKey()  # nothing is drawn: the server takes means
    state = SERVER.start(replicas, classes=runs.shape[3], dim=runs.shape[5], key=key)
    sent = []
    for round_ in range(runs.shape[1]):
        received = Uploads(runs[:, round_], arrived, replicas)
        state = SERVER.serve(state, received, round=round_, key=key)
        sent.append(state["prototypes"])
    broadcasts = torch.stack(sent, dim=1).to(uploads)
    return Transcript(
        uploads=uploads, broadcasts=broadcasts.view(*uploads.shape[:-3], *uploads.shape[-2:])
    )

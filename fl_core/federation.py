"""A federated run: cohort, local work in chunks of rows, noise, ledger, server step; resumable.

All replicas of a run go through it at once. Nothing that is computed depends on the chunk size,
on the device or on where a run was interrupted.
"""

import math
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..accountant import check
from ..accountant.errors import ConfigError
from ..accountant.ledger import Ledger
from ..mechanisms.base import Key
from . import checkpoint
from .algorithms.base import Algorithm, Received, State
from .clients import ClientData
from .cohort import Cohort, Everyone
from .engines.base import Engine
from .engines.local import Local
from .intake import Faults, break_rows, receive
from .kernels.base import Params
from .protection import Protection, Unprotected
from .recorder import Layout, Recorder


@dataclass(frozen=True, kw_only=True)
class Federation:
    """What is run.

    Attributes:
        algorithm: the method.
        data: who holds what, on the device of the run.
        rounds: >= 1.
        key: root of all random numbers.
        protection: where noise is added.
        cohort: who takes part.
        chunk: rows that are trained at once; bounds the memory, changes no result.
        faults: what goes wrong, for tests and studies.
    """

    algorithm: Algorithm
    data: ClientData
    rounds: int
    key: Key
    protection: Protection = field(default_factory=Unprotected)
    cohort: Cohort = field(default_factory=Everyone)
    chunk: int = 512
    faults: Faults | None = None

    def __post_init__(self) -> None:
        check.count(rounds=self.rounds, chunk=self.chunk)
        self.protection.check(self.cohort)
        if not len(self.data):
            raise ConfigError("a federation needs at least one client, but has none")
        if not (self.algorithm.weights_are_public or isinstance(self.protection, Unprotected)):
            raise ConfigError(
                "uploads are weighted or divided by what the clients hold, but are accounted as "
                "equal.\n  Use equal weights and a public divisor, or no protection."
            )


@dataclass(frozen=True)
class Outcome:
    """What is left after the last round.

    Attributes:
        state: the server's tensors, float[replicas, ...].
        personal: the clients' tensors, float[rows, ...].
        faults: how many uploads could not be used, by kind.
        transcript: SHA-256 of each recorded file.
        digest: SHA-256 of the tensors.
    """

    state: State
    personal: Params
    faults: dict[str, int]
    transcript: dict[str, str]
    digest: str


def layout(federation: Federation, *, raw: bool = False, half: bool = False) -> Layout:
    """Shapes, and so the size, of the run's transcript."""
    replicas = _replicas(federation.data)
    first = federation.algorithm.broadcast(federation.algorithm.start(replicas, federation.key))
    return Layout(
        rounds=federation.rounds,
        rows=len(federation.data),
        replicas=len(replicas),
        upload=federation.algorithm.upload_shape,
        broadcast={name: tuple(value.shape[1:]) for name, value in first.items()},
        raw=raw,
        half=half,
    )


def run(
    federation: Federation,
    ledger: Ledger,
    *,
    engine: Engine | None = None,
    recorder: Recorder | None = None,
    folder: Path | None = None,
    name: str = "",
    every: int = 1,
    say: Callable[[int], None] = lambda done: None,
) -> Outcome:
    """Run all rounds, or those that are left.

    Args:
        federation: what is run.
        ledger: gets every release of the lowest-numbered replica before it is made; the other
            replicas are worlds of the same design.
        engine: does the clients' work; in this process if not given. See `engine_parts`.
        recorder: keeps what left.
        folder: where checkpoints are kept; none if not given.
        name: hash of everything that determines the run (settings, data, program), so that a
            checkpoint of another one is not taken for it.
        every: rounds between checkpoints.
        say: is told the number of finished rounds after each.

    Raises:
        RecordError: the folder holds a checkpoint of another run.
    """
    algorithm, data, key = federation.algorithm, federation.data, federation.key
    replicas, slot = _replicas(data), _slots(data)
    place, weights = torch.searchsorted(replicas, data.replicas), algorithm.weights(data)
    clients = int(slot.max()) + 1
    engine = engine or Local(*engine_parts(federation))
    state, first, tally = algorithm.start(replicas, key), 0, Tally[str]()
    saved = None
    if folder is not None:
        saved = checkpoint.load(folder, run=name, device=data.x.device)
    if saved is not None:
        state, first, tally = saved.state, saved.rounds, Tally(saved.tally)
        engine.restore(saved.personal)
    raw = recorder is not None and recorder.layout.raw
    for round_ in range(first, federation.rounds):
        rows = federation.cohort.draw(data, round_, key).to(data.lengths.device)
        audited = rows if len(replicas) == 1 else rows[data.replicas[rows] == replicas[0]]
        ledger.write(federation.protection.entries(data, audited, round_, key))
        collected = _Collector(algorithm, data, len(replicas), clients)
        for some, noisy, before in engine.work(rows, algorithm.broadcast(state), round_, raw=raw):
            arriving: Tensor | list[Tensor | None] = noisy
            if federation.faults is not None:
                names = data.clients[some].tolist()
                arriving = break_rows(noisy, names, round_, federation.faults)
            uploads, arrived = receive(arriving, algorithm.upload_shape, tally)
            if recorder is not None:
                recorder.uploads(round_, some.cpu(), uploads, arrived, before)
            collected.add(uploads, arrived, weights[some], place[some], slot[some])
        received = collected.result(federation.protection, replicas, round_, key)
        state = algorithm.serve(state, received, round=round_, key=key)
        if recorder is not None:
            recorder.broadcast(round_, algorithm.broadcast(state))
        done = round_ + 1
        if folder is not None and (done % every == 0 or done == federation.rounds):
            if recorder is not None:
                recorder.flush()
            found = checkpoint.Checkpoint(done, state, engine.personal(), dict(tally))
            checkpoint.save(folder, found, run=name)
        say(done)
    hashes = recorder.hashes() if recorder is not None else {}
    personal = engine.personal()
    return Outcome(state, personal, dict(tally), hashes, checkpoint.digest(state, personal))


def engine_parts(
    federation: Federation,
) -> tuple[Algorithm, ClientData, Key, Protection, Tensor, int]:
    """What every engine is built from: `RayShards(*engine_parts(federation), shards=2)`."""
    return (
        federation.algorithm,
        federation.data,
        federation.key,
        federation.protection,
        _replicas(federation.data),
        federation.chunk,
    )


class _Collector:
    """Uploads of a round: their sum in double precision, or each of them."""

    def __init__(self, algorithm: Algorithm, data: ClientData, replicas: int, clients: int) -> None:
        self._shape = algorithm.upload_shape
        device = data.x.device
        size = math.prod(self._shape)
        self._total = self._rows = None
        if algorithm.keeps_rows:
            self._rows = torch.zeros(replicas, clients, *self._shape, device=device)
        else:
            self._total = torch.zeros(replicas, size, dtype=torch.float64, device=device)
        self._arrived = torch.zeros(replicas, clients, dtype=torch.bool, device=device)
        self._weight = torch.zeros(replicas, dtype=torch.float64, device=device)

    def add(
        self, uploads: Tensor, arrived: Tensor, weights: Tensor, place: Tensor, slot: Tensor
    ) -> None:
        """One chunk."""
        weights = torch.where(arrived, weights, 0.0)
        self._weight.index_add_(0, place, weights)
        self._arrived[place, slot] = arrived
        if self._rows is not None:
            if self._rows.dtype != uploads.dtype:
                self._rows = self._rows.to(uploads.dtype)
            self._rows[place, slot] = uploads
        elif self._total is not None:
            flat = uploads.flatten(1).double()
            if len(self._total) == 1:
                self._total += weights @ flat
            else:
                self._total.index_add_(0, place, flat * weights.unsqueeze(1))

    def result(self, protection: Protection, replicas: Tensor, round_: int, key: Key) -> Received:
        """After the server's noise."""
        total = self._total
        if total is not None:
            total = protection.totals(total, replicas, round_, key)
        return Received(total, self._rows, self._arrived, self._weight)


def _replicas(data: ClientData) -> Tensor:
    found: Tensor = data.replicas.unique(sorted=True)
    return found


def _slots(data: ClientData) -> Tensor:
    """int64[rows]: position of each row's client within its replica."""
    return torch.searchsorted(data.clients.unique(sorted=True), data.clients)


def per_replica(values: Tensor, data: ClientData) -> Iterator[Tensor]:
    """The rows of each replica of float[rows, ...], lowest number first."""
    for replica in _replicas(data):
        yield values[data.replicas == replica]


def only(state: Mapping[str, Tensor], replica: int) -> State:
    """One replica's part of a state, still with its leading axis."""
    return {name: value[replica : replica + 1] for name, value in state.items()}

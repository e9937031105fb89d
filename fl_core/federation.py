"""A federated run: cohort, local work in chunks of rows, noise, ledger, server step; resumable.

All replicas of a run go through it at once. Nothing that is computed depends on the chunk size,
on the device or on where a run was interrupted.
"""

import math
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from ..accountant import check
from ..accountant.errors import ConfigError, RecordError
from ..accountant.ledger import Ledger, LedgerEntry
from ..mechanisms.base import Key
from . import checkpoint
from .algorithms.base import Algorithm, Received, State
from .clients import ClientData
from .cohort import Cohort, Everyone
from .engines.base import Engine, Work
from .engines.local import Local
from .intake import Faults, break_rows, receive
from .kernels.base import Params
from .protection import Protection, Unprotected
from .recorder import Layout, Recorder
from .run_key import run_key


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
    chunk: int = 128
    faults: Faults | None = None

    def __post_init__(self) -> None:
        check.count(rounds=self.rounds, chunk=self.chunk)
        object.__setattr__(self, "key", run_key(self.key))
        if not len(self.data):
            raise ConfigError("a federation needs at least one client, but has none")
        numbers = torch.stack([self.data.clients, self.data.replicas])
        if len(torch.unique(numbers, dim=1).T) < len(self.data):
            raise ConfigError("two rows are the same client of the same replica")
        self.protection.check(self.algorithm, self.data, self.cohort)
        if self.data.virtual and self.protection.unit == "example":
            raise ConfigError(
                "the clients are virtual: a record may be held by several, so a bound per example "
                "of one client's upload says nothing.\n  Deal records out once."
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
        trust=federation.protection.trust,
    )


def run(
    federation: Federation,
    ledger: Ledger,
    *,
    engine: Callable[..., Engine] = Local,
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
        engine: makes what does the clients' work, e.g. `functools.partial(RayShards, shards=2)`;
            in this process if not given.
        recorder: keeps what left.
        folder: where checkpoints are kept; none if not given.
        name: hash of everything that determines the run (settings, data, program), so that a
            checkpoint or a ledger of another one is not taken for its own.
        every: rounds between checkpoints, >= 1.
        say: is told the number of finished rounds after each.

    Raises:
        ConfigError: the ledger is for another unit than the mechanism bounds, or `name` is
            missing where it is needed.
        RecordError: the folder, the transcript or the ledger is that of another run, or the ledger
            has lost releases that the checkpoint knows of.
    """
    check.count(every=every)
    _check_ledger(federation.protection, ledger, name, resumable=folder is not None)
    algorithm, data, key = federation.algorithm, federation.data, federation.key
    replicas, slot = _replicas(data), _slots(data)
    place, weights = torch.searchsorted(replicas, data.replicas), algorithm.weights(data)
    clients = int(slot.max()) + 1
    state, first, tally = algorithm.start(replicas, key), 0, Tally[str]()
    saved = None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        saved = checkpoint.load(folder, run=name, device=data.x.device)
    if saved is not None:
        _check_saved(saved, federation, ledger, recorder)
        state, first, tally = saved.state, saved.rounds, Tally(saved.tally)
    parts = (algorithm, data, key, federation.protection, replicas, federation.chunk)
    with closing(engine(*parts)) as workers:
        if saved is not None:
            workers.restore(saved.personal)
        for round_ in range(first, federation.rounds):
            rows = federation.cohort.draw(data, round_, key).to(data.lengths.device)
            audited = rows if len(replicas) == 1 else rows[data.replicas[rows] == replicas[0]]
            entries = federation.protection.entries(data, audited, round_, key)
            ledger.write(_named(entries, name))
            if recorder is not None:
                recorder.begin(round_)
            raw = recorder is not None and recorder.layout.raw
            collected = _Collector(algorithm, data, len(replicas), clients)
            for work in workers.work(rows, algorithm.broadcast(state), round_, raw=raw):
                some = work.rows
                uploads, arrived = _arrived(work, federation, round_, tally)
                if recorder is not None:
                    recorder.uploads(round_, some.cpu(), uploads, arrived, work.raw)
                collected.add(uploads, arrived, weights[some], place[some], slot[some])
            received = collected.result(federation.protection, replicas, round_, key)
            state = algorithm.serve(state, received, round=round_, key=key)
            if recorder is not None:
                recorder.broadcast(round_, algorithm.broadcast(state))
            done = round_ + 1
            if folder is not None and (done % every == 0 or done == federation.rounds):
                if recorder is not None:
                    recorder.flush()
                kept = (state, workers.personal(), dict(tally), ledger.spent())
                checkpoint.save(folder, checkpoint.Checkpoint(done, *kept), run=name)
            say(done)
        personal = workers.personal()
    hashes = recorder.hashes() if recorder is not None else {}
    return Outcome(state, personal, dict(tally), hashes, checkpoint.digest(state, personal))


def _arrived(
    work: Work, federation: Federation, round_: int, tally: Tally[str]
) -> tuple[Tensor, Tensor]:
    """What the server can use of some uploads, and of whom."""
    arriving: Tensor | list[Tensor | None]
    arriving = [None] * len(work.rows) if work.uploads is None else work.uploads
    if federation.faults is not None and isinstance(arriving, Tensor):
        names = federation.data.clients[work.rows].tolist()
        arriving = break_rows(arriving, names, round_, federation.faults, tally)
    device = federation.data.x.device
    return receive(arriving, federation.algorithm.upload_shape, tally, device=device)


def _check_ledger(protection: Protection, ledger: Ledger, name: str, *, resumable: bool) -> None:
    if protection.unit not in (None, ledger.unit):
        raise ConfigError(
            f"the mechanism bounds one {protection.unit}, but the ledger is for one "
            f"{ledger.unit}.\n  Keep the ledger under the mechanism's unit, or use another "
            "mechanism."
        )
    if not name and (resumable or ledger.entries):
        raise ConfigError(
            "give the run a name, a hash of its settings, data and program: "
            + ("a checkpoint" if resumable else "a ledger that holds releases already")
            + " of another run would be taken for its own"
        )


def _check_saved(
    saved: checkpoint.Checkpoint,
    federation: Federation,
    ledger: Ledger,
    recorder: Recorder | None,
) -> None:
    if saved.rounds > federation.rounds:
        raise RecordError(
            f"the checkpoint has {saved.rounds} rounds, but the run only {federation.rounds}"
        )
    if ledger.spent(saved.spent[0]) != saved.spent:
        raise RecordError(
            f"the ledger does not begin with the {saved.spent[0]} releases that were made before "
            "the checkpoint: it is another one, or was lost.\n"
            "  Go on with the run's own ledger (a file), or start anew with --fresh."
        )
    if recorder is not None and recorder.fresh:
        raise RecordError(
            "the transcript of the first rounds is missing. Go on with the run's own, or start "
            "anew with --fresh."
        )


def _named(entries: Iterable[LedgerEntry], name: str) -> Iterator[LedgerEntry]:
    """Releases of a named run say so: the same noise for other values is then no repetition."""
    for entry in entries:
        yield replace(entry, release=f"{entry.release} of run {name[:16]}") if name else entry


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

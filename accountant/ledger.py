"""The ledger: every release is written down before its value leaves.

A JSON-lines file, flushed to the disk: the first line says what a neighbour is and who is drawn,
each other line is one release. A killed run therefore loses nothing:
what left is in the ledger, and an entry whose value never left is counted as spent all the same.
One process at a time may hold the file.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Self

import dp_accounting.dp_event as dpe

from . import check, jsonio
from .adjacency import ADJACENCIES, UNITS, Adjacency, Unit
from .errors import LedgerError
from .event_json import from_dict, to_dict
from .events import ParallelDpEvent
from .flatten import alternatives, flatten
from .ledger_file import EVERYONE as EVERYONE
from .ledger_file import FRESH, opened, read, read_finished
from .ledger_file import LedgerEntry as LedgerEntry


class Ledger:
    """Append-only list of releases under one adjacency and unit.

    Args:
        adjacency: what a neighbour is.
        unit: whose data one record is.
        sampling: how the clients of a round are drawn, in words; kept beside the events, which
            hold the rates.
        path: file to append to; an existing file is read first. Without it the ledger lives in
            memory only.

    Raises:
        LedgerError: the file is damaged before its last line, cannot be read or written, was
            begun for another adjacency, unit or sampling, or another process holds it; or an
            entry in it as in `write`.
        UnsupportedEventError: as in `write`, of an event in the file.
    """

    def __init__(
        self,
        *,
        adjacency: Adjacency,
        unit: Unit,
        sampling: str = "not stated",
        path: Path | None = None,
    ) -> None:
        check.one_of(ADJACENCIES, adjacency=adjacency)
        check.one_of(UNITS, unit=unit)
        self.adjacency: Adjacency = adjacency
        self.unit: Unit = unit
        self.sampling = sampling
        self._sound: set[str] = set()
        self._digest, self._hashed = hashlib.sha256(), 0
        self._entries: list[LedgerEntry] = []
        self._seeded: dict[str, LedgerEntry] = {}
        self._file: BinaryIO | None = None
        if path is not None:
            self._file = opened(path)
            try:
                header, entries = read(self._file)
                self._take(header, entries)
            except BaseException:
                self.close()
                raise

    @classmethod
    def finished(cls, path: Path, *, adjacency: Adjacency, unit: Unit) -> Self:
        """The ledger of a run that has ended, in memory: the file is only read.

        Raises:
            LedgerError: as in the constructor; also of an empty file or a torn last line, which
                a run that has ended does not leave.
            UnsupportedEventError: as in `write`, of an event in the file.
        """
        header, entries = read_finished(path)
        ledger = cls(adjacency=adjacency, unit=unit)
        ledger._take(header, entries)
        return ledger

    def _take(self, header: dict[str, Any] | None, entries: list[LedgerEntry]) -> None:
        """Go on with what a file says."""
        self._begin(header)
        self._prove(entries)
        self._remember(self._fresh(entries))

    @property
    def entries(self) -> tuple[LedgerEntry, ...]:
        """All releases so far, in order."""
        return tuple(self._entries)

    def write(self, entries: Iterable[LedgerEntry]) -> None:
        """Write down releases. Call this before their values leave.

        Raises:
            UnsupportedEventError: nothing is proven about an event; nothing is written then.
            LedgerError: the same seeded noise was used for another release, no client is named, or
                the noise is neither "system" nor seeded.
        """
        given = list(entries)
        self._prove(given)
        fresh = self._fresh(given)
        if fresh:
            self._append(b"".join(_identity(e).encode() + b"\n" for e in fresh))
        self._remember(fresh)

    def spent(self, count: int | None = None) -> tuple[int, str]:
        """Number and SHA-256, hex, of the first `count` entries; of all if not given."""
        if count is None:
            for entry in self._entries[self._hashed :]:
                self._digest.update(_identity(entry).encode() + b"\n")
            self._hashed = len(self._entries)
            return self._hashed, self._digest.hexdigest()
        first = self._entries[:count]
        digest = hashlib.sha256(b"".join(_identity(e).encode() + b"\n" for e in first))
        return len(first), digest.hexdigest()

    def absorb(self, other: "Ledger") -> None:
        """Write down the releases of another ledger: one client's, or one worker's.

        Clients that keep their own ledgers give the account of the whole system this way.

        Raises:
            LedgerError: the other one is for another adjacency or unit, or noise was used twice.
        """
        for name in ("adjacency", "unit"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                raise LedgerError(
                    f"a ledger for {name} {theirs!r} cannot be added to one for {ours!r}.\n"
                    "  Keep both ledgers under the adjacency and unit of the claim."
                )
        self.write(other.entries)

    def event(self) -> dpe.DpEvent:
        """What all releases cost together.

        Clients hold disjoint records, and a record has one label, so releases compose in parallel
        over clients and labels and in sequence over everything else. A release that any record can
        enter (label "") is composed with each label's. A whole client has records of every label,
        and a user may have some at every client: there the same releases compose in sequence.
        """
        if self.unit == "user":
            return _sequence(self._entries)
        by_client: dict[str, list[LedgerEntry]] = {}
        for entry in self._entries:
            by_client.setdefault(entry.client, []).append(entry)
        everyone = by_client.pop(EVERYONE, [])
        # Clients with equal costs are looked at once: there may be very many.
        kinds = {_costs(mine): mine for mine in by_client.values()} or {frozenset(): []}
        return _parallel(
            [self._client_event(mine + everyone) for mine in kinds.values()], partition="client"
        )

    def _client_event(self, mine: list[LedgerEntry]) -> dpe.DpEvent:
        shared = [e for e in mine if not e.label]
        labels = sorted({e.label for e in mine if e.label})
        if not labels or self.unit == "client":
            return _sequence(mine)
        parts = [_sequence(shared + [e for e in mine if e.label == label]) for label in labels]
        return _parallel(parts, partition="label")

    def _prove(self, entries: list[LedgerEntry]) -> None:
        """Raise if nothing is proven about an event; each distinct one is looked at once."""
        for entry in entries:
            entry.check()
            is_part = bool(entry.label) and self.unit == "example"
            text = json.dumps([is_part, entry.event], sort_keys=True)
            if text not in self._sound:
                event = from_dict(entry.event)
                flatten(event, adjacency=self.adjacency)
                if is_part:  # equal parts are merged later, but a record may change its label
                    alternatives(ParallelDpEvent((event,), "label"), self.adjacency, 1)
                self._sound.add(text)

    def _begin(self, header: dict[str, Any] | None) -> None:
        """Write the header of a new file, or compare that of an old one."""
        terms = {"adjacency": self.adjacency, "unit": self.unit, "sampling": self.sampling}
        ours = {"ledger": 1} | terms
        if header is None:
            self._append(json.dumps(ours, sort_keys=True).encode() + b"\n")
        elif header != ours:
            raise LedgerError(
                f"the ledger was begun as {header}, but is opened as {ours}.\n"
                "  Go on under the same, or start a new run with --fresh."
            )

    def _append(self, lines: bytes) -> None:
        if self._file is not None:
            self._file.write(lines)
            self._file.flush()
            os.fsync(self._file.fileno())

    def _fresh(self, entries: list[LedgerEntry]) -> list[LedgerEntry]:
        """Those that are new: a seeded release that was made before is the same value again."""
        fresh: list[LedgerEntry] = []
        seen: dict[str, LedgerEntry] = {}
        for entry in entries:
            if entry.noise == FRESH:
                fresh.append(entry)
                continue
            other = self._seeded.get(entry.noise) or seen.get(entry.noise)
            if other is None:
                fresh.append(entry)
                seen[entry.noise] = entry
            elif _identity(other) != _identity(entry):
                raise LedgerError(
                    f"noise {entry.noise} was already used for {other.release} of "
                    f"{other.client} in round {other.round}.\n"
                    "  Equal noise in two releases cancels in their difference. Draw each "
                    "release from its own key."
                )
        return fresh

    def _remember(self, entries: list[LedgerEntry]) -> None:
        self._entries += entries
        self._seeded |= {e.noise: e for e in entries if e.noise != FRESH}

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _identity(entry: LedgerEntry) -> str:
    return json.dumps(jsonio.dump(entry), sort_keys=True)


def _costs(entries: list[LedgerEntry]) -> frozenset[tuple[str, str, int]]:
    """How often each event of each label occurs."""
    found = Counter((e.label, json.dumps(e.event, sort_keys=True)) for e in entries)
    return frozenset((label, text, count) for (label, text), count in found.items())


def _sequence(entries: list[LedgerEntry]) -> dpe.DpEvent:
    texts = Counter(json.dumps(e.event, sort_keys=True) for e in entries)
    steps = [
        from_dict(json.loads(text))
        if count == 1
        else dpe.SelfComposedDpEvent(from_dict(json.loads(text)), count)
        for text, count in sorted(texts.items())
    ]
    return steps[0] if len(steps) == 1 else dpe.ComposedDpEvent(steps)


def _parallel(events: list[dpe.DpEvent], *, partition: str) -> dpe.DpEvent:
    distinct = {json.dumps(to_dict(e), sort_keys=True): e for e in events}
    if not distinct:
        return dpe.NoOpDpEvent()
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    return ParallelDpEvent([distinct[text] for text in sorted(distinct)], partition)

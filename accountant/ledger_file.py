"""The lines of a ledger on the disk: entries, the lock, and what a killed run leaves."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from . import jsonio
from .errors import LedgerError

EVERYONE = "*"
"""Client of a release that any client's records can enter, such as a sum over clients."""

FRESH, SEEDED = "system", "seeded:"  # noise of the operating system; what other noise begins with


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One release.

    Attributes:
        release: what was released, e.g. "prototypes".
        client: who holds the records, not ""; clients hold disjoint records. `EVERYONE` if any
            client's can enter.
        label: the label of the records that can enter it, or "" if any record can.
        round: when.
        event: `events.to_dict` of what it cost.
        noise: where the noise came from: "system", or the fingerprint of a seeded key, which
            begins with "seeded:". A seeded release that is repeated gives the same value again
            and is not counted twice; any other text would be taken for one, and is refused.
    """

    release: str
    client: str
    label: str
    round: int
    event: dict[str, Any]
    noise: str

    def check(self) -> None:
        """Raise `LedgerError` unless it is known whose data it concerns and what its noise was."""
        if not self.client:
            raise LedgerError(f"release {self.release!r} names no client; who holds its data?")
        if self.noise != FRESH and not self.noise.startswith(SEEDED):
            raise LedgerError(
                f"noise of release {self.release!r} must be {FRESH!r} or begin with {SEEDED!r}, "
                f"but is {self.noise!r}.\n  Give the key's fingerprint: whether a release is "
                "counted again depends on it."
            )


def opened(path: Path) -> BinaryIO:
    """The file for reading and appending, locked: two writers would not see each other's lines.

    Raises:
        LedgerError: it cannot be opened, or another run holds it.
    """
    import fcntl

    try:
        path.touch(mode=0o600)  # who took part when is nobody else's business
        file = path.open("a+b")
    except OSError as error:
        raise LedgerError(f"the ledger {path} cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise LedgerError(
            f"the ledger {path} is held by another run.\n  Wait for it, or use another folder."
        ) from None
    except OSError:
        pass  # a file system without locks
    return file


def read(file: BinaryIO) -> tuple[dict[str, Any] | None, list[LedgerEntry]]:
    """Header, None in an empty file, and entries; a line that a killed run left torn is cut off.

    Raises:
        LedgerError: a line is damaged.
    """
    file.seek(0)
    complete, newline, torn = file.read().rpartition(b"\n")
    if torn:  # the write of this line never finished, so its value never left
        file.truncate(len(complete) + len(newline))  # in place: rewriting could lose the others
        os.fsync(file.fileno())
    return _parsed(complete if newline else None)


def read_finished(path: Path) -> tuple[dict[str, Any] | None, list[LedgerEntry]]:
    """Header and entries of a run that has ended. Nothing is locked, and nothing is written.

    Raises:
        LedgerError: it cannot be read, is empty, or a line is damaged, be it the last one.
    """
    try:
        complete, newline, torn = path.read_bytes().rpartition(b"\n")
    except OSError as error:
        raise LedgerError(f"the ledger {path} cannot be read: {error.strerror}") from None
    if torn or not newline:
        raise LedgerError(
            f"the ledger {path} {'ends inside a line' if torn else 'is empty'}, but that of a "
            "finished run does not.\n  It was changed after the run, or belongs to one that was "
            "killed: go on with it, or ask for the whole file."
        )
    return _parsed(complete)


def _parsed(complete: bytes | None) -> tuple[dict[str, Any] | None, list[LedgerEntry]]:
    header: dict[str, Any] | None = None
    entries = []
    for number, line in enumerate(() if complete is None else complete.split(b"\n"), start=1):
        try:
            content = json.loads(line.decode())
            if number == 1:
                if not isinstance(content, dict) or content.get("ledger") != 1:
                    raise ValueError("no header with adjacency and unit")
                header = content
                continue
            entries.append(jsonio.load(LedgerEntry, content))
        except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, not an entry
            raise LedgerError(
                f"line {number} of the ledger is damaged ({error}).\n"
                "  What it held is unknown, so nothing can be proven about this run. "
                "Start a new one with --fresh."
            ) from None
    return header, entries

"""The file of a one-run kit: its coins, and the book of verdicts that were given from them.

All verdicts from the same coins share one allowed error, in whichever process they are given. So
the book is in the file, and a verdict is entered under a lock before anybody sees it. A copy of the
file has a book of its own: nothing here can count what copies were asked.
"""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..accountant.errors import DesignError, RecordError

KIT = "privassay one-run audit"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A verdict that was given.

    Attributes:
        question: SHA-256 of scores, claim, method, guesses, attack, share and confidence.
        attack: in words.
        confidence: in (0, 1).
        share: part of the allowed error 1 - confidence that it spent, in (0, 1].
    """

    question: str
    attack: str
    confidence: float
    share: float

    def __post_init__(self) -> None:
        if not (_is_number(self.share) and 0.0 < self.share <= 1.0):
            raise DesignError(f"share must be in (0, 1], but is {self.share!r}")
        if not (_is_number(self.confidence) and 0.0 < self.confidence < 1.0):
            raise DesignError(f"confidence must be in (0, 1), but is {self.confidence!r}")


@dataclass(frozen=True)
class Book:
    """The verdicts given from one kit's coins, oldest first.

    Attributes:
        asked: the verdicts.
        whole: False if the kit's file did not count verdicts at first, as older ones do not.
    """

    asked: tuple[Asked, ...] = ()
    whole: bool = True

    def entered(self, one: Asked) -> "Book":
        """With one verdict more; itself if the same was asked before, which is free.

        Raises:
            DesignError: more than the whole error would be spent.
        """
        if self.number(one):
            return self
        spent = math.fsum(each.share for each in self.asked)
        if spent + one.share > 1.0 + 1e-12:
            raise DesignError(
                f"a verdict with share {one.share:g} would be number {len(self.asked) + 1} from "
                f"the same coins, and {spent:g} of the allowed error is spent.\n"
                "  Give every verdict its share= beforehand (0.5 each for two), or make a new kit."
            )
        return Book((*self.asked, one), self.whole)

    def number(self, one: Asked) -> int:
        """The how manieth verdict this was, from 1; 0 if it was not asked."""
        questions = [each.question for each in self.asked]
        return questions.index(one.question) + 1 if one.question in questions else 0

    def before(self, one: Asked) -> float:
        """Part of the allowed error that was spent before this verdict."""
        return math.fsum(each.share for each in self.asked[: self.number(one) - 1])


@dataclass(frozen=True)
class Kit:
    """What a kit's file holds.

    Attributes:
        name: of the training.
        seed: of the coins, None if nobody knows it.
        salt: hexadecimal.
        included: bool[m], the coins.
        seal: of salt and coins.
        book: of verdicts.
    """

    name: str
    seed: int | None
    salt: str
    included: NDArray[np.bool_]
    seal: str
    book: Book

    def text(self) -> str:
        """As JSON."""
        return json.dumps(
            {
                "kit": KIT,
                "name": self.name,
                "seed": self.seed,
                "salt": self.salt,
                "included": self.included.astype(int).tolist(),
                "seal": self.seal,
                "verdicts": [asdict(each) for each in self.book.asked],
                "verdicts_whole": self.book.whole,
            }
        )


def seal_of(salt: str, included: NDArray[np.bool_]) -> str:
    """SHA-256 of the salt and the coins, hexadecimal."""
    coins = "".join("1" if bit else "0" for bit in included)
    return hashlib.sha256(f"{salt}:{coins}".encode()).hexdigest()


def write_new(path: Path, kit: Kit) -> None:
    """Write a file that only its owner can read; never overwrite."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(kit.text())
        stream.flush()
        os.fsync(stream.fileno())


def read(path: Path) -> Kit:
    """The kit in a file; one without a book starts an empty one that is not whole.

    Raises:
        RecordError: not such a file, or changed since.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        included = np.array(found["included"])
        salt, seed, name, sealed = (found[k] for k in ("salt", "seed", "name", "seal"))
        book = _book(found)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordError(f"{path} holds no one-run audit: {error!r}") from None
    if not np.isin(included, (0, 1)).all() or seal_of(salt, included.astype(bool)) != sealed:
        raise RecordError(f"the coins in {path} do not give their seal: the file was changed")
    return Kit(
        name=name,
        seed=seed,
        salt=salt,
        included=included.astype(bool),
        seal=sealed,
        book=book,
    )


def enter(path: Path, seal: str, one: Asked) -> Book:
    """Enter a verdict into the file's book, before it is given; the book as it is then.

    The file is locked, read again, and replaced in one step.

    Raises:
        DesignError: the error is spent, or the file cannot be locked and written.
        RecordError: the file is gone, damaged, or of other coins.
    """
    try:
        with _locked(path):
            kit = read(path)
            if kit.seal != seal:
                raise RecordError(f"{path} now holds other coins than when it was read")
            book = kit.book.entered(one)
            _replace(path, Kit(**{**vars(kit), "book": book}))
            return book
    except OSError as error:
        raise DesignError(
            f"no verdict is given, because it could not be entered into the kit's file {path}: "
            f"{error.strerror or error}.\n  Verdicts from the same coins share one allowed error, "
            "which is counted there. Put the file where it was when the kit was saved or loaded, "
            "on a disk that can be written and locked, and load it again if you moved it."
        ) from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file that is at `path` now, not of one that was replaced meanwhile."""
    import fcntl

    while True:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield
                return


def _replace(path: Path, kit: Kit) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(kit.text())
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # else a power cut could bring the old book back
        finally:
            os.close(folder)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _book(found: dict[str, Any]) -> Book:
    if "verdicts" not in found:
        return Book(whole=False)
    asked = tuple(Asked(**each) for each in found["verdicts"])
    if any(not isinstance(text, str) for each in asked for text in (each.question, each.attack)):
        raise ValueError("a verdict in the book has no question or attack")
    if not isinstance(found["verdicts_whole"], bool):
        raise ValueError("verdicts_whole must be true or false")
    return Book(asked, found["verdicts_whole"])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""Resumable stages: each result is kept under the hash of everything that it depends on.

A run that was killed goes on at the first stage that has no result. A result whose file is damaged
is computed again.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..accountant import jsonio
from ..accountant.errors import RecordError

T = TypeVar("T")


class Stages:
    """Results below `folder`, valid for one `inputs` hash.

    Those of other inputs are removed as soon as there is a result of these, and not before.

    Args:
        folder: where the results are kept.
        inputs: hash of the audit file, the data and privassay's source.
        say: is told what is reused.
    """

    def __init__(self, folder: Path, inputs: str, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._inputs = inputs[:16]
        self._say = say
        folder.mkdir(parents=True, exist_ok=True)
        self._others = [old for old in folder.glob("*.json") if self._inputs not in old.name]
        if self._others:
            say(replaces(folder.parent))

    def json(self, name: str, kind: Any, compute: Callable[[], T]) -> T:
        """`compute()`, or what it gave in an earlier attempt. `kind` is the dataclass or tuple."""
        path = self._path(name)
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            if saved["sha256"] == _hash(saved["value"]):
                value: T = jsonio.load(kind, saved["value"])
                self._say(f"{name}: done earlier, reused")
                return value
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError, RecursionError, RecordError):
            self._say(f"{name}: the earlier result is damaged, computed again")
        result = compute()
        plain = jsonio.dump(result)
        _write(path, json.dumps({"sha256": _hash(plain), "value": plain}).encode())
        while self._others:
            self._others.pop().unlink(missing_ok=True)
        return result

    def missing(self, name: str) -> bool:
        """Whether no earlier attempt got to this; a damaged result is found by `json`."""
        return not self._path(name).exists()

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}-{self._inputs}.json"


def replaces(folder: Path) -> str:
    """What is said before results of other inputs go."""
    return f"replaces the results of another file, or of other options, data or code: {folder}"


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _write(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def array_hash(*arrays: NDArray[np.float64]) -> str:
    """SHA-256 of the bytes of little-endian float64 arrays, in order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return digest.hexdigest()

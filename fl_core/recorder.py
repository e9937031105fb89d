"""What left its owner during a run, written while it runs into memory-mapped arrays.

One contiguous write per chunk of clients and round. `Recording.view` gives an attack what its
adversary saw and nothing else. A run without a recorder pays nothing.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..accountant import check
from ..accountant.claim import ADVERSARIES
from ..accountant.errors import RecordError

INDEX = "transcript.json"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Shapes of a recording.

    Attributes:
        rounds, rows, replicas: how many.
        upload: shape of one upload.
        broadcast: name -> shape of one replica's broadcast.
        raw: also keep uploads as they were before noise, for tests of our own code only.
        half: keep float16 instead of float32; what an attack sees is then rounded further.
        trust: who saw uploads before noise; kept beside the arrays.
    """

    rounds: int
    rows: int
    replicas: int
    upload: tuple[int, ...]
    broadcast: dict[str, tuple[int, ...]]
    raw: bool = False
    half: bool = False
    trust: str = "not stated"

    def arrays(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """File name -> dtype and shape."""
        kind = "<f2" if self.half else "<f4"
        rows = (self.rounds, self.rows)
        found = {
            "uploads.npy": (kind, rows + self.upload),
            "arrived.npy": ("|u1", rows),
        }
        if self.raw:
            found["raw.npy"] = (kind, rows + self.upload)
        for name, shape in self.broadcast.items():
            found[f"broadcast-{name}.npy"] = (kind, (self.rounds, self.replicas, *shape))
        return found

    @property
    def size(self) -> int:
        """Bytes on the disk, known before the run."""
        return sum(np.dtype(kind).itemsize * prod(shape) for kind, shape in self.arrays().values())


class Recorder:
    """Writes a recording; an interrupted one is gone on with.

    Args:
        folder: created if it is not there.
        layout: shapes.
        name: hash of everything that determines the run, as for `federation.run`.

    Raises:
        RecordError: the folder holds a recording of another run.
    """

    def __init__(self, folder: Path, layout: Layout, *, name: str = "") -> None:
        self.layout = layout
        self.name = name
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        index = folder / INDEX
        shapes = {name: [kind, list(shape)] for name, (kind, shape) in layout.arrays().items()}
        content = {"run": name, "trust": layout.trust, "arrays": shapes}
        self.fresh = not index.exists()
        if not self.fresh and json.loads(index.read_text(encoding="utf-8")) != content:
            raise RecordError(
                f"the transcript in {folder.name} is of another run, or has other shapes.\n"
                "  Use another folder, or start anew with --fresh."
            )
        self._arrays = {name: self._open(name, self.fresh) for name in shapes}
        if self.fresh:
            _replace(index, json.dumps(content, indent=1).encode())

    def begin(self, round: int) -> None:
        """Forget what an attempt that was killed in this round has written."""
        for array in self._arrays.values():
            array[round] = 0

    def uploads(
        self, round: int, rows: Tensor, values: Tensor, arrived: Tensor, raw: Tensor | None
    ) -> None:
        """What left some clients; the server sees it."""
        where = rows.numpy()
        self._arrays["uploads.npy"][round, where] = self._cut(values)
        self._arrays["arrived.npy"][round, where] = arrived.cpu().numpy()
        if raw is not None:
            self._arrays["raw.npy"][round, where] = self._cut(raw)

    def broadcast(self, round: int, state: Mapping[str, Tensor]) -> None:
        """What the server sent to all."""
        for name, value in state.items():
            self._arrays[f"broadcast-{name}.npy"][round] = self._cut(value)

    def flush(self) -> None:
        """To the disk; called before a checkpoint says that a round is done."""
        for array in self._arrays.values():
            array.flush()

    def hashes(self) -> dict[str, str]:
        """File name -> SHA-256."""
        self.flush()
        return {name: _sha256(self._folder / name) for name in sorted(self._arrays)}

    def _cut(self, values: Tensor) -> np.ndarray:
        """As numbers of the recording; raise `RecordError` if they do not fit."""
        kind = torch.float16 if self.layout.half else torch.float32
        found = values.detach().cpu().to(kind)
        if bool(torch.isinf(found).any()):
            raise RecordError(
                f"a value is too large for the transcript's {kind}.\n  Record with half = False."
            )
        return np.asarray(found.numpy())

    def _open(self, name: str, fresh: bool) -> np.memmap[Any, Any]:
        kind, shape = self.layout.arrays()[name]
        path = self._folder / name
        if fresh:
            path.touch(mode=0o600)  # of an audit: noise from a seed protects nobody
            return np.lib.format.open_memmap(path, "w+", dtype=np.dtype(kind), shape=shape)
        return np.lib.format.open_memmap(path, "r+")


@dataclass(frozen=True)
class Recording:
    """A finished or interrupted recording, mapped and not loaded.

    Attributes:
        arrays: "uploads", "arrived", "broadcast-...", perhaps "raw"; read-only, rounded to the
            precision of the recording.
        trust: who saw uploads before noise; where the server is trusted, its view is not what a
            claim about its noise covers.
    """

    arrays: dict[str, np.ndarray]
    trust: str

    @classmethod
    def load(cls, folder: Path) -> "Recording":
        """The recording in a folder.

        Raises:
            RecordError: there is none, or an array does not have the shape of its index.
        """
        try:
            content = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RecordError(f"there is no transcript in {folder.name}") from None
        found = {}
        for name, (kind, shape) in content["arrays"].items():
            array = np.load(folder / name, mmap_mode="r", allow_pickle=False)
            if list(array.shape) != shape or array.dtype != np.dtype(kind):
                raise RecordError(f"{name} is not the array that the transcript's index names")
            found[name.removesuffix(".npy")] = array
        return cls(found, content["trust"])

    def view(self, adversary: str, *, oracle: bool = False) -> dict[str, np.ndarray]:
        """What an adversary saw.

        server: uploads, who was heard, and broadcasts; peer: broadcasts; outsider: the last
        broadcast. `oracle` adds uploads before noise: for tests of our own code.

        Raises:
            ParameterError: no such adversary, or "querier", who sees no tensor at all.
            RecordError: an oracle is asked for, and nothing was kept for one.
        """
        check.one_of([a for a in ADVERSARIES if a != "querier"], adversary=adversary)
        sent = {n: a for n, a in self.arrays.items() if n.startswith("broadcast-")}
        if adversary == "outsider":
            sent = {name: array[-1] for name, array in sent.items()}
        if adversary == "server":
            sent |= {name: self.arrays[name] for name in ("uploads", "arrived")}
        if oracle:
            if "raw" not in self.arrays:
                raise RecordError("this run kept no uploads before noise; record with raw = True")
            sent["raw"] = self.arrays["raw"]
        return sent


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def tensors(view: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Copies as tensors: mapped arrays are read-only."""
    return {name: torch.from_numpy(np.array(array)) for name, array in view.items()}

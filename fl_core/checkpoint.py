"""Checkpoints: everything that a run needs to go on, replaced atomically."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..accountant.errors import RecordError

NAME = "checkpoint.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """State after a number of finished rounds.

    Attributes:
        rounds: finished rounds.
        state: the server's tensors.
        personal: the clients' tensors, all rows.
        tally: counts of unusable uploads.
        spent: number and SHA-256 of the ledger's entries, so that a lost ledger is noticed.
    """

    rounds: int
    state: dict[str, Tensor]
    personal: dict[str, Tensor]
    tally: dict[str, int]
    spent: tuple[int, str]


def save(folder: Path, checkpoint: Checkpoint, *, run: str) -> None:
    """Replace the folder's checkpoint; a kill at any moment leaves the old or the new one.

    Args:
        folder: must exist.
        checkpoint: what is kept.
        run: hash of everything that determines the run.
    """
    from safetensors.torch import save as to_bytes

    tensors = {f"state/{n}": v for n, v in checkpoint.state.items()}
    tensors |= {f"personal/{n}": v for n, v in checkpoint.personal.items()}
    about = {
        "run": run,
        "rounds": str(checkpoint.rounds),
        "tally": json.dumps(checkpoint.tally, sort_keys=True),
        "spent": json.dumps(checkpoint.spent),
        "names": json.dumps(list(tensors)),  # their order is part of the state
    }
    content = to_bytes({n: v.detach().cpu().contiguous() for n, v in tensors.items()}, about)
    partial = folder / f"{NAME}.partial"
    partial.touch(mode=0o600)  # it holds what the clients keep for themselves
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, folder / NAME)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)  # the new name, too
    finally:
        os.close(handle)


def load(folder: Path, *, run: str, device: torch.device | str = "cpu") -> Checkpoint | None:
    """The folder's checkpoint, or None.

    Raises:
        RecordError: it is damaged, or of another run.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / NAME
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in json.loads(about.get("names", "[]"))}
    except (SafetensorError, OSError) as error:
        raise RecordError(
            f"the checkpoint is damaged ({error}). Start anew with --fresh."
        ) from None
    if about.get("run") != run:
        raise RecordError(
            "the checkpoint belongs to another run: settings, data or program have changed.\n"
            "  Use another folder, or start anew with --fresh."
        )
    parts: dict[str, dict[str, Tensor]] = {"state": {}, "personal": {}}
    for name, value in tensors.items():
        kind, _, rest = name.partition("/")
        parts[kind][rest] = value
    return Checkpoint(
        int(about["rounds"]),
        parts["state"],
        parts["personal"],
        json.loads(about["tally"]),
        tuple(json.loads(about["spent"])),
    )


def digest(*groups: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes and bytes, hex; equal for equal results and no others."""
    found = hashlib.sha256()
    for number, group in enumerate(groups):
        for name in sorted(group):
            value = group[name].detach().cpu().contiguous()
            found.update(f"{number}/{name}{value.dtype}{list(value.shape)}".encode())
            found.update(value.numpy().tobytes())
    return found.hexdigest()

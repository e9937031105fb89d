"""SHA256SUMS: one hash per file of a run, in the format of `sha256sum -c`."""

import hashlib
import os
from pathlib import Path

from ..accountant.errors import RecordError

NAME = "SHA256SUMS"
_APART = {"stages", NAME}  # intermediate results are no part of the product


def write_sums(folder: Path) -> None:
    """Hash every file of the run."""
    lines = [f"{_hash(path)}  {path.relative_to(folder).as_posix()}\n" for path in _files(folder)]
    partial = folder / (NAME + ".partial")
    partial.write_text("".join(lines), encoding="utf-8")
    os.replace(partial, folder / NAME)


def check_sums(folder: Path) -> int:
    """Number of files that match.

    Raises:
        RecordError: a file is missing or was changed, or there is no list of sums.
    """
    try:
        lines = (folder / NAME).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise RecordError(f"{folder} has no {NAME}; it is not a finished run") from None
    root = folder.resolve()
    for line in lines:
        wanted, _, name = line.partition("  ")
        path = folder / name
        if root not in path.resolve().parents:
            raise RecordError(f"{NAME} names {name!r}, which lies outside the run")
        if not path.is_file():
            raise RecordError(f"{name} is missing from the run")
        if _hash(path) != wanted:
            raise RecordError(f"{name} was changed after the run: its hash is not that in {NAME}")
    return len(lines)


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.relative_to(folder).parts[0] not in _APART
        and path.suffix != ".partial"
    )


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

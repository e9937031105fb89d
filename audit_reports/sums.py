"""SHA256SUMS: one hash per file of a run, in the format of `sha256sum -c`."""

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

from ..accountant.errors import RecordError

NAME = "SHA256SUMS"
REQUIRED = {"record.json", "report.html", "ledger/INPUTS"}
PARTS = ("ledger", "transcripts", "figures", "tables", "stages")  # folders that a run makes
_PRODUCT = {"record.json", "report.html", "report.pdf", *PARTS} - {"stages"}


def write_sums(folder: Path, product: Collection[str] = _PRODUCT) -> None:
    """Hash every file of the run; `product` are its files and folders."""
    files = _files(folder, product)
    lines = [f"{_hash(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    partial = folder / (NAME + ".partial")
    partial.write_text("".join(lines), encoding="utf-8")
    os.replace(partial, folder / NAME)


def check_sums(folder: Path, required: Collection[str] = REQUIRED) -> int:
    """Number of files that match; `required` must be among them.

    Raises:
        RecordError: a file is missing or was changed, or there is no list of sums.
    """
    try:
        lines = (folder / NAME).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise RecordError(f"{folder} has no {NAME}; it is not finished") from None
    except UnicodeDecodeError:
        raise RecordError(f"{NAME} is not text; it was changed after the run") from None
    missing = set(required) - {line.partition("  ")[2] for line in lines}
    if missing:
        raise RecordError(f"{NAME} does not cover {', '.join(sorted(missing))}")
    root = folder.resolve()
    for line in lines:
        wanted, _, name = line.partition("  ")
        path = folder / name
        try:
            inside, there = root in path.resolve().parents, path.is_file()
        except (OSError, ValueError) as error:  # too long, a NUL
            raise RecordError(
                f"{NAME} has {name[:40]!r}, which no file can be called: {error.__class__.__name__}"
            ) from None
        if not inside:
            raise RecordError(f"{NAME} names {name!r}, which lies outside the run")
        if not there:
            raise RecordError(f"{name} is missing from the run")
        if _hash(path) != wanted:
            raise RecordError(f"{name} was changed after the run: its hash is not that in {NAME}")
    return len(lines)


def listed(folder: Path) -> list[str]:
    """Names in the list of sums that lie inside the folder; empty if there is no list."""
    path, root = folder / NAME, folder.resolve()
    if not path.is_file():
        return []
    names = [line.partition("  ")[2] for line in path.read_text(errors="replace").splitlines()]
    # a name with a NUL is no file's, and cannot even be looked at
    names = [name for name in names if name and "\0" not in name]
    return [name for name in names if root in (folder / name).resolve().parents]


def _files(folder: Path, product: Collection[str]) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.relative_to(folder).parts[0] in product
        and path.suffix != ".partial"
    )


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

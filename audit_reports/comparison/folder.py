"""The folder of a comparison: what is written there, who may write, and what is never touched."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...accountant.errors import ConfigError
from .. import sums

NAME = "comparison.json"
PAGES = ("comparison.csv", "comparison.md", "comparison.html")
PRODUCT = (NAME, *PAGES)
_WRITTEN = (*PRODUCT, sums.NAME)


def check_folder(folder: Path) -> None:
    """Raise `ConfigError` for a folder that holds something, but no comparison."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder with --out")
    known = {*_WRITTEN, "stages"}
    if folder.is_dir() and not {p.name.removesuffix(".partial") for p in folder.iterdir()} <= known:
        raise ConfigError(
            f"{folder} holds other things than a comparison; nothing in it was touched.\n"
            "  Name an empty or a new folder with --out."
        )


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder for one run or comparison alone: two would take each other's results.

    Raises:
        ConfigError: another one is writing there.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another run or comparison is being written to {folder}.\n"
                "  Wait for it, or name another folder with --out."
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(handle)


def as_given(path: Path) -> tuple[str, str]:
    """Text and SHA-256 of a file, read at the start: it may be changed while it is run."""
    return path.read_text(encoding="utf-8-sig"), hashlib.sha256(path.read_bytes()).hexdigest()


def forget(folder: Path) -> None:
    """Remove what a comparison wrote."""
    for path in [*folder.glob("stages/*.json"), *(folder / name for name in _WRITTEN)]:
        path.unlink(missing_ok=True)


def finish(folder: Path, record: str, pages: Callable[[Path], None]) -> None:
    """Write the record, the pages, and the hashes of all of them."""
    write(folder / NAME, record)
    pages(folder)
    sums.write_sums(folder, PRODUCT)


def write(path: Path, text: str) -> None:
    """The whole text, or nothing."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8", newline="")
    os.replace(partial, path)

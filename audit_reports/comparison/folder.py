"""The folder of a comparison: what is written there, and what is never touched."""

import os
from pathlib import Path

from ...accountant.errors import ConfigError

NAME = "comparison.json"
_WRITTEN = (NAME, "comparison.csv", "comparison.md", "comparison.html")


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


def forget(folder: Path) -> None:
    """Remove what a comparison wrote."""
    for path in [*folder.glob("stages/*.json"), *(folder / name for name in _WRITTEN)]:
        path.unlink(missing_ok=True)


def write(path: Path, text: str) -> None:
    """The whole text, or nothing."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8", newline="")
    os.replace(partial, path)

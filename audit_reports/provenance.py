"""Where and when a run happened: versions and hashes, no names and no paths."""

import hashlib
import platform
import subprocess
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .results import Environment

_PACKAGES = (
    "privassay",
    "dp-accounting",
    "prv-accountant",
    "torch",
    "scikit-learn",
    "scikit-image",
    "numpy",
    "scipy",
    "pandas",
    "transformers",
    "matplotlib",
)
_FOLDERS = ("accountant", "mechanisms", "fl_core", "attacks", "audit_reports")


def environment(*, seconds: float, config_sha256: str, data_sha256: dict[str, str]) -> Environment:
    """This machine class, these versions, this source, now."""
    return Environment(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        packages={name: found for name in _PACKAGES if (found := _version(name))},
        source_sha256=source_sha256(),
        git_revision=_revision(),
        config_sha256=config_sha256,
        data_sha256=data_sha256,
    )


@lru_cache
def source_sha256() -> str:
    """SHA-256 over privassay's own Python files, names and contents in order."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for folder in _FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _revision() -> str:
    """Git revision of the source, with "+changes" if the tree differs; else "not a checkout"."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return "not a checkout"
    asked = [["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]]
    try:
        found = [
            subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, check=True
            ).stdout.strip()
            for words in asked
        ]
    except (OSError, subprocess.CalledProcessError):
        return "unknown: git did not answer"
    return found[0] + ("+changes" if found[1] else "")

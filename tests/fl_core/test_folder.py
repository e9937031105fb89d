import numpy as np
import pytest
from PIL import Image

from privassay.accountant.errors import ConfigError
from privassay.fl_core.data.folder import load_folder


def picture(file, colour, size=(12, 9), mode="RGB"):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(file)


@pytest.fixture
def root(tmp_path):
    picture(tmp_path / "photo" / "cat" / "b.png", (255, 0, 0))
    picture(tmp_path / "photo" / "cat" / "a.png", (0, 255, 0), size=(40, 50))
    picture(tmp_path / "photo" / "dog" / "a.PNG", 128, mode="L")
    picture(tmp_path / "sketch" / "dog" / "a.jpg", (0, 0, 255))
    picture(tmp_path / "sketch" / "bird" / "a.jpeg", (9, 9, 9))
    return tmp_path


def test_domains_share_their_labels(root):
    (root / "notes.txt").write_text("passed over")
    (root / ".git").mkdir()
    (root / "photo" / "cat" / "._b.png").write_text("passed over")
    found = load_folder(root, size=16)
    assert list(found) == ["photo", "sketch"]
    photo, sketch = found.values()
    assert photo.classes == sketch.classes == ("bird", "cat", "dog")
    assert photo.labels.tolist() == [1, 1, 2]
    assert sketch.labels.tolist() == [0, 2]
    assert photo.images.shape == (3, 16, 16, 3)
    expected = [[0, 255, 0], [255, 0, 0], [128, 128, 128]]  # a before b
    assert photo.images[:, 8, 8].tolist() == expected
    assert photo.sha256 == load_folder(root, size=16)["photo"].sha256
    assert root.name not in photo.provenance


def test_a_palette_with_transparency_gives_no_warning(root):
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30] * 256)
    image.save(root / "photo" / "cat" / "p.png", transparency=b"\x00\xff")
    assert [10, 20, 30] in load_folder(root)["photo"].images[:, 0, 0].tolist()


def test_no_such_folder(tmp_path):
    with pytest.raises(ConfigError, match="no folder .*DOMAIN/CLASS/PICTURE.png"):
        load_folder(tmp_path / "nowhere")


def test_no_domains(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ConfigError, match="expected one per domain"):
        load_folder(tmp_path)


def test_a_domain_without_pictures(root):
    (root / "empty" / "cat").mkdir(parents=True)
    (root / "empty" / "cat" / "notes.txt").write_text("no picture")
    with pytest.raises(ConfigError, match="domain 'empty' has no pictures"):
        load_folder(root)


@pytest.mark.parametrize("content", [b"", b"no picture at all", None])
def test_an_unreadable_picture_is_named_from_the_root(root, content):
    file = root / "sketch" / "dog" / "bad.png"
    if content is None:  # cut off in the middle
        noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
        Image.fromarray(noise).save(file)
        content = file.read_bytes()[:3000]
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="picture sketch/dog/bad.png cannot be read") as caught:
        load_folder(root)
    assert str(root) not in str(caught.value)


def test_sixteen_bits_are_refused_and_not_clipped(root):
    deep = np.full((8, 8), 40000, dtype=np.uint16)
    Image.fromarray(deep).save(root / "photo" / "dog" / "deep.png")
    with pytest.raises(ConfigError, match="photo/dog/deep.png has more than 8 bits"):
        load_folder(root)

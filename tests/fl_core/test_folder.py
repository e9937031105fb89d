import struct
import tracemalloc
import zlib

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


@pytest.mark.parametrize("kind", ["picture", "class", "domain"])
def test_links_that_leave_the_folder_are_refused(root, tmp_path_factory, kind):
    outside = tmp_path_factory.mktemp("outside")
    picture(outside / "cat" / "secret.png", (1, 2, 3))
    if kind == "picture":
        (root / "photo" / "cat" / "z.png").symlink_to(outside / "cat" / "secret.png")
    elif kind == "class":
        (root / "photo" / "zebra").symlink_to(outside / "cat")
    else:
        (root / "zoo").symlink_to(outside)
    with pytest.raises(ConfigError, match="is a link that does not lead into the folder") as caught:
        load_folder(root)
    assert str(outside) not in str(caught.value)


def test_links_inside_are_followed_and_broken_ones_refused(root):
    (root / "photo" / "dog" / "b.png").symlink_to(root / "photo" / "cat" / "b.png")
    assert len(load_folder(root)["photo"]) == 4
    file = root / "photo" / "dog" / "c.png"
    file.symlink_to(root / "nothing.png")
    with pytest.raises(ConfigError, match="photo/dog/c.png is no file"):
        load_folder(root)
    file.unlink()
    file.symlink_to(file)
    with pytest.raises(ConfigError, match="does not lead into the folder"):
        load_folder(root)
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigError, match="photo/dog/c.png is no file"):
        load_folder(root)


def bomb(width, height):
    """A small PNG that states a huge picture."""

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("side", "match"),
    [
        (7_100, "has 7100x7100 pixels; at most 50,000,000 are decoded"),
        (12_000, "has 12000x12000 pixels"),  # where Pillow warns
        (60_000, "DecompressionBombError"),  # where Pillow refuses
    ],
)
def test_bombs_are_not_decoded(root, side, match):
    file = root / "sketch" / "dog" / "bomb.png"
    file.write_bytes(bomb(side, side))
    assert file.stat().st_size < 200
    tracemalloc.start()
    with pytest.raises(ConfigError, match=f"sketch/dog/bomb.png .*{match}"):
        load_folder(root)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6, f"{peak / 1e6:.0f} MB"


def test_other_formats_are_not_decoded_whatever_their_name(root):
    # Pillow would start Ghostscript for this one.
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    (root / "photo" / "dog" / "x.png").write_bytes(eps)
    with pytest.raises(ConfigError, match="photo/dog/x.png cannot be read"):
        load_folder(root)
    Image.new("RGB", (8, 8)).save(root / "photo" / "dog" / "x.png", format="BMP")
    with pytest.raises(ConfigError, match="photo/dog/x.png cannot be read"):
        load_folder(root)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(root, mode):
    ending = "jpg" if mode == "CMYK" else "png"
    file = root / "photo" / "dog" / f"z.{ending}"
    Image.new("RGB", (7, 30), (255, 255, 255)).convert(mode).save(file)
    found = load_folder(root, size=5)["photo"].images[-1]
    assert found.shape == (5, 5, 3)
    assert found.min() > 250


def test_too_many_pictures_are_refused_before_they_are_read(root):
    (root / "photo" / "dog" / "broken.png").write_bytes(b"not read")
    with pytest.raises(ConfigError, match="would take 15.1 GiB at 30000x30000 pixels; at most 8"):
        load_folder(root, size=30_000)


def test_names_without_a_shape_are_refused(root):
    picture(root / "photo" / "a\u202eb" / "a.png", (0, 0, 0))
    with pytest.raises(ConfigError, match="characters without a shape"):
        load_folder(root)

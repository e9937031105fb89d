"""Federated text: authors are clients; nothing is lost, shown or counted twice."""

import numpy as np
import pytest

from privassay.accountant.errors import AssetError, ConfigError
from privassay.fl_core.data import assets, text
from privassay.fl_core.models.language_tokens import byte_tokenizer


@pytest.fixture
def folder(tmp_path):
    """Ann has three texts, Bob one, Cy two."""
    for author, count in (("ann", 3), ("bob", 1), ("cy", 2)):
        (tmp_path / author).mkdir()
        for number in range(count):
            (tmp_path / author / f"{number}.txt").write_text(f"{author} says {number}")
    return tmp_path


def test_a_folder_is_a_pool_of_authors(folder):
    pool = text.load_text_folder(folder)
    assert (len(pool), pool.authors) == (6, ("ann", "bob", "cy"))
    assert np.bincount(pool.author).tolist() == [3, 1, 2]
    assert pool.sha256 == text.load_text_folder(folder).sha256
    (folder / "bob" / "0.txt").write_text("bob says something else")
    assert pool.sha256 != text.load_text_folder(folder).sha256
    (folder / "bob" / "0.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="bob/0.txt is not UTF-8"):
        text.load_text_folder(folder)
    with pytest.raises(ConfigError, match="CLIENT/TEXT.txt"):
        text.load_text_folder(folder / "ann")


def test_authors_are_clients(folder):
    pool = text.load_text_folder(folder)
    partition = pool.by_author(min_size=2)
    assert partition.names == ("ann", "cy") and partition.sizes.tolist() == [3, 2]
    for name, part in zip(partition.names, partition.parts, strict=True):
        assert all(pool.texts[record].startswith(name) for record in part)
    cut = pool.by_author(min_size=2, max_size=2)
    assert cut.sizes.tolist() == [2, 2]
    assert set(cut.records.tolist()) <= set(partition.records.tolist())
    data = pool.clients(partition, byte_tokenizer(), length=10)
    assert data.x.shape == (6, 10) and data.lengths.tolist() == [3, 2]
    first = (data.x[data.index[1, 0]] - 1).tolist()
    assert bytes(first[:9]) in (b"cy says 0", b"cy says 1") and first[9] == -1
    with pytest.raises(ConfigError, match="no group has 4"):
        pool.by_author(min_size=4)


def test_a_part_of_a_pool_keeps_its_numbers(folder):
    pool = text.load_text_folder(folder)
    part = pool.take(np.array([5, 0]))
    assert part.texts == (pool.texts[5], pool.texts[0])
    assert part.author.tolist() == [2, 0] and part.authors == pool.authors


def test_pools_that_do_not_fit_are_refused():
    good = {
        "name": "made", "texts": ("a", "b"), "y": np.array([0, 1]), "classes": ("x", "y"),
        "author": np.array([0, 0]), "authors": ("me",), "provenance": "made up",
    }  # fmt: skip
    assert len(text.TextPool(**good)) == 2
    for wrong, message in (
        ({"texts": ("a", " ")}, "text 1 .* is empty"),
        ({"y": np.array([0, 2])}, "y of 'made' must lie in 0 .. 1"),
        ({"y": np.array([0.0, 1.0])}, "must be int64"),
        ({"author": np.array([0])}, "author of 'made' must be int64"),
    ):
        with pytest.raises(ConfigError, match=message):
            text.TextPool(**(good | wrong))


def test_missing_assets_print_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("PRIVASSAY_ASSETS", str(tmp_path))
    with pytest.raises(AssetError, match="privassay assets fetch shakespeare$"):
        text.load_shakespeare()
    with pytest.raises(AssetError, match="privassay assets fetch spam-assassin$"):
        text.load_spam()


def test_mail_is_read_without_headers_and_without_names():
    raw = (
        "From: Someone <someone@example.org>\nSubject: =?utf-8?q?Hi?= there\n"
        "Content-Type: text/html\n\n<p>Buy   <b>now</b></p>\n"
    )
    mail = text.message_from_string(raw)
    assert text._plain(mail).endswith("Buy now")
    assert "someone" not in text._plain(mail)
    many = (
        "Content-Type: multipart/mixed; boundary=x\n\n"
        "--x\nContent-Type: text/plain\n\nhello\n--x--\n"
    )
    assert text._plain(text.message_from_string(many)) == "hello"


def ready(name):
    if assets.state(name) != "ready":
        pytest.skip(f"the asset {name} is not here")


def test_shakespeare_has_speakers():
    ready("shakespeare")
    pool = text.load_shakespeare()
    assert len(pool.classes) == 35 and len(pool) > 15_000
    sizes = np.zeros(len(pool.authors), dtype=np.int64)
    np.add.at(sizes, pool.author, [len(one) for one in pool.texts])
    assert pool.authors[int(sizes.argmax())] == "othello: IAGO"
    assert int((sizes > 8000).sum()) == pytest.approx(137, abs=12)
    plays = text.load_shakespeare(by="play")
    assert plays.authors == plays.classes == pool.classes
    assert len(plays) == len(pool)
    assert pool.by_author(min_size=50).sizes.min() >= 50


@pytest.mark.slow
def test_mail_has_senders_without_addresses():
    ready("spam-assassin")
    pool = text.load_spam()
    assert len(pool) == pytest.approx(6046, abs=60) and pool.classes == ("ham", "spam")
    assert int((pool.y == 1).sum()) == pytest.approx(1896, abs=40)
    assert not [name for name in pool.authors if "@" in name]
    assert max(len(one) for one in pool.texts) <= 2000
    partition = pool.by_author(min_size=10)
    assert 60 <= len(partition) <= 100

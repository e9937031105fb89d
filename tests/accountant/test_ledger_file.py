"""The ledger on disk: what is there when, and what a torn or damaged file does."""

import json
import math
import signal
import subprocess
import sys

import pytest

from privassay.accountant.errors import LedgerError
from privassay.accountant.event_json import to_dict
from privassay.accountant.events import GroupwiseGaussianDpEvent
from privassay.accountant.ledger import Ledger

from .ledger_cases import entry, ledger, releases


@pytest.mark.parametrize(
    "other",
    [
        {"adjacency": "replace-one"},
        {"unit": "client"},
        {"sampling": "Poisson: each client with probability 0.1 in every round"},
    ],
)
def test_a_file_is_opened_as_it_was_begun_or_not_at_all(tmp_path, other):
    path = tmp_path / "ledger.jsonl"
    own = {"adjacency": "add-remove", "unit": "example", "sampling": "all"}
    with Ledger(**own, path=path) as book:
        book.write([entry()])
    with Ledger(**own, path=path) as book:
        assert len(book.entries) == 1
    with pytest.raises(LedgerError, match="was begun as"):
        Ledger(**(own | other), path=path)


def test_a_file_without_a_header_is_refused(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with ledger(path) as book:
        book.write([entry()])
    path.write_text("".join(line + "\n" for line in releases(path)))
    with pytest.raises(LedgerError, match="no header"):
        ledger(path)


def test_the_entry_is_on_disk_when_write_returns(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with ledger(path) as book:
        book.write([entry()])
        assert len(releases(path)) == 1  # another reader, before the file is closed


def test_the_disk_has_it_before_write_returns(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", lambda number: synced.append(path.stat().st_size))
    path = tmp_path / "ledger.jsonl"
    with ledger(path) as book:
        for count in (1, 2, 3):
            book.write([entry()])
            assert synced[count:] == [path.stat().st_size]  # the header was first


def test_file_round_trip(tmp_path):
    path = tmp_path / "ledger.jsonl"
    wanted = [
        entry(client="Zoë\u2028\n", label='"', round_=3, noise="seeded:0"),
        entry(event=to_dict(GroupwiseGaussianDpEvent((0.1, math.inf), (1 / 3, 0.0), 0.3))),
    ]
    with ledger(path) as book:
        book.write(wanted)
        before = book.event()
    with ledger(path) as book:
        assert book.entries == tuple(wanted)
        assert book.event() == before


def test_a_torn_last_line_is_dropped_wherever_it_is_torn(tmp_path):
    whole = tmp_path / "whole.jsonl"
    with ledger(whole) as book:
        book.write(entry(round_=r) for r in range(3))
    data = whole.read_bytes()
    start = data[:-1].rindex(b"\n") + 1  # of the last line
    for end in {start + 1, start + 7, len(data) - 2, len(data) - 1}:
        path = tmp_path / f"torn{end}.jsonl"
        path.write_bytes(data[:end])
        with ledger(path) as book:
            assert [e.round for e in book.entries] == [0, 1], f"torn at byte {end} of {len(data)}"
            book.write([entry(round_=7)])
        with ledger(path) as book:
            assert [e.round for e in book.entries] == [0, 1, 7]


def test_only_a_torn_line_and_an_empty_file(tmp_path):
    for name, data in (("torn", b'{"release": "pro'), ("zeros", b"\0" * 40), ("empty", b"")):
        path = tmp_path / name
        path.write_bytes(data)
        with ledger(path) as book:
            assert book.entries == ()
            book.write([entry()])
        with ledger(path) as book:
            assert len(book.entries) == 1


def test_dropping_a_torn_line_never_rewrites_the_others(tmp_path, monkeypatch):
    # A rewrite that is killed half-way would lose every release so far.
    path = tmp_path / "ledger.jsonl"
    with ledger(path) as book:
        book.write([entry()])
    path.write_bytes(path.read_bytes() + b"{")
    node = path.stat().st_ino

    def refuse(*_args, **_more):
        raise AssertionError("the ledger file was rewritten")

    monkeypatch.setattr(type(path), "write_text", refuse)
    monkeypatch.setattr(type(path), "write_bytes", refuse)
    with ledger(path) as book:
        assert len(book.entries) == 1
    assert path.stat().st_ino == node


@pytest.mark.parametrize(
    "damage",
    [
        b"{not json}",
        b"",
        b"[]",
        b"\xff\xfe",
        b"\0\0",
        b'{"release": "prototype"}',
        b"[" * 100_000,
    ],
    ids=["not json", "empty", "a list", "not utf-8", "zeros", "fields missing", "deep"],
)
def test_a_damaged_middle_line_raises_and_is_named(tmp_path, damage):
    path = tmp_path / "ledger.jsonl"
    with ledger(path) as book:
        book.write(entry(round_=r) for r in range(3))
    lines = path.read_bytes().split(b"\n")
    lines[1] = damage
    before = b"\n".join(lines)
    path.write_bytes(before)
    with pytest.raises(LedgerError, match="line 2 of the ledger is damaged"):
        ledger(path)
    assert path.read_bytes() == before, "evidence was changed"


def test_a_file_with_equal_noise_in_two_releases_is_refused(tmp_path):
    path = tmp_path / "ledger.jsonl"
    for number, e in enumerate((entry(noise="seeded:1"), entry(round_=1, noise="seeded:1"))):
        with ledger(tmp_path / str(number)) as book:
            book.write([e])
    second = (tmp_path / "1").read_bytes().split(b"\n", 1)[1]
    path.write_bytes((tmp_path / "0").read_bytes() + second)
    with pytest.raises(LedgerError, match="already used"):
        ledger(path)


def test_two_writers_of_one_file_are_refused(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with ledger(path):
        with pytest.raises(LedgerError, match="held by another run"):
            ledger(path)
    ledger(path).close()


def test_a_ledger_that_cannot_be_opened_says_so(tmp_path):
    with pytest.raises(LedgerError, match="cannot be opened"):
        ledger(tmp_path)
    with pytest.raises(LedgerError, match="cannot be opened"):
        ledger(tmp_path / "no" / "folder")


CHILD = """
import sys
from pathlib import Path
from privassay.accountant.ledger import Ledger, LedgerEntry
event = {"class": "GaussianDpEvent", "noise_multiplier": 2.0}
with Ledger(adjacency="add-remove", unit="example", path=Path(sys.argv[1])) as ledger:
    for number in range(10**9):
        ledger.write(
            LedgerEntry(release="p", client="a", label=str(part), round=number, event=event,
                        noise=f"seeded:{number}/{part}")
            for part in range(3)
        )
        print(number, flush=True)
"""


@pytest.mark.parametrize("wait_for", [1, 40, 155])
def test_after_kill_9_every_entry_whose_write_returned_is_in_the_file(tmp_path, wait_for):
    path = tmp_path / "ledger.jsonl"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True
    )
    with child:
        said = [int(child.stdout.readline()) for _ in range(wait_for)]
        child.kill()
        said += [int(line) for line in child.stdout if line.endswith("\n")]
    assert child.returncode == -signal.SIGKILL
    with ledger(path) as book:
        rounds = [(e.round, int(e.label)) for e in book.entries]
        count = len(book.entries)
    returned = [(number, part) for number in said for part in range(3)]
    assert rounds[: len(returned)] == returned, f"{len(returned)} returned, {count} in the file"
    assert count <= len(returned) + 3  # at most the one write that was going on
    with ledger(path) as book:  # what was left is a ledger to go on with
        book.write([entry(client="b")])
        assert len(book.entries) == count + 1
    for line in releases(path):
        json.loads(line)

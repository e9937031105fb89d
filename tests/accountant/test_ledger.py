import itertools
import json
import math
import random
import signal
import subprocess
import sys
from dataclasses import replace

import dp_accounting.dp_event as dpe
import pytest

from privassay.accountant.account import account
from privassay.accountant.errors import LedgerError, ParameterError, UnsupportedEventError
from privassay.accountant.event_json import to_dict
from privassay.accountant.events import GroupwiseGaussianDpEvent
from privassay.accountant.ledger import Ledger, LedgerEntry


def gaussian(multiplier):
    return to_dict(dpe.GaussianDpEvent(multiplier))


def entry(client="a", label="x", round_=0, multiplier=2.0, noise="system", **more):
    event = more.pop("event", None) or gaussian(multiplier)
    kind = more.pop("release", "prototype")
    return LedgerEntry(
        release=kind, client=client, label=label, round=round_, event=event, noise=noise
    )


def ledger(path=None, adjacency="add-remove"):
    return Ledger(adjacency=adjacency, unit="example", path=path)


def releases(path):
    """Lines of the file behind its header."""
    return path.read_text().splitlines()[1:]


def mu_of(book):
    return account(book.event(), adjacency=book.adjacency).mu


def brute_mu(entries):
    """A record sits at one client and has one label: add up what it can enter, take the worst."""
    clients = {e.client for e in entries}
    labels = {e.label for e in entries} | {"a label that nothing is released of"}
    costs = [
        math.fsum(
            1.0 / e.event["noise_multiplier"] ** 2
            for e in entries
            if e.client == client and e.label in ("", label)
        )
        for client, label in itertools.product(clients, labels - {""})
    ]
    return math.sqrt(max(costs, default=0.0))


@pytest.mark.parametrize("seed", range(20))
def test_composition_equals_brute_force_over_all_records(seed):
    rng = random.Random(seed)
    entries = [
        entry(
            client=rng.choice("abc"),
            label=rng.choice(["", "x", "y", "z"]),
            round_=rng.randrange(4),
            multiplier=rng.choice([0.5, 1.0, 3.0, 7.25]),
        )
        for _ in range(rng.randrange(1, 40))
    ]
    with ledger() as book:
        for e in entries:
            book.write([e])
        found = mu_of(book)
    assert found.upper == pytest.approx(brute_mu(entries), rel=1e-12)


def test_clients_and_labels_are_parallel_and_rounds_are_in_sequence():
    with ledger() as book:
        book.write(entry(c, label, r) for c in "abc" for label in "xy" for r in range(9))
        assert len(book.entries) == 54
        assert mu_of(book).upper == 1.5  # 9 rounds at 1/2 each: 3/2, whoever and whichever label


def test_a_release_that_any_record_enters_is_added_to_each_label():
    with ledger() as book:
        book.write([entry(label="x", multiplier=1 / 3), entry(label="y", multiplier=1.0)])
        assert mu_of(book).upper == pytest.approx(3.0, rel=1e-15)
        book.write([entry(label="", multiplier=0.25)])
        assert mu_of(book).upper == pytest.approx(5.0, rel=1e-15)  # 3, 4, 5; not max(3, 4)
        book.write([entry(client="b", label="", multiplier=0.125)])
        assert mu_of(book).upper == pytest.approx(8.0, rel=1e-15)  # of another client: parallel


def test_an_empty_ledger_costs_nothing_and_no_noise_everything():
    with ledger() as book:
        assert (mu_of(book).lower, mu_of(book).upper) == (0.0, 0.0)
        book.write([entry(event=to_dict(dpe.NonPrivateDpEvent()))])
        assert mu_of(book).upper == math.inf


def test_replace_one_doubles():
    books = [ledger(adjacency=a) for a in ("add-remove", "replace-one")]
    for book in books:
        book.write([entry()])
    assert [mu_of(b).upper for b in books] == [0.5, 1.0]


def test_a_seeded_repeat_is_one_release_and_fresh_noise_is_counted_each_time(tmp_path):
    path = tmp_path / "ledger.jsonl"
    for _ in range(3):  # three runs of the same program
        with ledger(path) as book:
            book.write([entry(noise="seeded:1"), entry(label="y", noise="seeded:2")])
            book.write([entry(noise="seeded:1")])
    assert len(releases(path)) == 2
    for _ in range(3):
        with ledger(path) as book:
            book.write([entry(), entry()])
    with ledger(path) as book:
        assert len(book.entries) == 8
        # one seeded and six fresh releases of (a, x), each 1/4
        assert mu_of(book).upper == pytest.approx(math.sqrt(7) / 2, rel=1e-14)


def test_a_repeat_inside_one_write_is_one_release():
    one = entry(noise="seeded:1")
    with ledger() as book:
        book.write([one, one, replace(one)])
        assert len(book.entries) == 1, "a seeded release was counted twice"


@pytest.mark.parametrize(
    "other",
    [
        {"round_": 1},
        {"client": "b"},
        {"label": "y"},
        {"multiplier": 3.0},
        {"release": "count"},
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_the_same_noise_in_two_releases_is_refused(tmp_path, other, at_once):
    first, second = entry(noise="seeded:1"), entry(noise="seeded:1", **other)
    path = tmp_path / "ledger.jsonl"
    with ledger(path) as book:
        if not at_once:
            book.write([first])
        with pytest.raises(LedgerError, match="seeded:1 was already used for prototype of a"):
            book.write([entry(noise="seeded:9"), *([first] if at_once else []), second])
        assert len(book.entries) == (0 if at_once else 1)
    assert len(releases(path)) == (0 if at_once else 1)


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (to_dict(dpe.UnsupportedDpEvent()), UnsupportedEventError),
        (to_dict(dpe.PoissonSampledDpEvent(0.5, dpe.UnsupportedDpEvent())), UnsupportedEventError),
        (to_dict(dpe.GaussianDpEvent(-1.0)), ParameterError),
        ({"class": "os.system"}, ValueError),
    ],
)
def test_what_cannot_be_accounted_is_refused_and_nothing_is_written(tmp_path, event, error):
    path = tmp_path / "ledger.jsonl"
    with ledger(path) as book:
        with pytest.raises(error):
            book.write([entry(), entry(event=event)])
        assert book.entries == ()
    assert releases(path) == []


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


def test_what_everyone_enters_is_added_to_each_client():
    with ledger() as book:
        book.write([entry(client="*", label="", multiplier=1 / 4)])
        assert mu_of(book).upper == pytest.approx(4.0, rel=1e-15)
        book.write([entry(client="a", multiplier=1 / 3), entry(client="b", multiplier=1.0)])
        assert mu_of(book).upper == pytest.approx(5.0, rel=1e-15)  # 4 and 3; not max(4, 3)


def test_equal_labels_are_not_merged_where_a_record_may_change_its_label():
    event = to_dict(dpe.LaplaceDpEvent(1.0))
    with ledger() as book:
        book.write([entry(label=label, event=event) for label in "xy"])
        assert account(book.event(), adjacency="add-remove").epsilon(0.0).upper < 1.001
    with ledger(adjacency="replace-one") as book:
        with pytest.raises(UnsupportedEventError, match="may change its label"):
            book.write([entry(label="x", event=event)])
        book.write([entry(label="", event=event)])


def test_ledgers_of_clients_make_that_of_the_system():
    system = ledger()
    for client in "abc":
        with ledger() as own:
            own.write(entry(client=client, round_=r, noise=f"seeded:{client}{r}") for r in range(9))
            system.absorb(own)
            system.absorb(own)  # the same seeded releases again: nothing new
    assert len(system.entries) == 27
    assert mu_of(system).upper == 1.5
    with pytest.raises(LedgerError, match="replace-one"):
        system.absorb(ledger(adjacency="replace-one"))


def test_a_release_of_nobody_s_data_is_refused():
    with ledger() as book:
        with pytest.raises(LedgerError, match="names no client"):
            book.write([entry(client="")])


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


def test_unknown_terms_are_refused():
    with pytest.raises(ParameterError, match="add-remove"):
        Ledger(adjacency="add/remove", unit="example")
    with pytest.raises(ParameterError, match="example"):
        Ledger(adjacency="add-remove", unit="record")


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


@pytest.mark.parametrize(
    ("unit", "releases"), [("example", 1), ("client", 5), ("user", 15)], ids=str
)
def test_a_client_has_every_label_and_a_user_may_be_everywhere(unit, releases):
    """What composes in parallel for one record is a sequence for somebody who has many."""
    book = Ledger(adjacency="add-remove", unit=unit)
    book.write(entry(client=c, label=str(label)) for c in "abc" for label in range(5))
    found = account(book.event(), adjacency="add-remove", unit=unit).mu
    assert found.upper == pytest.approx(0.5 * releases**0.5, rel=1e-12)

import itertools
import json
import math
import random
from dataclasses import replace

import dp_accounting.dp_event as dpe
import pytest

from privassay.accountant.account import account
from privassay.accountant.errors import LedgerError, ParameterError, UnsupportedEventError
from privassay.accountant.event_json import to_dict
from privassay.accountant.ledger import Ledger

from .ledger_cases import entry, ledger, releases


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


def test_unknown_terms_are_refused():
    with pytest.raises(ParameterError, match="add-remove"):
        Ledger(adjacency="add/remove", unit="example")
    with pytest.raises(ParameterError, match="example"):
        Ledger(adjacency="add-remove", unit="record")


@pytest.mark.parametrize(
    ("unit", "releases"), [("example", 1), ("client", 5), ("user", 15)], ids=str
)
def test_a_client_has_every_label_and_a_user_may_be_everywhere(unit, releases):
    """What composes in parallel for one record is a sequence for somebody who has many."""
    book = Ledger(adjacency="add-remove", unit=unit)
    book.write(entry(client=c, label=str(label)) for c in "abc" for label in range(5))
    found = account(book.event(), adjacency="add-remove", unit=unit).mu
    assert found.upper == pytest.approx(0.5 * releases**0.5, rel=1e-12)


@pytest.mark.parametrize("noise", ["System", "", "os.urandom", "seeded", "system/0"])
def test_noise_of_unknown_origin_is_refused_wherever_it_comes_in(tmp_path, noise):
    """It would be taken for a seeded repeat, and all such releases but the first be free."""
    given = [entry(round_=r, noise=noise) for r in range(25)]
    book = ledger()
    for each in (given, given[:1]):
        with pytest.raises(LedgerError, match="noise of release"):
            book.write(each)
    assert book.entries == ()
    other = ledger()
    other._entries = given
    with pytest.raises(LedgerError, match="noise of release"):
        book.absorb(other)
    path = tmp_path / "ledger.jsonl"
    with ledger(path) as kept:
        kept.write([entry(noise="seeded:1"), entry(noise="system")])
    path.write_text(path.read_text().replace('"seeded:1"', json.dumps(noise)))
    with pytest.raises(LedgerError, match="noise of release"):
        ledger(path)
    with pytest.raises(LedgerError, match="noise of release"):
        Ledger.finished(path, adjacency="add-remove", unit="example")


def test_a_finished_ledger_is_read_and_nothing_else(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with ledger(path) as kept:
        kept.write([entry(round_=r) for r in range(3)])
        found = Ledger.finished(path, adjacency="add-remove", unit="example")  # though it is held
        assert found.entries == kept.entries and found.event() == kept.event()
    text = path.read_bytes()
    path.write_bytes(text + b'{"client":')
    path.chmod(0o444)
    with pytest.raises(LedgerError, match="ends inside a line"):
        Ledger.finished(path, adjacency="add-remove", unit="example")
    assert path.read_bytes() == text + b'{"client":'
    path.chmod(0o644)
    path.write_bytes(text)
    with pytest.raises(LedgerError, match="was begun as"):
        Ledger.finished(path, adjacency="zero-out", unit="example")
    with pytest.raises(LedgerError, match="cannot be read"):
        Ledger.finished(tmp_path / "none.jsonl", adjacency="add-remove", unit="example")
    assert not (tmp_path / "none.jsonl").exists()

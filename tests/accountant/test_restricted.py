"""Events that hold under some adjacencies: refused under others, and otherwise not there."""

import json
import math

import dp_accounting.dp_event as dpe
import pytest

import privassay as pa
from privassay.accountant import events
from privassay.accountant.account import account, certified_epsilon
from privassay.accountant.adjacency import ADJACENCIES, FIXED_SIZE
from privassay.accountant.calibrate import calibrate
from privassay.accountant.claim import PrivacyClaim
from privassay.accountant.errors import ParameterError, RecordError, UnsupportedEventError
from privassay.accountant.event_json import from_dict, to_dict
from privassay.accountant.events import ParallelDpEvent, RestrictedDpEvent
from privassay.accountant.flatten import alternatives, flatten
from privassay.accountant.gaussian import delta as gaussian_delta
from privassay.accountant.ledger import Ledger, LedgerEntry
from privassay.accountant.peers import cross_check
from privassay.accountant.reduce import gaussian_mu, is_gaussian
from privassay.accountant.releases import releases
from privassay.accountant.restricted import unrestricted
from privassay.accountant.statement import statement

G = dpe.GaussianDpEvent(2.0)
LAPLACE = dpe.LaplaceDpEvent(3.0)
PURE = events.PureDpEvent(0.3)
SINGLE = [(name,) for name in ADJACENCIES]


def only(event, *adjacencies):
    return RestrictedDpEvent(event, adjacencies)


def bare(event):
    return event


# ---------------------------------------------------------------- the event
def test_it_is_public_frozen_and_in_one_order():
    event = pa.RestrictedDpEvent(G, ["zero-out", "replace-one", "zero-out"])
    assert event.adjacencies == ("replace-one", "zero-out") == FIXED_SIZE
    assert event == only(G, "replace-one", "zero-out")
    with pytest.raises(AttributeError):
        event.adjacencies = ("add-remove",)


@pytest.mark.parametrize("what", [3, None, "GaussianDpEvent", dpe.GaussianDpEvent, (G,)])
def test_it_restricts_an_event_and_nothing_else(what):
    with pytest.raises(ParameterError, match="must be a DpEvent"):
        RestrictedDpEvent(what, ("zero-out",))


@pytest.mark.parametrize(
    "names, message",
    [
        ((), "one or more of add-remove, replace-one, zero-out, but is ()"),
        ("replace-one", "must be a tuple"),
        (("replace_one",), "did you mean 'replace-one'"),
        ((3,), "adjacencies must be one of"),
        (None, "but is None"),
        (3, "must be a tuple"),
    ],
)
def test_it_names_adjacencies_that_exist(names, message):
    with pytest.raises(ParameterError) as caught:
        RestrictedDpEvent(G, names)
    assert message in str(caught.value)


def test_json_keeps_it_and_checks_it():
    event = dpe.SelfComposedDpEvent(only(ParallelDpEvent((G, G), "client"), "replace-one"), 3)
    data = json.loads(json.dumps(to_dict(event), allow_nan=False))
    assert from_dict(data) == event
    data["event"]["adjacencies"] = ["replace-two"]
    with pytest.raises(RecordError, match="'replace-two'"):
        from_dict(data)
    data["event"]["adjacencies"] = []
    with pytest.raises(RecordError, match="one or more of"):
        from_dict(data)


# ------------------------------------------------------- every entry refuses
def test_every_entry_point_refuses_another_adjacency():
    event = dpe.ComposedDpEvent([G, dpe.SelfComposedDpEvent(only(G, "replace-one"), 3)])
    sampled = dpe.PoissonSampledDpEvent(0.1, G)
    recorded = to_dict(event)
    other = account(dpe.ComposedDpEvent([sampled, LAPLACE]), adjacency="add-remove")
    claim = PrivacyClaim(event=event, adjacency="zero-out", unit="example")
    certified = account(G, adjacency="add-remove")
    entries = {
        "account": lambda: account(event, adjacency="add-remove"),
        "both engines": lambda: account(event, adjacency="add-remove", both_engines=True),
        "flatten": lambda: flatten(event, adjacency="add-remove"),
        "alternatives": lambda: alternatives(event, "add-remove"),
        "mu": lambda: gaussian_mu(event, adjacency="zero-out"),
        "unrestricted": lambda: unrestricted(event, "zero-out"),
        "certificate": lambda: certified_epsilon(event, certified, 1e-5),
        "calibrate": lambda: calibrate(
            lambda z: only(dpe.GaussianDpEvent(z), "replace-one"), mu=1.0, adjacency="add-remove"
        ),
        "claim": claim.proven,
        "peers": lambda: cross_check(other, 1e-5, event),
        "record": lambda: account(from_dict(recorded), adjacency="add-remove"),
    }
    for name, entry in entries.items():
        with pytest.raises(UnsupportedEventError) as caught:
            entry()
        text = str(caught.value)
        assert "holds under replace-one only" in text, name
        assert "add-remove was asked" in text or "zero-out was asked" in text, name
        assert "Account under" in text and "GaussianDpEvent(" in text, name


def test_the_message_names_the_part_and_its_place():
    event = dpe.ComposedDpEvent([G, dpe.SelfComposedDpEvent(only(LAPLACE, "replace-one"), 3)])
    with pytest.raises(UnsupportedEventError) as caught:
        account(event, adjacency="zero-out")
    assert "LaplaceDpEvent(noise_multiplier=3.0), at ComposedDpEvent.events[1] " in str(
        caught.value
    )
    assert "(SelfComposedDpEvent).event (RestrictedDpEvent)" in str(caught.value)
    inside = dpe.ComposedDpEvent([dpe.PoissonSampledDpEvent(0.5, only(G, *FIXED_SIZE))])
    with pytest.raises(UnsupportedEventError) as caught:
        account(inside, adjacency="replace-one")
    assert (
        "must hold under add-remove there: replace-one was asked, and a sample may lack the "
        in (str(caught.value))
    )
    assert "record, at ComposedDpEvent.events[0] (PoissonSampledDpEvent)" in str(caught.value)


def test_an_adjacency_that_does_not_exist_is_no_restriction_met():
    for ask in (flatten, gaussian_mu):
        with pytest.raises(ParameterError, match="did you mean 'replace-one'"):
            ask(only(G, "replace-one"), adjacency="replace_one")


# ------------------------------------------------- otherwise it is not there
NESTED = [  # an event around a part, and the part
    (bare, G),
    (lambda e: dpe.ComposedDpEvent([e, G]), G),
    (lambda e: dpe.SelfComposedDpEvent(e, 7), G),
    (lambda e: dpe.PoissonSampledDpEvent(1.0, e), G),
    (lambda e: dpe.PoissonSampledDpEvent(0.0, e), G),
    (lambda e: ParallelDpEvent((e, dpe.GaussianDpEvent(1.0)), "client"), G),
    (lambda e: ParallelDpEvent((G, e), "client"), LAPLACE),
    (bare, ParallelDpEvent((G, LAPLACE), "client")),
    (lambda e: dpe.ComposedDpEvent([e, G]), LAPLACE),
    (bare, dpe.ComposedDpEvent([LAPLACE, dpe.SelfComposedDpEvent(PURE, 2)])),
    (lambda e: events.RandomAllocationDpEvent(4, e, 4), G),
    (lambda e: dpe.RepeatAndSelectDpEvent(e, 3.0, 1.0), G),
    (bare, dpe.PoissonSampledDpEvent(0.1, G)),
]


@pytest.mark.parametrize("adjacency", ADJACENCIES)
@pytest.mark.parametrize("number", range(len(NESTED)))
def test_bounds_are_those_of_the_event_inside(number, adjacency):
    around, part = NESTED[number]
    restricted = around(only(part, adjacency))
    plain, found = (account(e, adjacency=adjacency) for e in (around(part), restricted))
    assert found.method == plain.method and found.mu == plain.mu
    assert flat(restricted, adjacency) == flat(around(part), adjacency)
    for other in set(ADJACENCIES) - {adjacency}:
        with pytest.raises(UnsupportedEventError, match=f"holds under {adjacency} only"):
            account(restricted, adjacency=other)


def flat(event, adjacency):
    """All that engines are told about an event."""
    return [flatten(one, adjacency=adjacency) for one in alternatives(event, adjacency)]


def test_an_engine_answers_as_for_the_event_inside():
    plain = dpe.ComposedDpEvent([LAPLACE, dpe.PoissonSampledDpEvent(0.1, G)])
    found = dpe.ComposedDpEvent([only(LAPLACE, "zero-out"), dpe.PoissonSampledDpEvent(0.1, G)])
    one, other = (account(e, adjacency="zero-out").delta(0.2) for e in (plain, found))
    assert one == other and 0.0 < other.lower <= other.upper < 1.0


@pytest.mark.parametrize("adjacency", FIXED_SIZE)
def test_shuffled_batches_and_reports_see_through_it(adjacency):
    batches = [events.ShuffledBatchesDpEvent(5, e) for e in (G, only(G, adjacency))]
    plain, found = (flat(e, adjacency) for e in batches)
    assert plain == found and found[0].lossy
    if adjacency == "replace-one":
        reports = [events.ShuffledDpEvent(100, e) for e in (PURE, only(PURE, adjacency))]
        plain, found = (flat(e, adjacency) for e in reports)
        assert plain == found and found[0].pairs


def test_a_gaussian_stays_one():
    event = dpe.SelfComposedDpEvent(only(G, "replace-one"), 9)
    assert is_gaussian(event) and not is_gaussian(only(LAPLACE, "replace-one"))
    assert gaussian_mu(event, adjacency="replace-one") == (3.0, 3.0)
    assert gaussian_mu(event, adjacency="replace-one", group_size=2) == (6.0, 6.0)
    bound = account(event, adjacency="replace-one", group_size=2)
    assert bound.method == "gaussian" and bound.mu == pa.Interval(6.0, 6.0)
    assert bound.delta(1.0).upper == pytest.approx(gaussian_delta(1.0, mu=6.0), rel=1e-12)


def test_groups_are_those_of_the_event_inside():
    plain = account(PURE, adjacency="zero-out", group_size=3)
    found = account(only(PURE, "zero-out"), adjacency="zero-out", group_size=3)
    assert plain.epsilon(1e-6) == found.epsilon(1e-6)
    assert found.epsilon(0.0).upper == pytest.approx(0.9)
    with pytest.raises(UnsupportedEventError, match="replace-one was asked"):
        account(only(PURE, "zero-out"), adjacency="replace-one", group_size=3)


def test_what_holds_everywhere_and_nested_restrictions():
    everywhere = only(G, *ADJACENCIES)
    for adjacency in ADJACENCIES:
        assert account(everywhere, adjacency=adjacency).mu == account(G, adjacency=adjacency).mu
    both = only(only(G, *FIXED_SIZE), "add-remove", "zero-out")  # those that both name
    assert account(both, adjacency="zero-out").mu.upper == 0.5
    for other in ("add-remove", "replace-one"):
        with pytest.raises(UnsupportedEventError, match=other):
            account(both, adjacency=other)


def test_a_tree_without_restrictions_is_left_alone():
    tree = dpe.ComposedDpEvent([G, dpe.PoissonSampledDpEvent(0.1, G)])
    assert unrestricted(tree, "add-remove") is tree
    part = dpe.SelfComposedDpEvent(only(dpe.ComposedDpEvent([only(G, "zero-out")]), "zero-out"), 2)
    assert unrestricted(part, "zero-out") == dpe.SelfComposedDpEvent(dpe.ComposedDpEvent([G]), 2)


def test_a_restriction_inside_an_unknown_event_is_checked_and_the_event_refused():
    import attr

    @attr.s(frozen=True, auto_attribs=True)
    class Homemade(dpe.DpEvent):
        inner: dpe.DpEvent

    event = Homemade(only(G, "zero-out"))
    with pytest.raises(UnsupportedEventError, match=r"at Homemade\.inner .* zero-out only"):
        account(event, adjacency="add-remove")
    with pytest.raises(UnsupportedEventError, match="nothing is proven here about Homemade"):
        account(event, adjacency="zero-out")


# ---------------------------------------------- what a combinator needs inside
SAMPLED = {  # what the restriction must name besides the adjacency that is asked
    "poisson": (lambda e: dpe.PoissonSampledDpEvent(0.1, e), "add-remove"),
    "allocation": (lambda e: events.RandomAllocationDpEvent(4, e), "add-remove"),
    "without replacement": (
        lambda e: dpe.SampledWithoutReplacementDpEvent(100, 10, e),
        "replace-one",
    ),
    "with replacement": (lambda e: dpe.SampledWithReplacementDpEvent(100, 10, e), "replace-one"),
}
POSSIBLE = [
    ("poisson", "add-remove"),
    ("poisson", "zero-out"),
    ("poisson", "replace-one"),
    ("allocation", "add-remove"),
    ("allocation", "zero-out"),
    ("without replacement", "zero-out"),
    ("without replacement", "replace-one"),
    ("with replacement", "zero-out"),
    ("with replacement", "replace-one"),
]


@pytest.mark.parametrize("kind, adjacency", POSSIBLE)
def test_sampling_needs_what_its_formula_compares_with(kind, adjacency):
    around, more = SAMPLED[kind]
    needed = {adjacency, more}
    plain = flatten(around(G), adjacency=adjacency)
    assert flatten(around(only(G, *needed)), adjacency=adjacency) == plain
    assert not plain.is_gaussian
    for lacking in needed:
        names = set(ADJACENCIES) - {lacking}
        with pytest.raises(UnsupportedEventError, match=f"must hold under {lacking} there"):
            account(around(only(G, *names)), adjacency=adjacency)


def test_why_a_sample_needs_add_remove_inside():
    """Noise made for exchanges: absent, the record may be anywhere, and nothing is amplified.

    The two neighbours' means are at -mu and mu, as the restricted event promises; the mean without
    the record is far away. Not drawn (probability 1 - q) both look alike, drawn they differ as
    N(-mu) and N(mu): delta(epsilon) is q times the unsampled one, which is above the amplified one
    that the accountant would give.
    """
    rate, mu, epsilon = 0.1, 0.5, 1.0
    truth = rate * gaussian_delta(epsilon, mu=2.0 * mu)
    amplified = account(dpe.PoissonSampledDpEvent(rate, dpe.GaussianDpEvent(1.0 / mu)),
                        adjacency="replace-one").delta(epsilon).upper  # fmt: skip
    assert truth > 10.0 * amplified > 0.0
    with pytest.raises(UnsupportedEventError, match="a sample may lack the record"):
        restricted = only(dpe.GaussianDpEvent(1.0 / mu), "replace-one")
        account(dpe.PoissonSampledDpEvent(rate, restricted), adjacency="replace-one")


@pytest.mark.parametrize("part", [G, LAPLACE], ids=["Gaussian", "Laplace"])
def test_parallel_over_labels_under_replace_one_needs_add_remove(part):
    two = ParallelDpEvent((only(part, *FIXED_SIZE), dpe.GaussianDpEvent(5.0)), "label")
    with pytest.raises(UnsupportedEventError, match="that of another label"):
        account(two, adjacency="replace-one")
    plain = ParallelDpEvent((part, dpe.GaussianDpEvent(5.0)), "label")
    assert flat(two, "zero-out") == flat(plain, "zero-out")
    if part is G:
        free = ParallelDpEvent((only(part, "add-remove", "replace-one"), G), "label")
        assert account(free, adjacency="replace-one").mu.upper == 1.0
    # a sample of fixed size exchanges records, whatever is asked outside
    drawn = dpe.SampledWithoutReplacementDpEvent(100, 10, ParallelDpEvent((only(G, *FIXED_SIZE),),
                                                                          "label"))  # fmt: skip
    with pytest.raises(UnsupportedEventError, match="that of another label"):
        account(drawn, adjacency="zero-out")


# ------------------------------------------------------------------- the ledger
def entry(event, label="", client="a"):
    return LedgerEntry(
        release="p", client=client, label=label, round=0, event=to_dict(event), noise="system"
    )


def test_the_ledger_refuses_before_it_writes(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with Ledger(adjacency="add-remove", unit="example", path=path) as book:
        before = path.read_bytes()
        with pytest.raises(UnsupportedEventError, match="add-remove was asked"):
            book.write([entry(G), entry(only(G, *FIXED_SIZE))])
        assert path.read_bytes() == before and book.entries == ()
    other = Ledger(adjacency="replace-one", unit="example")
    other.write([entry(only(G, *FIXED_SIZE)), entry(G, "x")])
    assert account(other.event(), adjacency="replace-one").mu.upper == pytest.approx(math.sqrt(2))
    with pytest.raises(UnsupportedEventError, match="add-remove was asked"):
        account(other.event(), adjacency="add-remove")


def test_the_ledger_knows_that_an_exchanged_record_may_change_its_label(tmp_path):
    """Also where the releases of all labels are equal, so that no parallel event is left."""
    path = tmp_path / "ledger.jsonl"
    given = [entry(only(G, *FIXED_SIZE), label) for label in "xy"]
    with Ledger(adjacency="replace-one", unit="example", path=path) as book:
        with pytest.raises(UnsupportedEventError, match="that of another label"):
            book.write(given)
        book.write([entry(only(G, *FIXED_SIZE))])  # any record enters: no label is left
    for adjacency, unit in (("zero-out", "example"), ("replace-one", "client")):
        free = Ledger(adjacency=adjacency, unit=unit)
        free.write(given)
        assert account(free.event(), adjacency=adjacency, unit=unit).mu.lower > 0.0
    path.write_text(path.read_text().replace('"label": ""', '"label": "x"'))
    with pytest.raises(UnsupportedEventError, match="that of another label"):
        Ledger(adjacency="replace-one", unit="example", path=path)


# ---------------------------------------------------------------- words, peers
def test_it_reads_naturally():
    event = dpe.SelfComposedDpEvent(only(dpe.PoissonSampledDpEvent(0.1, G), *FIXED_SIZE), 30)
    assert releases(event).counts == {
        "Gaussian noise of 2 times the largest contribution, on a Poisson sample of rate 0.1, "
        "which holds under replace-one and zero-out only": 30
    }
    assert releases(event).assumptions == releases(unrestricted(event, "zero-out")).assumptions
    assert releases(only(G, *ADJACENCIES)) == releases(G)
    text = statement(account(only(G, "replace-one"), adjacency="replace-one"),
                     event=only(G, "replace-one"))  # fmt: skip
    assert "one release with Gaussian noise of 2 times the largest contribution, which holds " in (
        text
    )


def test_peers_see_through_it():
    step = dpe.PoissonSampledDpEvent(0.1, dpe.GaussianDpEvent(1.5))
    tree = dpe.ComposedDpEvent([LAPLACE, step])  # which dp-accounting takes as it is
    bound = account(only(tree, "add-remove"), adjacency="add-remove")
    plain, found = (cross_check(bound, 1e-5, e) for e in (tree, only(tree, "add-remove")))
    for one, other in zip(plain, found, strict=True):
        assert (one.peer, one.epsilon_upper, one.note) == (
            other.peer,
            other.epsilon_upper,
            other.note,
        )
    assert sum(result.epsilon_upper < math.inf for result in found) >= 2

"""Three plausible systems that are sound, and each with one planted mistake at a time."""

import math
import tomllib
from pathlib import Path

import pytest

from privassay.accountant.errors import ConfigError
from privassay.audit_reports.lint import exact, reader
from privassay.audit_reports.lint.run import lint

FOLDER = Path(__file__).parent / "plausible"
FEDAVG, LOCAL, MPC = "fedavg", "local", "mpc"


def parsed(name, *changes):
    data = tomllib.loads((FOLDER / f"{name}.toml").read_text())
    for place, value in changes:
        *sections, last = place.split(".")
        table = data
        for part in sections:
            table = table[int(part)] if part.isdigit() else table.setdefault(part, {})
        if value is None:
            del table[last]
        elif last == "+":
            table.append(value)
        else:
            table[last] = value
    return reader.parse(data)


def found(name, *changes):
    return {(f.code, f.severity) for f in lint(parsed(name, *changes)) if f.severity != "info"}


@pytest.mark.parametrize("name", [FEDAVG, LOCAL, MPC])
def test_the_sound_system_has_nothing_above_information(name):
    assert not found(name)


BARE = {"name": "norms", "data": "users", "views": ["server"], "kind": "none"}
PUBLIC = {"name": "seed", "data": "public", "views": ["server", "peer"], "kind": "none"}
BEST = {
    **{"name": "best", "data": "emoji", "views": ["server", "outsider"], "kind": "pure"},
    **{"pure_epsilon": 4.0},
}
PLANTED = [
    # trust against views
    (FEDAVG, "D1", "error", [("claim.views", ["server", "peer"])]),
    (FEDAVG, "D1", "error", [("claim.trust", "local-noise"), ("release.0.sampled", None)]),
    (LOCAL, "D1", "warning", [("claim.trust", "trusted-server")]),
    (LOCAL, "D1", "warning", [("claim.adjacency", "add-remove")]),
    (MPC, "D1", "warning", [("claim.trust", "local-noise")]),
    (MPC, "D1", "error", [("release.+", BARE)]),
    (MPC, "D1", "error", [("claim.trust", "local-noise"), ("mpc.opened.0.protected_by", None)]),
    # called public, and private all the same
    (FEDAVG, "D8", "error", [("release.1.public_content", True)]),
    (FEDAVG, "D8", "warning", [("claim.unprotected", ["uploads"])]),
    (LOCAL, "D8", "warning", [("release.+", PUBLIC)]),
    (LOCAL, "D8", "warning", [("release.+", PUBLIC | {"public_content": True, "data": "log"})]),
    (LOCAL, "D8", "warning", [("release.0.public_content", True)]),
    (
        LOCAL,
        "D8",
        "error",
        [
            ("component", [{"name": "encoder", "trained_on": "private"}]),
            ("release.+", PUBLIC | {"public_content": True, "inputs": ["encoder"]}),
        ],
    ),
    # openings that no noise protects
    (MPC, "S1", "error", [("mpc.opened.0.protected_by", None)]),
    (MPC, "S1", "error", [("release.0.charged", False)]),
    (MPC, "S1", "error", [("release.0.views", ["server"])]),
    (MPC, "S1", "error", [("release.+", BARE), ("mpc.opened.0.protected_by", "norms")]),
    (MPC, "S1", "error", [("mpc.noise_shares", 22)]),
    (MPC, "S1", "warning", [("mpc.noise_shares", None)]),
    (MPC, "S1", "error", [("mpc.noise_shares", None), ("mpc.noise_from", "server")]),
    (
        MPC,
        "S1",
        "warning",
        [("mpc.noise_shares", None), ("mpc.noise_from", "not stated")],
    ),
    # schedules
    (FEDAVG, "D7", "error", [("sampling.schedule", "private")]),
    (FEDAVG, "D7", "warning", [("sampling.schedule", None)]),
    (FEDAVG, "D7", "warning", [("sampling.rounds", None)]),
    (FEDAVG, "D5", "error", [("sampling.rounds", 4000)]),
    (FEDAVG, "D5", "error", [("release.0.per_round", 2)]),
    (FEDAVG, "D5", "warning", [("sampling.rounds", 1000)]),
    (LOCAL, "D5", "error", [("sampling.rounds", 30)]),
    (LOCAL, "D7", "warning", [("sampling.used", "public-schedule")]),
    (MPC, "S1", "error", [("mpc.opened.1.source", "private")]),
    (MPC, "S1", "warning", [("mpc.opened.1.source", None)]),
    # what bounds a pure release
    (LOCAL, "D2", "error", [("release.0.keep_probability", 0.9)]),
    (LOCAL, "D2", "error", [("release.0.answers", 32)]),
    (LOCAL, "D2", "error", [("release.0.records_per_unit", 2)]),
    (LOCAL, "D2", "error", [("release.0.records_per_unit", None)]),
    (LOCAL, "D2", "error", [("claim.adjacency", "add-remove")]),
    (
        LOCAL,
        "D2",
        "warning",
        [("release.0.keep_probability", None), ("release.0.answers", None)],
    ),
    # the usual ones
    (FEDAVG, "D7", "error", [("sampling.used", "fixed-size")]),
    (FEDAVG, "D7", "warning", [("release.0.sampled", None)]),
    (FEDAVG, "D9", "error", [("release.0.divisor_source", "private")]),
    (FEDAVG, "D9", "warning", [("release.0.divisor_source", "not stated")]),
    (FEDAVG, "D9", "warning", [("parameter.0.source", "accounted")]),
    (FEDAVG, "D2", "error", [("release.0.clip_norm", 1.0)]),
    (FEDAVG, "D2", "error", [("claim.adjacency", "replace-one")]),
    # an upload with noise of its own is divided by nothing
    (FEDAVG, "D2", "error", [("claim.trust", "local-noise"), ("release.0.sampled", None)]),
    (FEDAVG, "D3", "error", [("claim.unit", "example")]),
    (FEDAVG, "D12", "warning", [("tuning.tuned_on", "private"), ("tuning.charged", True)]),
    (FEDAVG, "D1", "warning", [("claim.delta", 0.01)]),
    (FEDAVG, "V1", "error", [("claim.mu", 0.5)]),
    (FEDAVG, "V1", "warning", [("release.0.views", ["peer"])]),
    (MPC, "D11", "error", [("randomness.generator", "seeded")]),
    (MPC, "S10", "warning", [("mpc.byzantine", "checked"), ("mpc.clients", 24)]),
]


@pytest.mark.parametrize(
    ("name", "code", "severity", "changes"),
    PLANTED,
    ids=[f"{code}-{name}-{i}" for i, (name, code, *_) in enumerate(PLANTED)],
)
def test_the_planted_mistake_is_found(name, code, severity, changes):
    assert (code, severity) in found(name, *changes)


def test_an_opening_without_noise_contradicts_local_noise_though_nothing_is_claimed():
    changes = [("claim", {"kind": "none", "trust": "local-noise", "views": ["server"]})]
    changes += [("release", []), ("mpc.opened.0.protected_by", None)]
    assert ("D1", "error") in found(MPC, *changes)


def test_what_is_called_public_still_counts_where_it_reads_private_records():
    declaration = parsed(FEDAVG, ("release.1.public_content", True))
    seen = exact.account_view(declaration, "server", "add-remove", exact.DECLARED, "")
    assert seen.epsilon.lower == float("inf")
    fine = parsed(LOCAL, ("release.+", PUBLIC | {"public_content": True}))
    assert exact.account_view(fine, "peer", "replace-one", exact.DECLARED, "").epsilon.upper == 0.0


def _laplace(adjacency="replace-one", **changes):
    """A histogram with Laplace noise: one record moves it by 1/20 in L1, by 2/20 if replaced."""
    histogram = {
        **{"name": "histogram", "data": "emoji", "views": ["server", "outsider"], "kind": "pure"},
        **{"clip_norm": 1.0, "divisor": 20.0, "assumed_sensitivity": 0.1, "pure_epsilon": 4.0},
    }
    unit = [("claim.unit", "example"), ("claim.adjacency", adjacency)]
    return parsed(LOCAL, ("release", [histogram | changes]), *unit)


@pytest.mark.parametrize(
    ("changes", "epsilon"),
    [
        ({}, 4.0),
        ({"adjacency": "add-remove"}, 2.0),
        ({"assumed_sensitivity": 0.05}, 8.0),
        ({"clip_norm": 3.0}, 12.0),
        ({"clip": "batch"}, 80.0),
    ],
)
def test_the_epsilon_of_a_laplace_release_follows_from_its_clip(changes, epsilon):
    declaration = _laplace(**changes)
    (number, _) = exact.account_each(declaration, exact.DECLARED, "")
    assert number.epsilon.upper == pytest.approx(epsilon, rel=1e-4)
    wrong = {f.code for f in lint(declaration) if f.severity == "error"}
    assert ("D2" in wrong) == ("V1" in wrong) == (epsilon > 4.0), wrong


def test_a_pure_claim_has_delta_zero():
    assert not found(LOCAL, ("claim.delta", 0.0))
    (number, _) = exact.account_each(parsed(LOCAL, ("claim.delta", 0.0)), exact.DECLARED, "")
    assert number.epsilon.upper == pytest.approx(math.log(0.784 * 15 / 0.216), rel=1e-9)
    assert ("V1", "error") in found(FEDAVG, ("claim.delta", 0.0))  # Gaussian noise is never pure
    assert ("D2", "error") in found(LOCAL, ("claim.delta", 0.0), ("release.0.answers", 32))


def test_the_epsilon_of_a_choice_follows_from_its_range():
    release = BEST | {"score_range": 0.5, "chosen": 4, "dimension": 9}
    enough = parsed(LOCAL, ("release", [release | {"assumed_sensitivity": 4.0}]))
    assert not [f for f in lint(enough) if f.severity != "info"]
    # forgets that a neighbour moves the chosen scores down and the others up
    half = parsed(LOCAL, ("release", [release | {"assumed_sensitivity": 2.0}]))
    assert {"D2", "V1"} <= {f.code for f in lint(half) if f.severity == "error"}


@pytest.mark.parametrize(
    ("says", "does", "alike"),
    [
        ("Client-level  noise.", "client_level noise", True),
        ("FedAvg", " fedavg ", True),
        ("per\u2011example clip", "per example\nclip", True),
        ("weight -1", "weight 1", False),
        ("x = 1-2", "x = 1 2", False),
        ("noise", "no noise", False),
        ("delta = 1e-5", "delta = 1e5", False),
    ],
)
def test_statements_are_compared_by_what_they_say(says, does, alike):
    statement = {"about": "noise", "says": says, "does": does}
    assert (("D14", "warning") in found(LOCAL, ("statement", [statement]))) != alike


@pytest.mark.parametrize(
    ("name", "changes", "part"),
    [
        (MPC, [("mpc.opened.0.protected_by", "noisy centre")], "did you mean 'noisy centres'?"),
        (MPC, [("mpc.opened.0.source", "fixed")], 'source goes with kind = "schedule"'),
        (MPC, [("mpc.opened.0.per_slice", True)], "per_slice goes with products"),
        (MPC, [("mpc.min_cluster", 31)], "min_cluster is 31, but there are 30 clients"),
        (MPC, [("mpc.noise_from", "server")], 'noise_shares goes with mpc.noise_from = "clients"'),
        (MPC, [("claim.delta", 0.0)], "its formula needs a delta"),
        (LOCAL, [("claim.delta", 0.0), ("claim.mu", 1.0)], "drop one of them"),
        (FEDAVG, [("parameter.0.paid_by", ["mean update"])], "needs no release that pays"),
        (FEDAVG, [("tuning.paid_by", ["mean updat"])], "did you mean 'mean update'?"),
        (FEDAVG, [("release.0.rounds", 2001)], "sampling.rounds is 2000"),
        (FEDAVG, [("sampling.participations", 3)], 'goes with used = "public-schedule"'),
        (FEDAVG, [("release.0.pure_epsilon", 1.0)], "does not go with pure_epsilon"),
        (FEDAVG, [("release.0.formula_epsilon", 1.0)], "does not go with formula_epsilon"),
        (FEDAVG, [("release.0.formula_releases", 5)], "does not go with formula_releases"),
        (FEDAVG, [("release.0.group_norms", [1.0])], "group_norms are not used"),
        (FEDAVG, [("release.1.sigma", 1.0)], 'kind = "none" does not go with sigma'),
        (LOCAL, [("sampling.rate", 0.5)], "drop it, or name the sampler"),
        (LOCAL, [("release.0.divisor", 2.0)], "divisor: of a clipped sum"),
        (LOCAL, [("release.0.answers", 1)], "answers must be at least 2"),
        (LOCAL, [("release.0.keep_probability", None)], "needs keep_probability"),
        (LOCAL, [("release.0.assumed_sensitivity", 1.0)], "kept answers have no noise"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason(name, changes, part):
    with pytest.raises(ConfigError) as caught:
        parsed(name, *changes)
    assert part in str(caught.value)

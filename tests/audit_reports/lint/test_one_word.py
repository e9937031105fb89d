"""One word, a circular payer or a surplus field must not silence the lint."""

import math
import tomllib
from pathlib import Path
from statistics import NormalDist

import pytest

from privassay.accountant.account import account
from privassay.accountant.errors import ConfigError
from privassay.accountant.events import GroupwiseGaussianDpEvent
from privassay.accountant.geometry import clip_mu
from privassay.audit_reports.lint import exact, formulas, reader
from privassay.audit_reports.lint.run import lint

FOLDER = Path(__file__).parent / "plausible"
SUM = {
    **{"name": "sum", "data": "records", "views": ["server", "peer"], "clip_norm": 1.0},
    **{"assumed_sensitivity": 2.0, "formula": "exact", "formula_epsilon": 1.0},
    **{"formula_releases": 10, "releases": 10},
}
# Its own budget, outside the rounds; the sum's sigma is that of 1.0, and both are within 2.
ASIDE = SUM | {"name": "runs before", "rounds": 0}


def base(**changes):
    data = {
        "title": "t",
        "claim": {
            **{"epsilon": 2.0, "delta": 1e-5, "unit": "example", "adjacency": "replace-one"},
            **{"trust": "local-noise", "views": ["server", "peer"], "covers": "all"},
            "unprotected": ["nothing"],
        },
        "sampling": {"used": "all", "accounted": "all", "schedule": "fixed", "rounds": 10},
        "release": [SUM],
        "randomness": {"generator": "system"},
        "tuning": {"tuned_on": "public", "reported": "fixed"},
        "conduct": {"nonfinite": "zero", "across_records": []},
    }
    for name, value in changes.items():
        data[name] = data[name] | value if isinstance(data.get(name), dict) else value
    return data


def loud(data):
    return {(f.code, f.severity) for f in lint(reader.parse(data)) if f.severity != "info"}


def test_the_system_itself_is_sound():
    assert not loud(base())


# ------------------------------------------------------------------------- payers
PRIVATE = {"tuned_on": "private", "charged": True}


def part(section, source, *paid_by, name="p"):
    word = "trained_on" if section == "component" else "source"
    return {section: [{"name": name, word: source, "paid_by": list(paid_by)}]}


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("D12", {"tuning": PRIVATE | {"paid_by": ["sum"]}}),
        ("D12", {"tuning": {"reported": "best", "charged": True, "paid_by": ["sum"]}}),
        ("D12", {"tuning": PRIVATE | {"paid_by": ["runs before", "sum"]}}),
        ("D9", part("parameter", "noised")),
        ("D9", part("parameter", "accounted")),
        ("D9", part("parameter", "accounted", "sum")),
        ("D10", part("component", "noised")),
        ("D10", part("component", "accounted")),
        ("D10", part("component", "accounted", "sum")),
    ],
)
def test_a_payer_that_has_nothing_left_pays_nothing(code, changes):
    aside = {"release": [SUM, ASIDE]} if "runs before" in str(changes) else {}
    assert (code, "warning") in loud(base(**changes, **aside))


@pytest.mark.parametrize(
    "changes",
    [
        {"tuning": PRIVATE | {"paid_by": ["runs before"]}},
        part("parameter", "accounted", "runs before"),
        part("component", "accounted", "runs before"),
    ],
)
def test_releases_outside_the_rounds_pay_and_are_counted(changes):
    data = base(**changes, release=[SUM, ASIDE])
    assert not loud(data)
    once, both = (
        exact.account_each(reader.parse(d), exact.DECLARED, "")[0].mu_upper for d in (base(), data)
    )
    assert both == pytest.approx(math.sqrt(2.0) * once, rel=1e-9)
    assert ("V1", "error") in loud(data | {"claim": data["claim"] | {"epsilon": 1.0}})


def test_a_release_outside_the_rounds_that_pays_for_nothing_is_a_way_around_the_count():
    assert ("D5", "error") in loud(base(release=[SUM | {"releases": 9}]))
    assert ("D5", "warning") in loud(base(release=[SUM | {"releases": 9, "rounds": 0}]))


def test_rounds_that_are_not_stated_leave_nothing_to_pay_with():
    data = base(tuning=PRIVATE | {"paid_by": ["sum"]})
    del data["sampling"]["rounds"]
    assert ("D12", "warning") in loud(data)


def test_what_is_noised_comes_from_earlier_releases():
    for section in ("parameter", "component"):
        shaped = {"release": [SUM | {"inputs": ["p"]}]} if section == "component" else {}
        assert not loud(base(**part(section, "noised", "sum"), **shaped))
        once = {k: v for k, v in SUM.items() if k != "formula_releases"} | {"releases": 1}
        once |= {"inputs": ["p"]} if shaped else {}
        data = base(**part(section, "noised", "sum"), release=[once], sampling={"rounds": 1})
        assert {code for code, _ in loud(data)} == {"D9" if section == "parameter" else "D10"}


# ---------------------------------------------------- what is only said to be public
def test_public_content_with_the_name_of_a_statistic_is_doubted():
    public = {"data": "public", "views": ["server"], "kind": "none", "public_content": True}
    for name in ("loss", "per-client loss", "Gradient norms", "label_counts"):
        assert ("D8", "warning") in loud(base(release=[SUM, public | {"name": name}])), name
    fine = base(release=[SUM, public | {"name": "seed of the public projection"}])
    assert not loud(fine)
    trusted = [f for f in lint(reader.parse(fine)) if f.code == "D8"]
    assert trusted and "taken on trust" in trusted[0].reason  # never silent


# ------------------------------------------------------------------ who adds the noise
@pytest.mark.parametrize(
    ("claim", "wanted"),
    [
        ({}, {("D1", "warning")}),
        ({"noise_from": "server"}, {("D1", "error")}),
        ({"noise_from": "clients"}, set()),
        ({"views": ["peer"]}, set()),
        ({"noise_from": "clients", "adjacency": "add-remove"}, set()),  # of examples
        ({"views": ["peer"], "noise_from": "server"}, set()),
    ],
)
def test_noise_of_a_server_that_is_an_adversary(claim, wanted):
    assert loud(base(claim={"trust": "secure-sum"} | claim)) == wanted


def test_noise_of_clients_that_are_away():
    users = base(
        claim={"trust": "secure-sum", "noise_from": "clients", "unit": "client"},
        release=[SUM | {"clip": "upload"}],
    )
    assert not loud(users)
    assert loud(users | {"claim": users["claim"] | {"adjacency": "add-remove"}}) == {
        ("D1", "warning")
    }


# -------------------------------------------------------------------- empty guarantees
@pytest.mark.parametrize(("epsilon", "empty"), [(13.8, False), (13.9, True), (1e6, True)])
def test_an_epsilon_that_says_nothing(epsilon, empty):
    data = base(claim={"epsilon": epsilon})
    found = [f for f in lint(reader.parse(data)) if f.code == "D1" and f.severity == "warning"]
    assert bool(found) == empty
    missed = math.exp(-epsilon) * (1.0 - 1e-5 - 1e-3)  # the least that is allowed at FPR 1e-3
    assert (missed <= 1e-6) == empty
    if empty:
        assert "from epsilon 13.8 on" in found[0].reason and "TPR 1" in found[0].reason


def test_a_mu_that_says_nothing():
    data = base(claim={"epsilon": 1e6, "mu": 7.8})
    assert ("D1", "warning") not in loud(data)  # mu still says something
    assert ("D1", "warning") in loud(base(claim={"epsilon": 1e6, "mu": 7.9}))
    missed = NormalDist().cdf(NormalDist().inv_cdf(1.0 - 1e-3) - 7.9)
    assert missed < 1e-6 < NormalDist().cdf(NormalDist().inv_cdf(1.0 - 1e-3) - 7.8)


# --------------------------------------------------------------------------- ellipsoids
def ellipsoid(**changes):
    data = tomllib.loads((FOLDER / "ellipsoid.toml").read_text())
    data["release"][0] |= changes
    return data


@pytest.mark.parametrize("radii", [[0.25, 0.5], [10.0, 10.0], [0.1, 40.0], [1e3, 1e3]])
@pytest.mark.parametrize("shape", ["isotropic", "radii"])
def test_the_noise_of_an_ellipsoid_is_what_is_documented(radii, shape):
    declaration = reader.parse(ellipsoid(group_norms=radii, noise_shape=shape))
    (release,) = declaration.release
    scale = formulas.sigma(release, 1e-5) * 0.03125
    stddevs = [scale, scale] if shape == "isotropic" else [scale * r for r in radii]
    # replace-one, one of 32 records, 100 releases
    mu = 10.0 * 2.0 / 32.0 * clip_mu(stddevs, ellipsoid_radii=radii)
    for number in exact.account_each(declaration, exact.DECLARED, ""):
        assert number.mu_upper == pytest.approx(mu, rel=1e-9)
    wrong = {code for code, severity in loud(ellipsoid(group_norms=radii, noise_shape=shape))}
    assert ("V1" in wrong) == ("D2" in wrong) == (mu > exact_mu() * (1 + 1e-9))


def exact_mu():
    return 10.0 / formulas.exact(0.4, 1e-5, 100)


def test_an_ellipsoid_of_equal_radii_is_a_ball():
    (number, *_) = exact.account_each(
        reader.parse(ellipsoid(group_norms=[0.5, 0.5])), exact.DECLARED, ""
    )
    scale = formulas.exact(0.4, 1e-5, 100) * 0.03125
    ball = GroupwiseGaussianDpEvent((scale,), (0.5 / 32.0,), 0.5 / 32.0)
    one = account(ball, adjacency="replace-one").mu.upper
    assert number.mu_upper == pytest.approx(10.0 * one, rel=1e-9)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"clip_norm": 0.5}, "clip_norm is 0.5, but with clip_set"),
        ({"clip_set": "groups", "clip_norm": 0.5}, 'or write clip_set = "both"'),
        ({"clip_set": "groups", "noise_shape": "radii"}, 'goes with clip_set = "ellipsoid"'),
        ({"budget_shares": [0.5, 0.5]}, 'noise_shape = "radii"'),
    ],
)
def test_what_an_ellipsoid_does_not_use_is_refused(changes, part):
    with pytest.raises(ConfigError) as caught:
        reader.parse(ellipsoid(**changes))
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("claim", "part"),
    [
        ({"noise_from": "clients"}, 'goes with trust = "secure-sum"'),
        ({"noise_from": "server", "trust": "trusted-server"}, "drop one of them"),
    ],
)
def test_who_adds_the_noise_goes_with_a_secure_sum(claim, part):
    with pytest.raises(ConfigError) as caught:
        reader.parse(base(claim=claim))
    assert part in str(caught.value)
    mpc = tomllib.loads((FOLDER / "mpc.toml").read_text())
    mpc["claim"]["noise_from"] = "clients"
    with pytest.raises(ConfigError, match="state it there alone"):
        reader.parse(mpc)


def test_a_claim_without_adjacency_says_what_its_numbers_show():
    for name in ("vpdr_as_released", "dp_fpl_as_released", "dp_fedlora_as_released"):
        (found,) = (f for f in lint(name) if f.code == "D1" and "adjacency" in f.reason)
        numbers = {round(e.epsilon.upper, 6) for e in found.exact}
        assert len(found.exact) == 2
        assert ("two different epsilons" in found.reason) == (len(numbers) == 2), name


def test_the_name_of_a_system_suggests_what_it_released():
    for given, wanted in (
        ("vpdr", "vpdr_as_released"),
        ("DP-FPL", "dp_fpl_as_released"),
        ("secfpp", "secfpp_as_described"),
    ):
        with pytest.raises(ConfigError, match=f"did you mean '{wanted}'"):
            lint(given)

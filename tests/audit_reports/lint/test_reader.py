"""What a wrong declaration is told, and that nothing in it can crash the lint."""

import math
import random
import tomllib
from pathlib import Path

import pytest

from privassay.accountant.errors import AuditError, ConfigError
from privassay.audit_reports.lint import reader
from privassay.audit_reports.lint.run import lint, resolve

SYSTEMS = Path(reader.__file__).parent / "systems"
GOOD = {
    "title": "t",
    "claim": {"epsilon": 1.0, "delta": 1e-5, "unit": "example", "adjacency": "add-remove"},
    "release": [
        {"name": "a", "data": "d", "views": ["server"], "clip_norm": 1.0, "sigma": 4.0}
        | {"assumed_sensitivity": 1.0}
    ],
}


def message(**changes):
    with pytest.raises(ConfigError) as caught:
        reader.parse(GOOD | changes)
    return str(caught.value)


def test_unknown_keys_name_the_nearest():
    assert "clam: unknown key; did you mean 'claim'?" in message(clam={})
    text = message(claim=GOOD["claim"] | {"epsilom": 1.0})
    assert "claim.epsilom: unknown key; did you mean 'epsilon'?" in text


def test_all_errors_come_at_once():
    text = message(claim={"unit": "clients", "epsilon": "one"}, release=[{"name": "a"}])
    for part in (
        "claim.unit: must be one of 'example', 'user', 'client', but is 'clients' "
        "(did you mean 'client'?)",
        "claim.epsilon: must be a finite number, but is 'one'",
        "release[1].data: missing",
        "release[1].views: missing",
    ):
        assert part in text, text


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"views": []}, "views is empty"),
        ({"views": "server"}, "release[1].views: must be a list"),
        ({"sigma": True}, "release[1].sigma: must be a finite number"),
        ({"sigma": math.inf}, "release[1].sigma: must be a finite number"),
        ({"sigma": 10**400}, "release[1].sigma: must be a finite number"),
        ({"sigma": -1.0}, "sigma must be a finite number > 0, but is -1.0"),
        ({"tensors": 1.5}, "release[1].tensors: must be a whole number"),
        ({"kind": "pure"}, 'kind = "pure" needs pure_epsilon'),
        ({"clip_set": "groups"}, 'clip_set = "groups" needs group_norms'),
        ({"group_norms": [1.0], "budget_shares": [0.5, 0.5]}, "one entry per group"),
        ({"inputs": ["encoder"]}, "declared as [[component]]"),
    ],
)
def test_releases_are_checked(change, part):
    assert part in message(release=[GOOD["release"][0] | change])


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'dp_fpl_sound'"):
        resolve("dp_fpl_sond")
    with pytest.raises(ConfigError, match="is a folder"):
        resolve(tmp_path)
    broken = tmp_path / "x.toml"
    broken.write_text("title = ")
    with pytest.raises(ConfigError, match="not valid TOML"):
        resolve(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        resolve(broken)
    with pytest.raises(ConfigError, match="did you mean 'vpdr_sound'"):
        reader.system("vpdr_sond")


def test_shipped_declarations_are_found():
    assert set(reader.shipped()) == {path.stem for path in SYSTEMS.glob("*.toml")}
    assert len(reader.shipped()) == 12


def test_random_changes_give_findings_or_a_message():
    """300 declarations with values exchanged: nothing but a `ConfigError` may come out."""
    draw = random.Random(5)
    names = ("dp_fpl_sound", "dp_fedlora_as_released", "secfpp_sound_dp", "vpdr_sound")
    values = [0, 1, -1, 2.5, 1e-300, 1e299, "", "x", "client", True, [], {}, ["server"], 10**20]
    linted = 0
    for _ in range(300):
        data = tomllib.loads((SYSTEMS / f"{draw.choice(names)}.toml").read_text())
        place = data
        while True:
            key = draw.choice(list(place) if isinstance(place, dict) else range(len(place)))
            inner = place[key]
            if isinstance(inner, dict | list) and inner and draw.random() < 0.8:
                place = inner
                continue
            place[key] = draw.choice(values)
            break
        try:
            declaration = reader.parse(data)
        except ConfigError:
            continue
        try:
            linted += len(lint(declaration)) > 0
        except AuditError as error:
            assert str(error)
    assert linted > 20

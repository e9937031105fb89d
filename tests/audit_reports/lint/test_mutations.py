"""One change to a sound declaration that a reviewer found to be overlooked; now it is not."""

from importlib.resources import files

import pytest

from privassay.audit_reports.lint.run import lint

HIDDEN = """
[[release]]
name = "context gradient, nearly bare"
data = "batch"
views = ["server", "peer", "outsider"]
clip = "record"
clip_norm = 10.0
divisor = 32.0
assumed_sensitivity = 0.625
kind = "gaussian"
sigma = 0.01
"""


def text_of(name):
    folder = files("privassay.audit_reports.lint") / "systems"
    return (folder / f"{name}.toml").read_text(encoding="utf-8")


def loud(tmp_path, text):
    path = tmp_path / "declaration.toml"
    path.write_text(text)
    return [f for f in lint(path) if f.severity != "info"]


@pytest.mark.parametrize(
    "name, old, new, code",
    [
        ("dp_fedlora_sound", 'unit = "client"', 'unit = "user"', None),
        ("secfpp_sound_mpc", "zero_sharing = true", "zero_sharing = false", "S13"),
        ("secfpp_sound_mpc", "prime = 2305843009213693951", f"prime = {2**61}", "S7"),
        ("secfpp_sound_mpc", 'to = "client"', 'to = "members"', "S2"),
    ],
)
def test_a_change_is_noticed(tmp_path, name, old, new, code):
    text = text_of(name)
    assert old in text and not loud(tmp_path, text)
    found = loud(tmp_path, text.replace(old, new, 1))
    assert found and (code is None or code in {f.code for f in found}), found


def test_what_is_noised_counts_though_it_is_listed_as_unprotected(tmp_path):
    text = text_of("dp_fpl_sound").replace(
        'unprotected = ["client data sizes"]',
        'unprotected = ["client data sizes", "context gradient, nearly bare"]',
    )
    found = loud(tmp_path, text + HIDDEN)
    assert "V1" in {f.code for f in found}, found

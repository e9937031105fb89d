"""The verbs lint and dossier: exit codes, JSON, files of users."""

import json

import pytest
from typer.testing import CliRunner

from privassay.audit_reports.cli.app import app
from privassay.audit_reports.lint import reader


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize(
    ("name", "code"),
    [("dp_fpl_as_released", 3), ("dp_fpl_sound", 0), ("secfpp_as_described", 3)],
)
def test_exit_codes(name, code):
    assert run("lint", name).exit_code == code


def test_warnings_alone_exit_with_four(tmp_path):
    source = (reader._SYSTEMS / "dp_fpl_sound.toml").read_text()
    file = tmp_path / "mine.toml"
    file.write_text(source.replace('nonfinite = "zero"', 'nonfinite = "not stated"'))
    result = run("lint", str(file))
    assert result.exit_code == 4 and "WARNING H5" in result.stdout


def test_json():
    result = run("lint", "dp_fedlora_as_released", "--json")
    data = json.loads(result.stdout)
    assert data["exit_code"] == 3 and data["declaration"]["claim"]["adjacency"] is None
    first = next(f for f in data["findings"] if f["code"] == "D6")
    assert first["severity"] == "error" and 34.5 < first["exact"][0]["epsilon"]["upper"] < 34.6
    unbounded = next(f for f in data["findings"] if f["code"] == "D8")
    assert unbounded["exact"][0]["epsilon"]["upper"] == "Infinity"


def test_text_is_narrow_and_plain(tmp_path):
    file = tmp_path / "evil.toml"
    file.write_text(
        'title = "a\\u001b[31mred"\n[claim]\nkind = "none"\ncovers = "x"\nviews = ["server"]\n'
    )
    result = run("lint", str(file))
    assert result.exit_code == 0 and "\x1b" not in result.stdout
    lines = run("lint", "vpdr_igpp_as_released").stdout.splitlines()
    assert max(map(len, lines)) <= 104 and lines[0].startswith("VPDR, isotropic")


def test_bad_input_is_an_audit_error():
    result = run("lint", "no_such_file")
    assert result.exit_code != 0 and "no file" in str(result.exception)

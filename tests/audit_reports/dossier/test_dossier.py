"""Dossiers: complete, computed, and a page that is safe to open."""

import dataclasses
import json
import re

import pytest
from typer.testing import CliRunner

from privassay.accountant.errors import ParameterError
from privassay.audit_reports.cli.app import app
from privassay.audit_reports.dossier.build import SYSTEMS, Dossier, dossier, mode
from privassay.audit_reports.dossier.page import render
from privassay.audit_reports.dossier.sections import sections
from privassay.audit_reports.dossier.terminal import lines
from privassay.audit_reports.lint import reader


@pytest.fixture(scope="module")
def made():
    return {system: dossier(system) for system in SYSTEMS}


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_dossier_is_complete(made, system):
    found = made[system]
    assert found.released[0].exit_code == 3
    assert all(each.exit_code == 0 for each in found.sound)
    assert len({table.key for table in found.tables}) == len(found.tables) >= 6
    for table in found.tables:
        assert all(len(row) == len(table.header) for row in table.rows), table.key
    assert [section.key for section in sections(found)] == [
        *("claim", "released", "sound", "patterns", "findings", "tables"),
    ]
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_page_is_self_contained(made, system):
    text = render(made[system])
    assert len(text) < 1_000_000
    assert "<script" not in text and "http://" not in text and "https://" not in text
    assert not re.search(r"\bsrc=|url\(|@import", text)
    assert "default-src 'none'" in text and "prefers-color-scheme: dark" in text
    for tag in ("table", "section", "details", "dl", "tr", "td", "th", "div"):
        assert len(re.findall(rf"<{tag}[ >]", text)) == text.count(f"</{tag}>"), tag


def test_strangers_text_is_escaped():
    declaration = reader.system("dp_fpl_as_released")
    evil = "<script>alert(1)</script>\"'&"
    release = dataclasses.replace(declaration.release[0], name=evil)
    claim = dataclasses.replace(declaration.claim, covers=evil)
    changed = dataclasses.replace(
        declaration, title=evil, claim=claim, release=(release, *declaration.release[1:])
    )
    one = mode(changed)
    made = Dossier(system="x", title=evil, released=(one,), sound=(), tables=())
    text = render(made)
    assert "<script" not in text and "&lt;script&gt;alert(1)" in text


def test_numbers_of_the_terminal(made):
    text = "\n".join(lines(made["dp-fedlora"]))
    for number in ("34.59", "1952.", "35195", "138558", "49032.7", "19,172"):
        assert number in text, number
    text = "\n".join(lines(made["vpdr"]))
    for number in ("21.92", "16.68", "7.42", "13618.2", "6,160"):
        assert number in text, number


def test_verb(tmp_path):
    page = tmp_path / "fpl.html"
    result = CliRunner().invoke(app, ["dossier", "dp-fpl", "--json", "--html", str(page)])
    assert result.exit_code == 0
    data = json.loads(result.stdout)
    assert data["system"] == "dp-fpl" and page.read_text().startswith("<!DOCTYPE html>")
    assert dossier("DP_FPL").title == data["title"]


def test_unknown_system():
    with pytest.raises(ParameterError, match="did you mean 'vpdr'"):
        dossier("vdpr")

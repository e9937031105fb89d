"""Dossiers: complete, computed, and a page that is safe to open."""

import dataclasses
import json
import math
import re
from html import escape
from pathlib import Path

import pytest
from typer.testing import CliRunner

from privassay.accountant.digits import at_least, at_most
from privassay.accountant.errors import ParameterError
from privassay.audit_reports.cli.app import app
from privassay.audit_reports.dossier.build import SYSTEMS, dossier, mode
from privassay.audit_reports.dossier.figure import conclusion
from privassay.audit_reports.dossier.page import render
from privassay.audit_reports.dossier.sections import sections
from privassay.audit_reports.dossier.terminal import lines
from privassay.audit_reports.lint import reader
from privassay.audit_reports.verdict import WORDS

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_dossier_is_complete(made, system):
    found = made[system]
    assert found.released[0].exit_code == 3
    assert all(each.exit_code == 0 for each in found.sound)
    assert len({table.key for table in found.tables}) == len(found.tables) >= 10
    for table in found.tables:
        assert all(len(row) == len(table.header) for row in table.rows), table.key
        numbers = [c for row in table.rows for c in row if not isinstance(c, str)]
        assert not any(math.isnan(n) for n in numbers), table.key
        # a table of text is a quotation, a list of openings, or what probes say
        assert numbers or table.quoted or table.key in ("openings", "defects"), table.key
        assert not (numbers and table.quoted), table.key
    assert [section.key for section in sections(found)] == [
        *("summary", "claim", "released", "sound", "patterns", "findings", "tables"),
    ]


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_hurried_reviewer_reads_this_first(made, system):
    short = made[system].summary
    assert short.word in WORDS and len(short.findings) == 3
    assert len({text.split()[0] for text in short.findings}) == 3  # three patterns
    text = lines(made[system])
    top = " ".join(" ".join(text[: text.index("What is claimed")]).split())
    for part in (short.word, short.claim, short.released, short.sound, *short.findings):
        assert " ".join(part.split()) in top


@pytest.mark.parametrize(
    ("system", "parts"),
    [
        ("vpdr", ["adjacency", "F6", "no bound"]),
        ("dp-fpl", ["adjacency", "UNSUPPORTED", "outsider", "140.2", "0.4"]),
        ("secfpp", ["no guarantee"]),
        ("dp-fedlora", ["unit and adjacency", "UNSUPPORTED", "193400", "25"]),
    ],
)
def test_the_published_claims_are_invalid_and_why(made, system, parts):
    short = made[system].summary
    assert short.word == "INVALID"
    for part in parts:
        assert part in short.verdict + short.released, part


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_is_sound_is_within_its_claim(made, system):
    sound = [a for a in made[system].accounts if a.mode == "sound"]
    assert sound
    for account in sound:
        assert account.epsilon.upper <= account.claimed
        assert account.word == "INCONCLUSIVE"  # no attack was run
        assert account.epsilon.upper > 0.999 * account.claimed  # nor is noise wasted


@pytest.mark.parametrize("system", ["vpdr", "dp-fpl", "dp-fedlora"])
def test_objects_and_declarations_agree(made, system):
    """Two ways to the same number: the mechanism object, and lint's reading of the declaration."""
    objects = {a.epsilon.upper for a in made[system].accounts if a.epsilon.upper < math.inf}
    declared = {
        e.epsilon.upper
        for mode_ in (*made[system].released, *made[system].sound)
        for f in mode_.findings
        for e in f.exact
    }
    assert objects
    for value in objects:
        assert any(other == pytest.approx(value, rel=2e-4) for other in declared), value


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_page_is_self_contained(made, system):
    text = render(made[system])
    assert len(text) < 1_000_000
    assert "<script" not in text and "http://" not in text and "https://" not in text
    assert not re.search(r"\bsrc=|url\(|@import", text)
    assert "default-src 'none'" in text and "prefers-color-scheme: dark" in text
    for tag in ("table", "section", "details", "dl", "tr", "td", "th", "div", "figure", "ol"):
        assert len(re.findall(rf"<{tag}[ >]", text)) == text.count(f"</{tag}>"), tag
    assert text.index(made[system].summary.word) < text.index("What is claimed</h2>")
    for table in made[system].tables:
        if table.quoted:
            assert f"Quoted, not computed: {escape(table.quoted)}" in text


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_figure_has_a_conclusion_units_and_its_data(made, system):
    text = render(made[system])
    figure = text[text.index("<figure") : text.index("</figure>")]
    assert "epsilon (nats) at delta 1e-05" in figure and "<details>" in figure
    words = conclusion(made[system])
    assert words in figure
    released = [a for a in made[system].accounts if a.mode == "released"]
    unbounded = sum(a.epsilon.upper == math.inf for a in released)
    assert (f"{unbounded} of {len(released)} have no bound" in words) == (unbounded > 0)
    bars = [float(w) for w in re.findall(r'style="width:([\d.]+)%"', figure)]
    assert all(0.0 < bar <= 100.0 for bar in bars) and len(set(bars)) > 1 or not released


def test_strangers_text_is_escaped(made):
    declaration = reader.system("dp_fpl_as_released")
    evil = "<script>alert(1)</script>\"'&\x1b[31m"
    release = dataclasses.replace(declaration.release[0], name=evil)
    claim = dataclasses.replace(declaration.claim, covers=evil)
    changed = dataclasses.replace(
        declaration, title=evil, claim=claim, release=(release, *declaration.release[1:])
    )
    one = dataclasses.replace(
        made["dp-fpl"],
        title=evil,
        released=(mode(changed),),
        summary=dataclasses.replace(made["dp-fpl"].summary, claim=evil, findings=(evil,)),
    )
    text = render(one)
    assert "<script" not in text and "&lt;script&gt;alert(1)" in text
    assert not any("\x1b" in line for line in lines(one))


def test_numbers_of_the_terminal(made):
    text = "\n".join(lines(made["dp-fedlora"]))
    for number in ("34.5947", "1,952.17", "35,195.5", "138,558", "49,032.7", "19,172"):
        assert number in text, number
    text = "\n".join(lines(made["vpdr"]))
    for number in ("21.9209", "16.6839", "7.42319", "13,618.2", "6,160"):
        assert number in text, number
    assert max(map(len, text.split("\n"))) <= 130


def test_verb(tmp_path):
    page = tmp_path / "fpl.html"
    result = CliRunner().invoke(app, ["dossier", "dp-fpl", "--json", "--html", str(page)])
    assert result.exit_code == 0
    data = json.loads(result.stdout)
    assert data["system"] == "dp-fpl" and page.read_text().startswith("<!DOCTYPE html>")
    assert dossier("DP_FPL").title == data["title"]


def test_progress_counts_up_to_the_end():
    steps = []
    dossier("dp-fpl", lambda done, total: steps.append((done, total)))
    total = steps[0][1]
    assert steps == [(i, total) for i in range(1, total + 1)]


def test_progress_is_shown_on_stderr_only_after_a_while(monkeypatch, capsys):
    from privassay.audit_reports.cli import dossier as verb

    monkeypatch.setattr(verb, "_PATIENCE", 0.0)
    verb.dossier("dp-fpl", html=None, as_json=True, quiet=False)
    shown = capsys.readouterr()
    assert "dossier dp-fpl" in shown.err and json.loads(shown.out)["system"] == "dp-fpl"
    monkeypatch.setattr(verb, "_PATIENCE", 1e9)
    verb.dossier("dp-fpl", html=None, as_json=True, quiet=False)
    assert capsys.readouterr().err == ""


def test_what_is_wrong_is_said_before_anything_is_computed(tmp_path):
    with pytest.raises(ParameterError, match="did you mean 'vpdr'"):
        dossier("vdpr")
    result = CliRunner().invoke(app, ["dossier", "vpdr", "--html", str(tmp_path / "no" / "a.html")])
    assert isinstance(result.exception, ParameterError)
    assert "does not exist" in str(result.exception)


def test_a_folder_for_the_page_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    from privassay.audit_reports.dossier import build

    def never(*_):
        raise AssertionError("the dossier was computed first")

    monkeypatch.setattr(build, "dossier", never)
    result = CliRunner().invoke(app, ["dossier", "vpdr", "--html", str(tmp_path)])
    assert isinstance(result.exception, ParameterError)
    assert "is a folder; name a file in it" in str(result.exception)


def test_the_summary_names_both_ends_where_they_differ(made):
    """A verdict quotes the lower end, rounded down; beside the upper one it read as a slip."""
    for system in ("dp-fpl", "dp-fedlora"):
        bounded = [
            account.epsilon
            for account in made[system].accounts
            if account.mode == "released" and account.in_claim and account.epsilon.upper < math.inf
        ]
        assert bounded
        for epsilon in bounded:
            low, high = at_least(epsilon.lower), at_most(epsilon.upper)
            assert low != high
            assert f"epsilon between {low} and {high} (" in made[system].summary.released


@pytest.mark.parametrize("system", SYSTEMS)
def test_json_has_the_documented_keys(made, system):
    """docs/dossiers.md lists every key, and no other."""
    text = (ROOT / "docs" / "dossiers.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_.\[\]]+)` \|", text, re.MULTILINE)
    data = made[system].to_dict()
    json.dumps(data, allow_nan=False)
    assert data["schema_version"] == 1
    assert paths(data) <= set(rows)
    if system == "dp-fpl":  # the one with every part
        assert paths(data) == set(rows)


def paths(value, prefix=""):
    """Every key of nested objects, "a[].b" inside lists; findings and claims stop at one level."""
    if isinstance(value, dict):
        found = set()
        for key, inner in value.items():
            name = f"{prefix}.{key}" if prefix else key
            found.add(name)
            if key not in ("claim", "exact", "epsilon"):
                found |= paths(inner, name)
        return found
    if isinstance(value, list):
        return set().union(*(paths(inner, f"{prefix}[]") for inner in value))
    return set()

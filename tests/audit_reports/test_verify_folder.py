"""What `verify` looks at besides the numbers of a record: ledgers, pages, sentences, versions."""

import fcntl
import json
import os
from dataclasses import replace

import pytest

from privassay.accountant.errors import ConfigError, RecordError
from privassay.audit_reports import record as records
from privassay.audit_reports.sums import write_sums
from privassay.audit_reports.verify import load, verify
from privassay.fl_core import config

from .test_verify import forge


def contents(folder):
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_nothing_is_written_or_locked(copy):
    (path,) = copy.glob("ledger/mine.jsonl")
    for each in copy.rglob("*"):
        os.chmod(each, 0o555 if each.is_dir() else 0o444)
    before = contents(copy)
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert any("its ledger gives" in line for line in verify(copy))
    assert contents(copy) == before
    for each in copy.rglob("*"):
        os.chmod(each, 0o755 if each.is_dir() else 0o644)


def test_a_torn_line_of_a_finished_run_is_an_error_each_time(copy):
    path = copy / "ledger" / "mine.jsonl"
    path.write_bytes(path.read_bytes() + b'{"client":')
    write_sums(copy)
    before = contents(copy)
    for _ in range(2):
        with pytest.raises(RecordError, match="ends inside a line"):
            verify(copy)
    assert contents(copy) == before
    path.write_bytes(b"")
    write_sums(copy)
    with pytest.raises(RecordError, match="is empty"):
        verify(copy)


def test_the_hash_of_the_ledger_is_that_of_its_file(copy):
    forged = forge(load(copy), row={"ledger_sha256": "0" * 64})
    records.write(forged, copy / "record.json")
    write_sums(copy)
    with pytest.raises(RecordError, match="ledger_sha256"):
        verify(copy)


def sealed(data, path):
    data["digest"] = records.content_digest(data)
    path.write_text(records.jsonio.canonical(data), encoding="utf-8")
    return path


def test_a_claim_about_clients_is_refused_as_before_a_run(finished, tmp_path):
    data = json.loads((finished / "record.json").read_text())
    data["claim"]["unit"] = data["resolved"]["claim"]["unit"] = "client"
    data["given"] = data["given"].replace('unit = "example"', 'unit = "client"')
    for row in data["mechanisms"]:
        row["proven"]["unit"] = "client"
        for attack in row["attacks"]:
            attack["bound"]["unit"] = "client"
    with pytest.raises(RecordError, match="clip single records"):
        verify(sealed(data, tmp_path / "record.json"))
    with pytest.raises(ConfigError, match=r"claim\.unit: .*clip single records"):
        config.parse(data["resolved"])  # what run, run --dry-run and account FILE do first


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("report.html", "CONSISTENT", "REFUTED"),
        ("tables/bounds.csv", "mine", "theirs"),
        ("figures/bounds.svg", "claimed epsilon", "proven epsilon"),
    ],
)
def test_a_page_that_shows_something_else_is_noticed(copy, name, old, new):
    """Only what is seen is changed: the record inside the report stays as it was."""
    text = (copy / name).read_bytes().decode()
    start, mark, rest = text.partition('<script type="application/json"')
    assert old in start
    (copy / name).write_bytes((start.replace(old, new) + mark + rest).encode())
    with pytest.raises(RecordError, match=f"{name} was changed after the run"):
        verify(copy)
    write_sums(copy)
    with pytest.raises(RecordError, match=f"{name} shows something else"):
        verify(copy)
    if name == "report.html":
        with pytest.raises(RecordError, match="shows something else"):
            verify(copy / name)


def test_a_page_too_many_or_too_few_is_noticed(copy):
    (copy / "tables" / "bounds.csv").rename(copy / "tables" / "more.csv")
    write_sums(copy)
    with pytest.raises(RecordError, match=r"tables/bounds\.csv is missing"):
        verify(copy)
    (copy / "tables" / "more.csv").rename(copy / "tables" / "bounds.csv")
    (copy / "tables" / "more.csv").write_text("epsilon\n0\n")
    write_sums(copy)
    with pytest.raises(RecordError, match=r"tables/more\.csv is no page"):
        verify(copy)


def test_pictures_of_another_matplotlib_are_not_compared_but_all_else_is(copy):
    from privassay.audit_reports.render.folder import write_report

    found = load(copy)
    other = replace(found.environment, packages=found.environment.packages | {"matplotlib": "1.0"})
    changed = replace(found, environment=other).sealed()
    records.write(changed, copy / "record.json")
    write_report(changed, copy)
    (copy / "figures" / "bounds.svg").write_text("<svg>another hand drew it</svg>")
    write_sums(copy)
    assert any("not checked: pictures" in line for line in verify(copy))
    page = copy / "report.html"
    page.write_text(page.read_text().replace("Hazards", "No hazards", 1))
    write_sums(copy)
    with pytest.raises(RecordError, match="report.html shows something else"):
        verify(copy)


def test_sentences_of_another_version_are_said_not_to_be_checked_first_of_all(finished, tmp_path):
    found = load(finished)
    other = replace(found.environment, source_sha256="0" * 64)
    path = tmp_path / "record.json"
    path.write_text(replace(found, environment=other).sealed().text())
    assert verify(path).words, "another version, the same words"
    path.write_text(replace(found, environment=other, limits=("None.",)).sealed().text())
    result = verify(path)
    assert not result.words and result.heading.startswith("NUMBERS VERIFIED, WORDS NOT")
    assert any("limits" in line for line in result.unchecked)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["mechanisms"][0].update(extra=1), r"unknown field mechanisms\[0\]\.extra"),
        (lambda d: d["claim"].pop("event"), r"missing field claim\.event"),
        (lambda d: d["mechanisms"][0].update(releases=True), "releases is True"),
        (lambda d: d["mechanisms"][0].pop("profile"), "profile"),
        (lambda d: d.update(schema_version=1), "schema version 1"),
    ],
)
def test_a_record_of_another_version_is_called_one(finished, tmp_path, change, words):
    data = json.loads((finished / "record.json").read_text())
    change(data)
    with pytest.raises(RecordError, match=f"written by another version.*{words}"):
        verify(sealed(data, tmp_path / "record.json"))


def test_what_was_not_looked_at_is_listed(finished):
    whole, alone = verify(finished), verify(finished / "record.json")
    assert not any("pages" in line or "ledger" in line for line in whole.unchecked)
    for words in ("pages", "ledger_sha256", "scores_sha256", "accuracies"):
        assert any(words in line for line in alone.unchecked), words

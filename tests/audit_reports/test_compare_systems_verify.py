"""What `verify` asks of a system's record whose author computed everything else again."""

import copy
import itertools
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import dp_accounting.dp_event as dpe
import pytest
from typer.testing import CliRunner

from privassay.accountant import jsonio
from privassay.accountant.account import account
from privassay.accountant.errors import ConfigError, RecordError
from privassay.accountant.event_json import to_dict
from privassay.audit_reports import sums
from privassay.audit_reports.cli.app import app
from privassay.audit_reports.comparison.folder import PAGES, PRODUCT, held
from privassay.audit_reports.comparison.statistics import Mean
from privassay.audit_reports.comparison.system_page import against_epsilon, marks
from privassay.audit_reports.comparison.system_reading import limits, reading
from privassay.audit_reports.comparison.system_record import (
    SystemRecord,
    contrasts,
    parse,
    results_sha256,
    row_of,
)
from privassay.audit_reports.comparison.system_verify import checked_row
from privassay.audit_reports.comparison.systems import compare
from privassay.audit_reports.comparison.tables import grid
from privassay.audit_reports.record import content_digest
from privassay.audit_reports.verify import verify as verify_file
from privassay.audit_reports.without_folders import without_folders
from privassay.fl_core.data import assets
from privassay.fl_core.models.language_tokens import byte_tokenizer
from privassay.fl_core.systems import base
from privassay.fl_core.systems.base import Outcome
from privassay.fl_core.systems.dp_fedlora_data import load
from privassay.fl_core.systems.dp_fpl_noise import calibrated
from privassay.mechanisms.dpsgd import DpSgd
from privassay.mechanisms.released.dp_fpl import AsReleasedDpFpl

from ..fl_core.systems.tiny import DP_FPL, WORDS, save_clip

NOTHING = to_dict(dpe.NoOpDpEvent())
BUDGET, CLAIM, FREE = ("promptfl", 8.0), ("dpfpl as released", 0.4), ("promptfl", None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("verify")
    save_clip(path / "clip", WORDS)
    text = DP_FPL.replace('encoder = "clip"', f'encoder = "{path / "clip"}"  # see {path}/clip')
    assert str(path) in text
    (path / "dp_fpl.toml").write_text(text)
    return path


@pytest.fixture(scope="module")
def text(folder):
    said = {"model.encoder": str(folder / "clip")}
    compare(folder / "dp_fpl.toml", out=folder / "run", overrides=said)
    return (folder / "run" / "comparison.json").read_text(encoding="utf-8")


def verify(text, name):
    """Lines of what `verify` finds of this comparison.json."""
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "comparison.json"
        path.write_text(text, encoding="utf-8")
        return list(verify_file(path))


def again(text, change):
    """The record after `change`, with all that follows computed again, and sealed."""
    data = copy.deepcopy(json.loads(text))
    change({(row["name"], row["asked"]): row for row in data["rows"]})
    record = jsonio.load(SystemRecord, data)
    file = base.parse(record.resolved)
    plans, rows = file.rows(), []
    for plan, row in zip(plans, record.rows, strict=True):
        outcome = Outcome(
            values=row.values, event=row.event, releases=row.releases, notes=row.notes,
            digest=row.run_digest,
        )  # fmt: skip
        rows.append(row_of(file, plan, outcome))
    found = tuple(rows)
    differences = contrasts(file.metrics(), plans, found)
    return replace(
        record,
        rows=found,
        contrasts=differences,
        reading=reading(file, found, differences),
        limits=limits(file),
        results_sha256=results_sha256(found),
    ).sealed()


def events(value):
    def change(rows):
        for row in rows.values():
            if row["event"] is not None:
                row["event"] = value

    return change


def one(key, **values):
    return lambda rows: rows[key].update(values)


def cheaper(rows):
    """A budget row with the events of less than its budget."""
    rows[BUDGET]["event"] = to_dict(dpe.GaussianDpEvent(2.0))


TAMPERED = {
    "no event at all": (events(NOTHING), "must be infinite"),
    "a budget for nothing": (one(BUDGET, event=NOTHING), "must be the budget 8"),
    "a budget cheaper than asked": (cheaper, "must be the budget 8"),
    "a budget overdrawn": (
        one(BUDGET, event=to_dict(dpe.GaussianDpEvent(0.5))),
        "must be the budget 8",
    ),
    "a released program for nothing": (one(CLAIM, event=NOTHING), "must be above 0"),
    "a bound where there is no noise": (
        one(FREE, event=to_dict(dpe.GaussianDpEvent(1.0))),
        "must be infinite",
    ),
    "a control that costs": (
        one(("zero-shot", None), event=to_dict(dpe.GaussianDpEvent(1.0))),
        "must be 0",
    ),
    "no release": (one(BUDGET, releases=0), "0 releases"),
    "a release where no record enters": (one(("zero-shot", None), releases=1), "1 releases"),
}


def test_the_record_itself_is_computed_again_to_the_letter(text):
    assert again(text, lambda rows: None).text() == text
    assert any("label and limits from the file" in line for line in verify(text, "it"))


@pytest.mark.parametrize("name", TAMPERED)
def test_costs_that_do_not_fit_the_plan_are_noticed(name, text):
    change, words = TAMPERED[name]
    with pytest.raises(RecordError, match=words):
        verify(again(text, change).text(), "it")


@pytest.mark.parametrize("left", [("local",), ("neighbour",), ()])
def test_a_metric_that_is_left_out_is_noticed(left, text):
    """Of one row: no mean, difference or gap follows from what is not there."""
    record = parse(text)
    file = base.parse(record.resolved)
    (plan,) = (plan for plan in file.rows() if (plan.name, plan.asked) == BUDGET)
    (row,) = (row for row in record.rows if row.key == plan.key)
    outcome = Outcome(
        values={name: row.values[name] for name in left},
        event=row.event,
        releases=row.releases,
        digest=row.run_digest,
    )
    with pytest.raises(RecordError, match="metrics"):
        checked_row(file, plan, outcome)
    rows = tuple(replace(r, values=outcome.values) if r.key == plan.key else r for r in record.rows)
    forged = replace(record, rows=rows, results_sha256=results_sha256(rows)).sealed()
    with pytest.raises(RecordError, match="metrics"):
        verify(forged.text(), "it")


def test_sentences_of_another_version_are_not_compared_but_its_numbers_are(text):
    record = parse(text)
    other = replace(record.environment, source_sha256="0" * 64)
    worded = replace(record, environment=other, limits=("Worded differently.",)).sealed()
    (said,) = (line for line in verify(worded.text(), "it") if "another version" in line)
    assert "not checked" in said
    same_words = replace(record, environment=other).sealed()
    assert not any("another version" in line for line in verify(same_words.text(), "it"))
    with pytest.raises(RecordError, match="limits"):
        verify(replace(record, limits=("Worded differently.",)).sealed().text(), "it")
    moved = replace(worded, rows=again(text, cheaper).rows).sealed()
    with pytest.raises(RecordError, match="must be the budget"):
        verify(moved.text(), "it")
    with pytest.raises(RecordError, match=r"another version(.|\n)*git_revision"):
        verify(replace(worded, rows=worded.rows[1:]).sealed().text(), "it")


def resealed(text, change):
    data = json.loads(text)
    change(data)
    data["digest"] = content_digest(data)
    return jsonio.canonical(data)


ELSEWHERE = "0" * 64  # hash of another version of the program


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["rows"][0].update(view="outsider: everything"), "view of"),
        (lambda d: d["rows"][0].update(unit="client"), "unit of"),
        (lambda d: d["rows"][0].update(extra=1), r"unknown field rows\[0\]\.extra"),
        (lambda d: d.update(system_version=True), "version"),
        (lambda d: d["rows"][0].update(releases=True), "releases is True"),
        (lambda d: d.update(given="title = 'x'"), "given"),
        (lambda d: d.update(changes=["--set seed=77"]), "says seed = 77"),
        (lambda d: d["rows"].pop(), r"the record lacks \('', '[^']*', [^)]*\)"),
        (lambda d: d["rows"].append(d["rows"][0]), "more than once"),
        (lambda d: d["rows"].reverse(), "another order"),
    ],
)
@pytest.mark.parametrize("source", [None, ELSEWHERE])
def test_what_no_other_version_may_word_anew_is_always_checked(text, change, words, source):
    def both(data):
        change(data)
        if source:
            data["environment"]["source_sha256"] = source

    with pytest.raises(RecordError, match=words) as caught:
        verify(resealed(text, both), "it")
    assert len(str(caught.value)) < 1000, "whole lists are in it"


def test_numbers_without_their_words_are_said_first(text, tmp_path):
    def change(data):
        data["environment"]["source_sha256"] = ELSEWHERE
        data["reading"] = ["Privacy is perfect at epsilon 0.001."]

    path = tmp_path / "comparison.json"
    path.write_text(resealed(text, change), encoding="utf-8")
    found = verify_file(path)
    assert not found.words and found.heading.startswith("NUMBERS VERIFIED, WORDS NOT")
    path.write_text(text, encoding="utf-8")
    found = verify_file(path)
    assert found.words and any("pages" in line for line in found.unchecked)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_shows_something_else_is_noticed(folder, text, tmp_path, name):
    run = Path(shutil.copytree(folder / "run", tmp_path / "run"))
    assert any("pages show what the record says" in line for line in verify_file(run))
    page = (run / name).read_bytes()
    (run / name).write_bytes(page.replace(b"0.", b"9.", 1))
    with pytest.raises(RecordError, match=f"{name} was changed after the run"):
        verify_file(run)
    sums.write_sums(run, PRODUCT)
    with pytest.raises(RecordError, match=f"{name} shows something else"):
        verify_file(run)
    (run / name).unlink()
    sums.write_sums(run, PRODUCT)
    with pytest.raises(RecordError, match=f"does not cover {name}"):
        verify_file(run)


def test_pages_are_shown_and_written_again_from_the_record(folder, text, tmp_path):
    run = Path(shutil.copytree(folder / "run", tmp_path / "run"))
    command = CliRunner()
    shown = command.invoke(app, ["show", str(run)])
    assert shown.exit_code == 0 and parse(text).title in shown.stdout
    assert json.loads(command.invoke(app, ["show", str(run), "--json"]).stdout) == json.loads(text)
    for name in PAGES:
        (run / name).write_text("gone")
    done = command.invoke(app, ["report", str(run)])
    assert done.exit_code == 0 and str(run / "comparison.html") in done.stdout
    for name in PAGES:
        assert (run / name).read_bytes() == (folder / "run" / name).read_bytes()
    found = json.loads(command.invoke(app, ["verify", str(run), "--json"]).stdout)
    assert found["words_verified"] is True and found["verified"] and found["not_checked"]
    with pytest.raises(RecordError, match=r"comparison\.json"):
        verify_file(run / "comparison.html")


def test_one_comparison_at_a_time_has_a_folder(folder, tmp_path):
    with held(tmp_path / "run"):
        with pytest.raises(ConfigError, match="another run or comparison is being written"):
            compare(folder / "dp_fpl.toml", out=tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())
    with held(tmp_path / "run"):  # free again
        pass


def test_captions_and_ticks_are_of_what_is_there(text):
    record = parse(text)
    file = base.parse(record.resolved)
    drawn = [row for row in record.rows if row.proven is not None]
    assert "published programs" in marks(drawn) and '"none": no bound' in marks(drawn)
    few = [row for row in drawn if row.key == ("", *BUDGET)]
    assert "published" not in marks(few) and "none" not in marks(few)
    assert "Levels" not in marks(few) and "Grey" not in marks(few)
    assert ">none<" in against_epsilon(file, drawn, "a", "").svg
    assert ">none<" not in against_epsilon(file, few, "b", "").svg


def test_every_visible_gap_is_listed(text):
    """Those counted at the end are those named before, on either side of zero."""
    record = parse(text)
    file = base.parse(record.resolved)
    rows = tuple(
        replace(row, gap=Mean(value, value - 0.01, value + 0.01))
        for row, value in zip(record.rows, itertools.cycle((-0.5, 0.0, 0.5)), strict=False)
    )
    said = " ".join(reading(file, rows, ()))
    above, below = (sum(sign * row.gap.value > 0.1 for row in rows) for sign in (1, -1))
    assert f"visibly above neighbour in {above} of {len(rows)} rows" in said
    assert f"Visibly below in {below}: " in said and f"; {above + below} do." in said


def test_markdown_holds_no_html():
    assert grid(("a",), [("<script>|x</script>",)]).endswith("| &lt;script>\\|x&lt;/script> |")


def test_no_folder_of_the_machine_gets_into_the_record(folder, text):
    assert str(folder) not in text and str(folder.parent) not in text
    record = parse(text)
    assert record.resolved["model"]["encoder"] == "clip"
    assert 'encoder = "clip"  # see clip' in record.given
    assert record.changes == ("--set model.encoder='clip'",)
    for name in ("comparison.html", "comparison.md", "comparison.csv"):
        assert str(folder) not in (folder / "run" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("/srv/models/clip", "clip"),
        ("~/clip/", "clip"),
        ("C:\\Users\\jo\\clip", "clip"),
        ("\\\\host\\share\\clip", "clip"),
        ('a = "/home/jo smith/clip"', 'a = "clip"'),
        ("""a = "/home/jo o'hara/clip" """, 'a = "clip" '),
        ("""a = '/home/jo "x"/clip'""", "a = 'clip'"),
        ('a = "C:\\\\Users\\\\jo smith\\\\clip"', 'a = "clip"'),
        ("a = '/home/jo/it.toml' # from ~jo/it.toml", "a = 'it.toml' # from it.toml"),
        ("clip", "clip"),
        ("models/clip", "models/clip"),
        ("../clip and ./clip", "../clip and ./clip"),
        ("train/test at 3 / 4, see https://example.org/a/b", None),
        ("<b>bold</b> and <br/>", None),
    ],
)  # fmt: skip
def test_only_absolute_paths_are_cut(given, wanted):
    assert without_folders(given) == (given if wanted is None else wanted)


def test_a_folder_that_would_mean_something_else_is_refused(folder, tmp_path):
    path = tmp_path / "it.toml"
    path.write_text(DP_FPL.replace('encoder = "clip"', f'encoder = "{folder}/substitute"'))
    with pytest.raises(ConfigError, match="means something else"):
        compare(path, out=tmp_path / "run")
    assert not Path(tmp_path / "run").exists()


def test_contexts_that_the_text_encoder_has_no_room_for_are_said(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"takes 16.*\n.*context_length"):
        compare(
            folder / "dp_fpl.toml", out=tmp_path / "run", overrides={"model.context_length": 30}
        )
    assert not (tmp_path / "run").exists()


def test_mails_that_are_the_same_to_the_model_are_dealt_once():
    if assets.state("spam-assassin") != "ready":
        pytest.skip("the asset spam-assassin is not here")
    file = base.load(Path(__file__).parents[2] / "examples" / "dp_fedlora.toml")

    def encode(texts):
        return byte_tokenizer().encode(texts, 64)

    pool = load(file.data, encode)
    rows = [tuple(row) for row in encode(pool.texts).tolist()]
    assert len(set(rows)) == len(rows) == 2 * file.data.per_class
    assert sum(pool.y) == file.data.per_class
    with pytest.raises(ConfigError, match="different mails"):  # a few first letters are few rows
        load(file.data, lambda texts: byte_tokenizer().encode(texts, 1))


@pytest.mark.parametrize("view, wanted", [("outsider", 140.254676), ("peer", 59.848692)])
def test_a_clipped_batch_costs_the_same_whatever_happens_to_the_record(view, wanted):
    """Both gradients are in a ball of radius C: 2C apart at most, removed or exchanged."""
    system = AsReleasedDpFpl()
    for adjacency in ("zero-out", "replace-one"):
        event = system.event(view, adjacency=adjacency)
        found = account(event, adjacency=adjacency).epsilon(1e-5).upper
        assert found == pytest.approx(wanted, abs=1e-6)
    unknown = account(system.event(view), adjacency="replace-one").epsilon(1e-5).upper
    assert unknown > 2.0 * wanted
    each = AsReleasedDpFpl(clip="example").event(view, adjacency="replace-one")
    assert each == AsReleasedDpFpl(clip="example").event(view), "here an exchange moves it more"


@pytest.mark.parametrize("rate, rounds", [(0.5, 4), (1.0, 3)])
def test_noise_of_the_rows_meets_its_budget_under_replace_one(rate, rounds):
    terms = {"adjacency": "replace-one", "epsilon": 8.0, "delta": 1e-5}
    noise = calibrated(**terms, sampling_rate=rate, rounds=rounds)
    step = DpSgd(clip_norm=1.0, noise_multiplier=noise, sampling_rate=rate, expected_batch=1.0)
    bound = account(step.event(rounds), adjacency="replace-one")
    assert 8.0 * (1.0 - 1e-3) <= bound.epsilon(1e-5).upper <= 8.0

"""What `verify` asks of a system's record whose author computed everything else again."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import dp_accounting.dp_event as dpe
import pytest

from privassay.accountant import jsonio
from privassay.accountant.account import account
from privassay.accountant.errors import ConfigError, RecordError
from privassay.accountant.event_json import to_dict
from privassay.audit_reports.comparison.system_reading import limits, reading
from privassay.audit_reports.comparison.system_record import (
    SystemRecord,
    contrasts,
    parse,
    results_sha256,
    row_of,
)
from privassay.audit_reports.comparison.system_verify import checked_row, verify
from privassay.audit_reports.comparison.systems import compare
from privassay.audit_reports.comparison.without_folders import without_folders
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

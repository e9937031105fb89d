"""`compare` for whole systems: what it writes, that it resumes, and that forgers are noticed."""

import csv
import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from privassay.accountant.bounds import Interval
from privassay.accountant.errors import ConfigError, RecordError
from privassay.audit_reports.comparison.statistics import Mean
from privassay.audit_reports.comparison.system_page import render
from privassay.audit_reports.comparison.system_reading import reading
from privassay.audit_reports.comparison.system_record import (
    contrasts,
    parse,
    results_sha256,
    row_of,
)
from privassay.audit_reports.comparison.system_tables import (
    differences,
    markdown,
    sections,
    summary,
    terminal,
)
from privassay.audit_reports.comparison.systems import compare
from privassay.audit_reports.verify import verify
from privassay.fl_core.systems import base
from privassay.fl_core.systems.base import Outcome

from ..fl_core.systems.tiny import DP_FPL, SECFPP, WORDS, save_clip

COMMAND = [sys.executable, "-m", "privassay.audit_reports.cli.app"]


class Heard:
    def __init__(self):
        self.said, self.computed = [], []

    def say(self, text):
        self.said.append(text)

    def bar(self, name):
        return lambda done, total: self.computed.append(name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("systems")
    save_clip(path / "clip", WORDS)
    (path / "dp_fpl.toml").write_text(DP_FPL)
    (path / "secfpp.toml").write_text(SECFPP)
    return path


@pytest.fixture(scope="module")
def made(folder):
    heard = Heard()
    record = compare(folder / "dp_fpl.toml", out=folder / "run", reporter=heard)
    return folder / "run", record, heard


@pytest.fixture(scope="module")
def secfpp(folder):
    return compare(folder / "secfpp.toml", out=folder / "secfpp")


def by_name(record, name, asked=None, part=""):
    (found,) = (r for r in record.rows if r.key == (part, name, asked))
    return found


def test_every_row_is_there_and_its_epsilon_is_the_proven_one(made):
    _, record, _ = made
    file = base.parse(record.resolved)
    assert [row.key for row in record.rows] == [plan.key for plan in file.rows()]
    for row in record.rows:
        if row.name == "zero-shot" or row.name.endswith(base.NO_RECORDS):
            assert (row.proven.lower, row.proven.upper) == (0.0, 0.0), "no record enters"
        elif row.released:
            assert row.asked < row.proven.upper < math.inf, "a batch clip costs more than is said"
        elif row.asked is not None:
            assert row.asked - 1e-6 <= row.proven.upper <= row.asked, row
        else:
            assert row.proven.lower == math.inf, f"{row.name} has no noise"


def test_every_row_is_measured_for_each_seed_and_client(made):
    for row in made[1].rows:
        for metric in ("local", "neighbour"):
            assert [len(by_client) for by_client in row.values[metric]] == [5] * 3
        pairs = zip(row.values["local"], row.values["neighbour"], strict=True)
        gaps = [(sum(a) - sum(b)) / 5 for a, b in pairs]
        assert row.gap.value == pytest.approx(sum(gaps) / 3, abs=1e-12)


def test_rounding_is_no_difference(made):
    """One prompt for all: local and neighbour are means of the same numbers in another order."""
    row = by_name(made[1], "joint prompt")
    assert row.gap == Mean(0.0, 0.0, 0.0) and not row.gap.excludes_zero


def test_the_record_verifies_as_folder_and_as_file_without_torch(made):
    folder, record, _ = made
    assert parse((folder / "comparison.json").read_text()) == record
    code = (
        "import sys\n"
        "from privassay.audit_reports.verify import verify\n"
        f"print(verify({str(folder)!r}))\n"
        f"verify({str(folder / 'comparison.json')!r})\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and f"{len(record.rows)} rows" in done.stdout, done.stderr


def test_a_lost_row_is_computed_again_and_no_other(made, tmp_path):
    folder, record, _ = made
    again = Path(shutil.copytree(folder, tmp_path / "again"))
    (lost,) = again.glob("stages/dplora_8-*.json")
    lost.unlink()
    heard = Heard()
    second = compare(folder.parent / "dp_fpl.toml", out=again, reporter=heard)
    assert {name.partition(" ")[2] for name in heard.computed} == {"dplora 8"}
    assert second.results_sha256 == record.results_sha256
    assert (second.rows, second.contrasts) == (record.rows, record.contrasts)


def test_workers_give_the_same_record_and_keep_what_is_done(made, tmp_path):
    """Two processes compute what two lost rows held; whoever computed it, it is the same."""
    folder, record, _ = made
    again = Path(shutil.copytree(folder, tmp_path / "again"))
    for name in ("dplora_8", "promptfl_8", "zero_shot"):
        (lost,) = again.glob(f"stages/{name}-*.json")
        lost.unlink()
    heard = Heard()
    second = compare(folder.parent / "dp_fpl.toml", out=again, workers=2, reporter=heard)
    assert not heard.computed, "all in other processes"
    said = [re.sub(r": [0-9.]+ s, .*", "", line).partition(" ") for line in heard.said]
    assert {words for number, _, words in said if number in ("1/3", "2/3", "3/3")} == {
        "dplora 8", "promptfl 8", "zero-shot",
    }  # fmt: skip
    assert not any("reused" in line and "dplora 8" in line for line in heard.said)
    assert second.rows == record.rows and second.results_sha256 == record.results_sha256
    assert len(list(again.glob("stages/*.json"))) == len(list(folder.glob("stages/*.json")))


def changed(record, **changes):
    """A forged row: that of promptfl at 8."""
    rows = list(record.rows)
    place = [row.key for row in rows].index(("", "promptfl", 8.0))
    rows[place] = replace(rows[place], **changes)
    return {"rows": tuple(rows), "results_sha256": results_sha256(tuple(rows))}


def valued(record, **values):
    row = by_name(record, "promptfl", 8.0)
    return changed(record, values=row.values | values)


FORGED = {
    "values": (lambda r: valued(r, local=((1.0,) * 5,) * 3), "gap"),
    "other clients": (
        lambda r: valued(
            r, local=tuple(v[::-1] for v in by_name(r, "promptfl", 8.0).values["local"])
        ),
        "local, client",
    ),
    "impossible": (lambda r: valued(r, local=((1.5,) * 5,) * 3), "does not lie in"),
    "fewer seeds": (lambda r: valued(r, local=((0.1,) * 5,) * 2), "seeds and clients"),
    "an unknown metric": (lambda r: valued(r, skill=((0.1,) * 5,) * 3), "unknown"),
    "mean": (
        lambda r: changed(r, means={"local": Mean(0.9, 0.8, 1.0), "neighbour": Mean(1, 1, 1)}),
        "local",
    ),
    "gap": (lambda r: changed(r, gap=Mean(0.9, 0.8, 1.0)), "gap"),
    "no gap": (lambda r: changed(r, gap=None), "gap"),
    "epsilon": (lambda r: changed(r, proven=Interval(0.1, 0.1)), "proven epsilon"),
    "event": (lambda r: changed(r, event=by_name(r, "promptfl").event), "proven epsilon"),
    "no event": (lambda r: changed(r, event=None), "event"),
    "no claim": (lambda r: changed(r, dp="no DP claim", proven=None, event=None), "rows"),
    "budget": (lambda r: changed(r, asked=0.5), "rows"),
    "view": (lambda r: changed(r, view="nobody"), "rows"),
    "protection": (lambda r: changed(r, protection="perfect"), "rows"),
    "a row left out": (lambda r: {"rows": r.rows[1:]}, "rows"),
    "a difference left out": (lambda r: {"contrasts": r.contrasts[1:]}, "list of differences"),
    "reading": (lambda r: {"reading": ("DP-FPL is best.",)}, "reading"),
    "limits": (lambda r: {"limits": ()}, "limits"),
    "label": (lambda r: {"label": "CLIP"}, "label"),
    "system": (lambda r: {"system": "secfpp"}, "system"),
    "delta": (lambda r: {"delta": 1e-2}, "delta"),
    "hash": (lambda r: {"results_sha256": "0" * 64}, "hash of the results"),
    "version": (lambda r: {"system_version": 2}, "version"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forger_who_seals_again_is_noticed(name, made, tmp_path):
    make, words = FORGED[name]
    forged = replace(made[1], **make(made[1])).sealed()
    path = tmp_path / "comparison.json"
    path.write_text(forged.text(), encoding="utf-8")
    with pytest.raises(RecordError, match=words):
        verify(path)


def test_a_changed_digit_is_noticed(made, tmp_path):
    text = (made[0] / "comparison.json").read_text(encoding="utf-8")
    places = [m.start() for m in re.finditer(r"\d", text)]
    path = tmp_path / "comparison.json"
    for place in places[:: max(1, len(places) // 15)]:
        digit = str((int(text[place]) + 1) % 10)
        path.write_text(text[:place] + digit + text[place + 1 :], encoding="utf-8")
        with pytest.raises(RecordError):
            verify(path)


def test_tables_hold_the_numbers_of_the_record(made):
    folder, record, _ = made
    with (folder / "comparison.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * len(record.rows)
    for line in lines:
        asked = float(line["asked_epsilon (nats)"]) if line["asked_epsilon (nats)"] else None
        row = by_name(record, line["row"], asked)
        assert float(line["proven_epsilon_upper (nats)"]) == row.proven.upper
        assert float(line["mean"]) == row.means[line["metric"]].value
        found = float(line["client 2_mean"])
        assert found == row.groups[line["metric"]]["client 2"].value
    page = (folder / "comparison.html").read_text(encoding="utf-8")
    assert "<b>DP-FPL" not in page and "&lt;b&gt;DP-FPL" in page
    text = (folder / "comparison.md").read_text(encoding="utf-8")
    released = by_name(record, "dpfpl as released", 0.4)
    assert re.search(rf"\| dpfpl as released \| 0.4 claimed \| {released.proven.upper:.3g}", text)
    assert "no bound" in text and "inf" not in text.split("## Limits")[0].replace("inform", "")


def test_the_reading_says_what_a_claim_costs(made):
    record = made[1]
    cost = by_name(record, "dpfpl as released", 0.4).proven.upper
    (said,) = (s for s in record.reading if s.startswith("dpfpl as released"))
    assert f"0.4 costs {cost:.3g}" in said and "outsider" in said


def forged_values(record, name, asked, values):
    """The rows and differences that other values would have given."""
    file = base.parse(record.resolved)
    plans, rows = file.rows(), []
    for plan, row in zip(plans, record.rows, strict=True):
        found = row.values
        if (row.name, row.asked) == (name, asked):
            found = found | {"local": values}
        outcome = Outcome(
            values=found, event=row.event, releases=row.releases, digest=row.run_digest
        )
        rows.append(row_of(file, plan, outcome))
    return file, rows, contrasts(file.metrics(), plans, tuple(rows))


def test_the_reading_follows_the_numbers(made):
    best = ((0.9,) * 5, (0.91,) * 5, (0.92,) * 5)
    text = " ".join(reading(*forged_values(made[1], "dpfpl", 8.0, best)))
    assert re.search(r"In local, against zero-shot, visibly better:[^.]* dpfpl at 8[;.]", text)
    assert re.search(r"local is visibly above neighbour in [^:]*:[^.]* dpfpl at 8[;.]", text)
    worst = ((0.0,) * 5,) * 3
    text = " ".join(reading(*forged_values(made[1], "dpfpl", 8.0, worst)))
    assert not re.search(r"against zero-shot, visibly better:[^.]* dpfpl at 8[;.]", text)
    assert re.search(r"against zero-shot, [^.]*\. Visibly worse:[^.]* dpfpl at 8[;.]", text)


def test_the_reading_counts_the_differences_that_are_shown(made):
    record, file = made[1], base.parse(made[1].resolved)
    shown = sum(cell != "" for _, rows in sections(record, file)
                for line in differences(record, file, rows)[1] for cell in line[2:])  # fmt: skip
    gaps = [r.gap for r in record.rows if (r.gap.lower, r.gap.upper) != (0.0, 0.0)]
    assert 0 < len(gaps) < len(record.rows), "one prompt for all has no gap"
    assert f"of {shown} differences in local and {len(gaps)} of local less" in record.reading[-1]
    excluded = [c.difference for c in record.contrasts if c.metric == "local"] + gaps
    assert f"{sum(each.excludes_zero for each in excluded)} do." in record.reading[-1]


def test_differences_are_taken_at_the_same_epsilon(made):
    """A row at 8 is compared with its twin at 8; one without a budget with that without noise."""
    best = ((0.9,) * 5,) * 3
    for asked, moved in ((8.0, 8.0), (None, None)):
        *_, found = forged_values(made[1], "dpfpl, no records", asked, best)
        less = {
            (c.name, c.asked): c.difference.value
            for c in found
            if (c.metric, c.against) == ("local", f"{c.name}, no records")
        }
        assert len(less) == 15  # the program as released at its claim
        for (name, budget), value in less.items():
            assert (value < -0.5) == ((name, budget) == ("dpfpl", moved)), (name, budget, value)


def test_rows_without_a_dp_claim_are_in_no_figure_and_no_table_with_the_others(secfpp):
    file = base.parse(secfpp.resolved)
    silent = [r for r in secfpp.rows if r.dp == "no DP claim"]
    assert {r.name for r in silent} == {"as_described", "sound_mpc"}
    assert all(r.proven is None and r.event is None for r in silent)
    budgets = {r.name for r in secfpp.rows if r.asked is not None}
    assert budgets == {"sound_dp", "sound_dp, no records"}
    for _, rows in sections(secfpp, file):
        assert len({r.dp for r in rows}) == 1 and len({r.part for r in rows}) == 1
    lines = "\n".join(terminal(secfpp, file))
    assert re.search(r"as_described +no DP claim", lines)
    assert "make no DP claim" in lines and "make no DP claim" in markdown(secfpp, file)
    page = render(secfpp, file)
    for figure in re.findall(r"<figure>.*?</figure>", page, flags=re.DOTALL):
        assert "as_described</th>" not in figure and "sound_mpc<" not in figure
        assert "sound_dp" in figure and "clusters" in figure
        assert "in the clear" not in figure, "the plaintext twins of the modes"
    assert not any(
        c.name == "sound_dp" and c.against in ("as_described",) for c in secfpp.contrasts
    )


def test_shares_change_nothing_and_a_single_domain_has_no_oracle(secfpp):
    for part in ("several domains", "one domain"):
        for mode in ("as_described", "sound_mpc"):
            found = [by_name(secfpp, name, part=part) for name in (mode, f"{mode} in the clear")]
            assert found[0].notes == found[1].notes, "the same clusters"
            assert abs(found[0].means["local"].value - found[1].means["local"].value) < 0.05
    assert not any(r.key == ("one domain", "clusters by domain", None) for r in secfpp.rows)
    alike = by_name(secfpp, "zero-shot", part="one domain")
    assert set(alike.groups["local"]) == {"mnist"}
    each = by_name(secfpp, "zero-shot", part="several domains")
    assert set(each.groups["local"]) == {"mnist", "optdigits", "mnist_m", "synth"}


def of_one_view(record):
    """Without the rows whose epsilon is for broadcasts alone."""
    return replace(record, rows=tuple(r for r in record.rows if "pfedprompt" not in r.name))


def test_epsilons_of_different_things_are_in_different_tables_and_figures(made):
    file = base.parse(made[1].resolved)
    assert len(sections(made[1], file)) == 3 and render(made[1], file).count("<figure>") == 2
    record = of_one_view(made[1])
    assert len(sections(record, file)) == 1 and render(record, file).count("<figure>") == 1
    rows = tuple(
        replace(row, view="server", unit="client") if row.name.startswith("dpfpl") else row
        for row in record.rows
    )
    mixed = replace(record, rows=rows)
    found = sections(mixed, file)
    keys = [row.key for _, part in found for row in part]
    assert len(keys) == len(rows) and set(keys) == {row.key for row in rows}
    for heading, part in found:
        if part[0].asked is None:
            assert heading == "controls and rows without a budget"
            assert all(row.asked is None for row in part)
        else:
            assert {(row.unit, row.view) for row in part} == {(part[0].unit, part[0].view)}
            assert heading == f"epsilon of one {part[0].unit}, zero-out; {part[0].view}"
    assert len(found) == 3
    for figure in re.findall(r"<figure>.*?</figure>", render(mixed, file), flags=re.DOTALL):
        assert ("dplora" in figure) != ("dpfpl" in figure)
        assert "level: zero-shot" in figure


def test_a_figure_shows_twins_at_their_budget_and_levels_and_lines_apart(made):
    page = render(made[1], base.parse(made[1].resolved))
    figures = re.findall(r"<figure>.*?</figure>", page, flags=re.DOTALL)
    assert len(figures) == 2, "one for served prompts, one for broadcasts alone"
    for figure in figures:
        assert "grey and hollow: on no records" in figure and "level: zero-shot" in figure
    without = replace(made[1], rows=tuple(r for r in made[1].rows if ", no records" not in r.name))
    assert "grey and hollow:" not in render(without, base.parse(made[1].resolved))


def test_headings_keep_names_and_captions_are_short(secfpp):
    page = render(secfpp, base.parse(secfpp.resolved))
    assert "rows without a DP claim</h2>" in page and "a dp claim" not in page
    for caption in re.findall(r"<figcaption>.*?</figcaption>", page, flags=re.DOTALL):
        assert "visibly better" not in caption


def test_an_epsilon_says_what_it_does_not_cover(secfpp):
    file = base.parse(secfpp.resolved)
    for _, rows in sections(secfpp, file):
        for line in summary(file, rows)[1]:
            bounded = line[0] == "sound_dp"
            assert ("served prompts: no bound" in line[2]) == bounded, line
    assert "8 (members: cluster prompts" in render(secfpp, file)


def test_secfpp_verifies(secfpp, folder):
    assert any("rows are those of its file" in line for line in verify(folder / "secfpp"))


@pytest.mark.parametrize(
    ("text", "changes", "words"),
    [
        (DP_FPL, ("clip_norm", "clip_nrom"), "did you mean 'clip_norm'"),
        (DP_FPL, ('"dp_fpl"', '"dpfpl"'), "did you mean 'dp_fpl'"),
        (DP_FPL, ("seeds = 3", "seeds = 2"), "compare.seeds"),
        (DP_FPL, ("epsilons = [8.0]", "epsilons = [0.4, 8.0]"), "must fall"),
        (DP_FPL, ('"zero-out"', '"add-remove"'), "fixed size"),
        (DP_FPL, ('unit = "example"', 'unit = "client"'), "one by one"),
        (DP_FPL, ("batch_size = 4", "batch_size = 3"), "whole batches"),
        (DP_FPL, ("clients = 5", "clients = 4"), "every class has one client"),
        (DP_FPL, ("rank = 1", "rank = 2"), "all of it"),
        (SECFPP, ('unit = "client"', 'unit = "example"'), "a whole client"),
        (SECFPP, ("clients = 8", "clients = 9"), "as many for each"),
    ],
)
def test_a_wrong_file_names_the_place(text, changes, words, tmp_path):
    path = tmp_path / "wrong.toml"
    assert changes[0] in text
    path.write_text(text.replace(*changes, 1))
    with pytest.raises(ConfigError, match=words):
        base.load(path)


def test_too_few_pictures_are_said_before_anything_runs(folder, tmp_path):
    with pytest.raises(ConfigError, match="has 174 pictures of a class"):
        compare(
            folder / "dp_fpl.toml",
            out=tmp_path / "run",
            overrides={"data.train_per_class": 200},
        )
    assert not (tmp_path / "run").exists()


def test_the_command_prints_json_or_tables(made, tmp_path):
    folder, record, _ = made
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    words = ["compare", str(folder.parent / "dp_fpl.toml"), "--out", str(copy)]
    done = subprocess.run([*COMMAND, *words, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results_sha256"] == record.results_sha256
    assert "reused" in done.stderr
    lines = terminal(record, base.parse(record.resolved))
    assert re.search(r"^promptfl +8 +8 +0\.\d{3} ± 0\.\d{3}", "\n".join(lines), re.MULTILINE)

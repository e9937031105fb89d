"""The command `compare`: what it writes, that it resumes, and that forgers are noticed."""

import csv
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

from privassay.accountant.bounds import Interval
from privassay.accountant.errors import ConfigError, RecordError
from privassay.audit_reports.comparison import record as records
from privassay.audit_reports.comparison.reading import NOT_VISIBLE, reading, shown
from privassay.audit_reports.comparison.run import compare
from privassay.audit_reports.comparison.statistics import Contrast, Mean, contrasts, mean
from privassay.audit_reports.comparison.tables import terminal
from privassay.audit_reports.verify import verify
from privassay.fl_core import comparison

from .browser import Browser, find_chromium

COMMAND = [sys.executable, "-m", "privassay.audit_reports.cli.app"]
FILE = """
title = "Tiny | <b>comparison</b>"
[claim]
adjacency = "add-remove"
unit = "example"
delta = 1e-5
[data]
source = "optdigits"
clients = 3
train_per_class = 10
test_per_class = 8
[model]
backbone = "pixels"
dimensions = 24
[release]
rounds = 2
clip_norm = 1.0
public_count = 10
[training]
local_epochs = 1
batch_size = 50
learning_rate = 0.02
adapter_width = 4
hidden_width = 8
[compare]
methods = ["fedproto", "fedpcl", "fedavg"]
mechanisms = ["igpp", "vpp", "igpp_textbook", "groupwise_global_clip", "dppl_mean"]
epsilons = [1.0, 8.0]
"""


class Heard:
    def __init__(self):
        self.said, self.computed = [], []

    def say(self, text):
        self.said.append(text)

    def bar(self, name):
        return lambda done, total: self.computed.append((name, done, total))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    (folder / "tiny.toml").write_text(FILE)
    heard = Heard()
    record = compare(folder / "tiny.toml", out=folder / "run", reporter=heard)
    return folder / "run", record, heard


def privassay(*words, cwd):
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_row_is_there_and_its_epsilon_is_the_proven_one(made):
    _, record, heard = made
    file = comparison.parse(record.resolved)
    assert [(r.method, r.name, r.asked) for r in record.rows] == comparison.rows(file.compare)
    for row in record.rows:
        if row.name in ("igpp", "vpp", "random-groups", "dppl_mean"):
            assert row.asked - 1e-6 <= row.proven.upper <= row.asked, row
        elif row.name == "igpp_textbook":
            assert row.proven.upper < 0.9 * row.asked, row
        elif row.name == "groupwise_global_clip":
            assert row.proven.upper > 1.2 * row.asked, row
        else:
            assert row.asked is None and row.proven.upper in (0.0, float("inf")), row
    assert heard.computed[-1] == ("fedavg", 1, 1) and ("fedpcl", 15, 15) in heard.computed


def test_the_record_verifies_as_folder_and_as_file(made):
    folder, record, _ = made
    for path in (folder, folder / "comparison.json"):
        assert any(f"{len(record.rows)} rows" in line for line in verify(path))
    assert records.parse((folder / "comparison.json").read_text()) == record


def test_a_mechanism_over_its_budget_is_marked_and_not_compared(made):
    _, record, _ = made
    assert not any(
        c.name == "groupwise_global_clip" and c.against == "igpp" for c in record.contrasts
    )
    assert any(
        c.name == "groupwise_global_clip" and c.against == "local-only" for c in record.contrasts
    )
    assert "groupwise_global_clip is at no budget" in " ".join(record.reading)
    lines = terminal(record)
    for name, cell in (
        ("groupwise_global_clip", r"0\.\d+ at 3\.9\d+ +0\.\d+ at 39\.\d+$"),
        ("igpp_textbook", r"0\.\d+ at 0\.\d+ +0\.\d+ at [67]\.\d+$"),
        ("igpp", r"0\.\d{3} +0\.\d{3}$"),
    ):
        assert any(re.search(rf"fedproto +{name} +{cell}", line) for line in lines), lines


def test_tables_hold_the_numbers_of_the_record(made):
    folder, record, _ = made
    with (folder / "comparison.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(record.rows)
    for line, row in zip(lines, record.rows, strict=True):
        assert (line["method"], line["variant"]) == (row.method, row.name)
        assert float(line["proven_epsilon_upper (nats)"]) == row.proven.upper
        assert float(line["mean_accuracy (fraction)"]) == row.mean.value
        assert float(line["optdigits-1_mean (fraction)"]) == row.clients[1].value
    text = (folder / "comparison.md").read_text(encoding="utf-8")
    (textbook,) = (
        r for r in record.rows
        if (r.method, r.name, r.asked) == ("fedpcl", "igpp_textbook", 1.0)
    )  # fmt: skip
    assert textbook.proven.upper == pytest.approx(0.7414, abs=0.06)
    part = text.split("## fedpcl")[1]
    line = next(line for line in part.splitlines() if line.startswith("| igpp_textbook"))
    shown_epsilon = float(line.split("|")[2])
    assert textbook.proven.upper <= shown_epsilon <= textbook.proven.upper + 1e-3
    assert f"{textbook.mean.value:.3f} ± " in line


def test_the_page_is_self_contained_and_escapes_names(made):
    folder, record, _ = made
    page = (folder / "comparison.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page and "<script" not in page
    for attribute in ("src=", 'href="http', "url(http", "@import"):
        assert attribute not in page, attribute
    assert "<b>comparison</b>" not in page and "&lt;b&gt;comparison" in page
    for sentence in record.reading:
        assert sentence.replace("'", "&#x27;") in page, sentence
    for hint in (str(Path.home()), "/tmp/", str(folder)):
        assert hint not in page and hint not in record.text(), hint
    assert len(page) < 1 << 20


def test_it_repeats_without_computing_and_a_lost_method_gives_the_same_results(made, tmp_path):
    folder, record, _ = made
    again = Path(shutil.copytree(folder, tmp_path / "again"))
    (lost,) = again.glob("stages/fedpcl-*.json")
    lost.unlink()
    heard = Heard()
    second = compare(folder.parent / "tiny.toml", out=again, reporter=heard)
    assert {name for name, _, _ in heard.computed} == {"fedpcl"}
    assert second.results_sha256 == record.results_sha256
    assert (second.rows, second.contrasts) == (record.rows, record.contrasts)


def test_killed_and_resumed_gives_the_same_results(made, tmp_path):
    folder, record, _ = made
    file = folder.parent / "tiny.toml"
    code = (
        "import os, signal\n"
        "from privassay.audit_reports.comparison.run import compare\n"
        "class Deadly:\n"
        "    def say(self, text): pass\n"
        "    def bar(self, name):\n"
        "        def tell(done, total):\n"
        "            if name == 'fedproto' and done == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return tell\n"
        f"compare({str(file)!r}, out={str(tmp_path)!r}, reporter=Deadly())\n"
    )
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert dead.returncode == -9, dead.stderr
    assert not (tmp_path / "comparison.json").exists()
    heard = Heard()
    resumed = compare(file, out=tmp_path, reporter=heard)
    assert {"nearest-prototype: done earlier, reused"} <= set(heard.said)
    assert {name for name, _, _ in heard.computed} == {"fedproto", "fedpcl", "fedavg"}
    assert resumed.results_sha256 == record.results_sha256


def test_fresh_computes_everything_again_and_other_things_are_left_alone(made, tmp_path):
    folder, record, _ = made
    again, heard = Path(shutil.copytree(folder, tmp_path / "again")), Heard()
    small = {"compare.methods": ["fedproto"], "compare.mechanisms": ["igpp"]}
    fresh = compare(
        folder.parent / "tiny.toml", out=again, fresh=True, overrides=small, reporter=heard
    )
    assert {name for name, _, _ in heard.computed} == {
        "local-only", "nearest-prototype", "fedproto"
    }  # fmt: skip
    assert "--set compare.methods=['fedproto']" in fresh.changes
    (again / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="holds other things"):
        compare(folder.parent / "tiny.toml", out=again, fresh=True)
    assert (again / "comparison.json").exists() and (again / "thesis.txt").exists()


def test_any_changed_digit_is_noticed(made, tmp_path):
    text = (made[0] / "comparison.json").read_text(encoding="utf-8")
    places = [m.start() for m in re.finditer(r"\d", text)]
    path = tmp_path / "comparison.json"
    for place in places[:: max(1, len(places) // 40)]:
        digit = str((int(text[place]) + 1) % 10)
        path.write_text(text[:place] + digit + text[place + 1 :], encoding="utf-8")
        with pytest.raises(RecordError):
            verify(path)


def row_with(record, **changes):
    """A forged fifth row (of the nearest prototype, random-once), or what the function gives."""
    rows = list(record.rows)
    rows[4] = replace(rows[4], **changes)
    return {"rows": tuple(rows), "results_sha256": records.results_sha256(tuple(rows))}


def swapped(record):
    """The same mean, by other seeds: paired differences move, means do not."""
    return row_with(record, accuracy=tuple(reversed(record.rows[4].accuracy)))


FORGED = {
    "accuracy": (lambda r: row_with(r, accuracy=((1.0,) * 3,) * 5), "mean"),
    "seeds in another order": (swapped, "less"),
    "impossible": (lambda r: row_with(r, accuracy=((1.5,) * 3,) * 5), "outside"),
    "fewer seeds": (lambda r: row_with(r, accuracy=r.rows[4].accuracy[:4]), "seeds and clients"),
    "mean": (lambda r: row_with(r, mean=Mean(0.9, 0.8, 1.0)), "mean"),
    "a client's interval": (
        lambda r: row_with(r, clients=(Mean(0.9, 0.8, 1.0), *r.rows[4].clients[1:])),
        "optdigits-0",
    ),
    "a client left out": (
        lambda r: row_with(r, clients=r.rows[4].clients[1:]),
        "means of clients",
    ),
    "epsilon": (lambda r: row_with(r, proven=Interval(0.1, 0.1)), "proven epsilon"),
    "event": (lambda r: row_with(r, event=r.rows[5].event), "proven epsilon"),
    "budget": (lambda r: row_with(r, asked=0.5), "rows"),
    "a row left out": (lambda r: {"rows": r.rows[:4] + r.rows[5:]}, "rows"),
    "hash": (lambda r: {"results_sha256": "0" * 64}, "hash of the results"),
    "a difference left out": (lambda r: {"contrasts": r.contrasts[1:]}, "list of differences"),
    "difference": (
        lambda r: {
            "contrasts": (
                replace(r.contrasts[0], difference=Mean(0.5, 0.4, 0.6)),
                *r.contrasts[1:],
            )
        },
        "less",
    ),
    "reading": (lambda r: {"reading": ("VPP is best.",)}, "reading"),
    "limits": (lambda r: {"limits": ()}, "limits"),
    "delta": (lambda r: {"delta": 1e-2}, "delta"),
    "adjacency": (lambda r: {"adjacency": "zero-out"}, "adjacency"),
    "seeds": (lambda r: {"seeds": 50}, "seeds"),
    "version": (lambda r: {"comparison_version": 2}, "version"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forger_who_seals_again_is_noticed(name, made, tmp_path):
    make, words = FORGED[name]
    forged = replace(made[1], **make(made[1])).sealed()
    path = tmp_path / "comparison.json"
    path.write_text(forged.text(), encoding="utf-8")
    with pytest.raises(RecordError, match=words):
        verify(path)


def test_the_command_prints_json_and_only_that_and_its_verdict_is_checked(made, tmp_path):
    folder, record, _ = made
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    done = privassay("compare", folder.parent / "tiny.toml", "--out", copy, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results_sha256"] == record.results_sha256
    assert "reused" in done.stderr
    path = copy / "comparison.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"seeds": 5', '"seeds": 6', 1))
    done = privassay("verify", path, cwd=tmp_path)
    assert done.returncode == 2 and "was changed after it was written" in done.stderr, done


def test_a_wrong_file_gives_one_message_and_exit_2(tmp_path):
    (tmp_path / "wrong.toml").write_text(FILE.replace("epsilons =", "epsilon ="))
    done = privassay("compare", "wrong.toml", cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert "did you mean 'epsilons'?" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be read"), (b"\xff\xfe", "UTF-8"), (b"a =", "TOML")]
)
def test_an_unreadable_file(content, words, tmp_path):
    path = tmp_path / "file.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        compare(path, out=tmp_path / "run")


def test_what_does_not_fit_is_said_before_anything_runs(made, tmp_path):
    file = made[0].parent / "tiny.toml"
    for overrides, words in (
        ({"method": {"fedproto": {"weigt": 1.0}}}, "did you mean 'weight'?"),
        ({"data.clients": 40}, "40 clients"),
    ):
        heard = Heard()
        with pytest.raises(ValueError, match=re.escape(words)):
            compare(file, out=tmp_path / "run", overrides=overrides, reporter=heard)
        assert not heard.computed and not (tmp_path / "run").exists()


# Statistics and sentences, on numbers made for them.


def test_the_interval_is_student_s_and_covers():
    rng = np.random.default_rng(3)
    misses = 0
    for _ in range(1000):
        values = rng.normal(0.3, 1.0, 5)
        found = mean(values.tolist())
        lower, upper = student.interval(0.95, 4, values.mean(), values.std(ddof=1) / 5**0.5)
        assert (found.lower, found.upper) == pytest.approx((lower, upper), rel=1e-12)
        misses += not found.lower <= 0.3 <= found.upper
    assert 25 <= misses <= 75, misses  # binomial(1000, .05), beyond 99.9 % on both sides


def row(record, name, accuracy, *, method="fedproto", asked=1.0):
    (like,) = (r for r in record.rows if (r.method, r.name, r.asked) == (method, name, asked))
    return replace(like, accuracy=tuple((a,) * 3 for a in accuracy))


def test_differences_are_paired_over_seeds(made):
    """Seeds that differ much hide nothing that is the same in all of them."""
    base = (0.1, 0.9, 0.3, 0.7, 0.5)
    better = tuple(b + 0.01 + 0.001 * i for i, b in enumerate(base))
    changed = {
        (r.method, r.name, r.asked): r for r in made[1].rows
    } | {
        ("fedproto", "igpp", 1.0): row(made[1], "igpp", base),
        ("fedproto", "vpp", 1.0): row(made[1], "vpp", better),
    }  # fmt: skip
    found = contrasts(list(changed.values()), distillation=False)
    (vpp,) = (
        c for c in found
        if (c.method, c.name, c.asked, c.against) == ("fedproto", "vpp", 1.0, "igpp")
    )  # fmt: skip
    assert vpp.difference.excludes_zero and vpp.difference.value == pytest.approx(0.012)
    assert mean(better).lower < mean(base).value < mean(better).upper, "unpaired hides it"


def test_an_interval_that_holds_zero_is_said_to_show_nothing():
    assert shown(Mean(0.01, -0.01, 0.03)).endswith(NOT_VISIBLE)
    assert shown(Mean(0.0, 0.0, 0.0)).endswith(NOT_VISIBLE)
    assert NOT_VISIBLE not in shown(Mean(0.02, 0.01, 0.03))
    assert NOT_VISIBLE not in shown(Mean(-0.02, -0.03, -0.01))


def told(made, change):
    file = comparison.parse(made[1].resolved)
    altered = [
        replace(c, difference=change(c)) if change(c) is not None else c for c in made[1].contrasts
    ]
    return " ".join(reading(altered, file.compare))


UP, FLAT, DOWN = Mean(0.05, 0.04, 0.06), Mean(0.0, -0.01, 0.01), Mean(-0.05, -0.06, -0.04)


def test_the_reading_follows_the_numbers(made):
    def flat(c: Contrast) -> Mean:
        return FLAT

    text = told(made, flat)
    assert "vpp against igpp at equal epsilon, 4 pairs: no difference visible" in text
    assert "random-groups against vpp at equal epsilon, 4 pairs: no difference visible" in text
    nowhere = "no method, not even at the largest epsilon"
    assert f"better than local-only in {nowhere}, and than both kinds of random" in text
    assert "better in none of 2 methods" in text and "of no visible use" in text

    text = told(made, lambda c: UP if c.name == "vpp" and c.against == "igpp" else FLAT)
    assert "vpp against igpp at equal epsilon, 4 pairs: 4 visibly better, 0 visibly worse" in text
    assert "vpp is visibly better than igpp at 2 and worse at 0 of 2 epsilons" in text

    text = told(made, lambda c: DOWN if c.name == "random-groups" else FLAT)
    assert "random-groups against vpp at equal epsilon, 4 pairs: 0 visibly better, 4" in text

    def late(c: Contrast) -> Mean:
        wins = c.method == "fedpcl" and c.against.startswith("random-") and c.asked in (None, 8.0)
        return UP if wins else FLAT

    text = told(made, late)
    assert "than both kinds of random prototypes in fedpcl from epsilon 8" in text
    assert "beat both kinds of random ones in 1 of 2 methods (fedpcl)" in text

    assert "dppl_mean against random-once, 4 pairs: 1 visibly better, 0 visibly worse" in text

    def only_fresh(c: Contrast) -> Mean:
        return UP if c.against == "random-prototypes" else FLAT

    text = told(made, only_fresh)
    assert "beat both kinds of random ones in none of 2 methods" in text, "a fixed target may help"
    assert f"than both kinds of random prototypes in {nowhere}" in text

    def early(c: Contrast) -> Mean:
        wins = c.method == "fedpcl" and c.against.startswith("random-") and c.asked == 1.0
        return UP if wins else FLAT

    assert f"than both kinds of random prototypes in {nowhere}" in told(made, early), "chance"


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="no chromium")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1200, 420])
def test_the_page_fits_and_asks_for_nothing(made, width, dark):
    path = made[0] / "comparison.html"
    with Browser() as browser:
        browser.open(path, width=width, dark=dark)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.complaints() == []
        assert browser.requests() == [path.as_uri()]

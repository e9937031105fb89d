"""A real run from an audit file to a record, and what happens when it is repeated or killed."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from privassay.accountant.errors import ConfigError
from privassay.accountant.ledger import Ledger
from privassay.audit_reports import record as records
from privassay.audit_reports.run import run
from privassay.audit_reports.verify import load, verify
from privassay.audit_reports.without_folders import without_folders

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "audit_reports" / "templates" / "audit.toml"
QUICK = {"training.seeds": 2, "training.local_epochs": 1}
TIMES = ("seconds", "created", "digest")


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def test_the_template_gives_a_verdict_that_can_be_verified(finished):
    record = load(finished)
    assert record.verdict.word == "CONSISTENT"
    assert record.mechanism("mine").verdict.word == "CONSISTENT"
    assert record.mechanism("planted-bug").verdict.word == "REFUTED"
    assert verify(finished)


def test_the_measured_mu_is_near_the_proven_one_and_not_above(finished):
    mine = load(finished).mechanism("mine")
    (attack,) = mine.attacks
    assert attack.attainable_mu == pytest.approx(mine.proven.mu.upper, rel=1e-9)
    assert 0.8 * mine.proven.mu.lower < attack.bound.mu_lower <= mine.proven.mu.upper


def test_the_ledger_on_disk_gives_the_recorded_bound(finished):
    from privassay.accountant.account import account

    for row in load(finished).mechanisms:
        path = finished / "ledger" / f"{row.name}.jsonl"
        with Ledger(adjacency="add-remove", unit="example", path=path) as ledger:
            assert len(ledger.entries) == row.releases == 2 * 4 * 10  # rounds, clients, classes
            assert account(ledger.event(), adjacency="add-remove").mu == row.proven.mu


def test_the_record_fits_the_checked_in_schema_which_is_the_code_s(finished):
    checked_in = json.loads((ROOT / "audit_reports" / "record.schema.json").read_text())
    assert checked_in == records.schema()
    jsonschema.validate(json.loads((finished / "record.json").read_text()), checked_in)


def test_a_record_names_no_path_and_no_user(finished):
    text = (finished / "record.json").read_text() + (finished / "report.html").read_text()
    for hint in (str(Path.home()), str(finished), str(ROOT), "/tmp/", "/home/"):
        assert hint not in text, hint


def test_an_absolute_data_path_is_cut():
    assert without_folders({"path": ["/somewhere/me/pictures"]}) == {"path": ["pictures"]}
    assert without_folders('path = "/höme/älice/bilder"') == 'path = "bilder"'
    template = TEMPLATE.read_text(encoding="utf-8")
    assert without_folders(template) == template  # its comments speak of relative paths


def test_a_repeated_run_reuses_every_stage_and_gives_the_same_record(finished, tmp_path):
    import shutil

    again = Path(shutil.copytree(finished, tmp_path / "again"))
    said = []

    class Heard:
        def say(self, text):
            said.append(text)

        def bar(self, name):
            raise AssertionError(f"{name} was computed again")

    second = run(TEMPLATE, out=again, overrides=QUICK, reporter=Heard())
    assert without_times(records.jsonio.dump(second)) == without_times(
        json.loads((finished / "record.json").read_text())
    )
    assert sum("reused" in text for text in said) == 3, said
    for name in ("ledger/mine.jsonl", "transcripts/mine/uploads.npy"):
        assert (again / name).read_bytes() == (finished / name).read_bytes()


def test_another_seed_is_another_audit(finished, tmp_path):
    other = run(TEMPLATE, out=tmp_path, overrides=QUICK | {"seed": 5}, only="mine")
    mine = load(finished).mechanism("mine")
    assert other.mechanism("mine").attacks[0].scores_sha256 != mine.attacks[0].scores_sha256
    assert other.mechanism("mine").proven == mine.proven


def test_killed_and_resumed_gives_the_same_record(finished, tmp_path):
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from privassay.audit_reports import run as module\n"
        "class Deadly:\n"
        "    def say(self, text):\n"
        "        if text.startswith('utility'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "    def bar(self, name): return lambda done, total: None\n"
        f"module.run({str(TEMPLATE)!r}, out={str(tmp_path)!r}, overrides={QUICK!r},"
        " reporter=Deadly())\n"
    )
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert dead.returncode == -9, dead.stderr
    assert not (tmp_path / "record.json").exists()
    lines = (tmp_path / "ledger" / "mine.jsonl").read_text().splitlines()
    assert len(lines) == 81, "the ledger lost releases"
    resumed = run(TEMPLATE, out=tmp_path, overrides=QUICK)
    assert without_times(records.jsonio.dump(resumed)) == without_times(
        json.loads((finished / "record.json").read_text())
    )
    assert len((tmp_path / "ledger" / "mine.jsonl").read_text().splitlines()) == 81


def test_fresh_removes_only_what_a_run_writes(finished, tmp_path):
    import shutil

    folder = Path(shutil.copytree(finished, tmp_path / "mixed"))
    (folder / "thesis.txt").write_text("precious")
    run(TEMPLATE, out=folder, overrides=QUICK, fresh=True, only="mine")
    assert (folder / "thesis.txt").read_text() == "precious"


def test_a_control_that_does_not_behave_makes_the_audit_invalid(tmp_path):
    text = TEMPLATE.read_text().replace('kind = "noise_halved"', 'kind = "igpp"')
    path = tmp_path / "audit.toml"
    path.write_text(text)
    record = run(path, out=tmp_path / "run", overrides=QUICK)
    assert record.verdict.word == "INVALID" and record.verdict.exit_code == 2
    assert "planted-bug should be REFUTED" in record.verdict.sentence


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"claim.unit": "client"}, "clip single records"),
        ({"estimate.target_client": "nobody"}, "names client 'nobody'"),
        ({"estimate.target_class": 10}, "the classes are 0..9"),
        ({"data.clients": 40}, "40 clients"),
        ({"model.dimensions": 2000}, "span"),
        ({"release.leading_fraction": 0.001}, "leaves a group empty"),
        ({"model.backbone": "resnet"}, "backbone must be"),
    ],
)
def test_what_does_not_fit_the_data_is_an_error_before_anything_runs(overrides, words, tmp_path):
    with pytest.raises(ConfigError) as caught:
        run(TEMPLATE, out=tmp_path, overrides=QUICK | overrides)
    assert words in str(caught.value), caught.value
    assert not (tmp_path / "ledger").exists()


def test_another_audit_in_the_same_folder_leaves_nothing_of_the_first(copy):
    run(TEMPLATE, out=copy, overrides=QUICK | {"seed": 8}, only="planted-bug")
    names = {p.name for p in copy.rglob("*")}
    assert not {"mine", "mine.jsonl"} & names and not any("mine" in n for n in names), names
    assert verify(copy)


def test_worlds_that_are_too_close_give_no_power(tmp_path):
    """A clip bound that no record reaches: even halved noise hides, and the verdict must say so."""
    loose = QUICK | {"release.clip_norm": 100.0}
    row = run(TEMPLATE, out=tmp_path, only="planted-bug", overrides=loose).mechanism("planted-bug")
    (attack,) = row.attacks
    assert attack.attainable_mu < 0.1 * row.proven.mu.upper
    assert attack.power.mu > 10 * row.proven.mu.upper
    assert row.verdict.word == "INCONCLUSIVE", row.verdict


@pytest.mark.parametrize(("stddev", "word"), [(0.01, "UNSUPPORTED"), (1.0, "CONSISTENT")])
def test_declared_noise_is_judged_and_not_calibrated(stddev, word, tmp_path):
    text = TEMPLATE.read_text().replace(
        'description = "isotropic noise, global clip"', f"noise_stddevs = [{stddev}]"
    )
    (tmp_path / "audit.toml").write_text(text)
    record = run(tmp_path / "audit.toml", out=tmp_path / "run", only="mine", overrides=QUICK)
    row = record.mechanism("mine")
    assert row.verdict.word == word, row.verdict
    # add-remove: mu = clip_norm / (public_count * stddev) * sqrt(rounds)
    assert row.proven.mu.upper == pytest.approx(1.0 / (30 * stddev) * 2**0.5, rel=1e-12)


@pytest.mark.parametrize("adjacency", ["replace-one", "zero-out"])
def test_other_adjacencies_end_to_end(adjacency, tmp_path):
    record = run(TEMPLATE, out=tmp_path, overrides=QUICK | {"claim.adjacency": adjacency})
    mine = record.mechanism("mine")
    assert record.verdict.word == "CONSISTENT", record.verdict
    assert mine.attacks[0].attainable_mu == pytest.approx(mine.proven.mu.upper, rel=1e-9)
    assert mine.attacks[0].bound.mu_lower > 0.8 * mine.proven.mu.lower
    assert verify(tmp_path)


def test_a_point_claim_end_to_end(tmp_path):
    record = run(TEMPLATE, out=tmp_path, overrides=QUICK | {"claim.curve": "point"})
    assert record.mechanism("mine").verdict.word == "INCONCLUSIVE", "one point has little power"
    assert record.verdict.word == "INVALID", "the planted bug hides behind one point"
    assert verify(tmp_path)


def test_a_folder_that_is_no_run_is_not_touched(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.svg").write_text("precious")
    for fresh in (False, True):
        with pytest.raises(ConfigError, match="no run folder"):
            run(TEMPLATE, out=tmp_path, overrides=QUICK, fresh=fresh)
    assert (tmp_path / "figures" / "mine.svg").read_text() == "precious"


def test_what_the_command_line_changed_is_recorded(finished):
    record = load(finished)
    assert "--set training.seeds=2" in record.changes
    assert "--set training.seeds=2" in (finished / "report.html").read_text()


def test_pictures_of_a_folder_are_never_shown_nor_where_they_are(tmp_path):
    """Even if the domain is called like the synthetic one."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    for name in ("synth", "other"):
        for label in ("a", "b"):
            folder = tmp_path / "data" / name / label
            folder.mkdir(parents=True)
            for i in range(12):
                pixels = generator.integers(0, 256, (28, 28, 3)).astype("uint8")
                Image.fromarray(pixels).save(folder / f"{i}.png")
    changes = {
        "data.source": "folder",
        "data.path": str(tmp_path / "data"),
        "claim.source": f"page 3 of {tmp_path}/paper.pdf",
        "data.clients": 2,
        "data.train_per_class": 8,
        "data.test_per_class": 4,
        "model.backbone": "pixels",
        "inversion": {"client": "synth", "classes": [0], "mechanisms": ["mine"], "steps": 2},
        "attack": [{"name": "informed_linear", "adversary": "server", "trials": 200}],
    }
    (tmp_path / "audit.toml").write_text(TEMPLATE.read_text())
    record = run(tmp_path / "audit.toml", out=tmp_path / "run", overrides=QUICK | changes)
    assert record.inversion and all(row.pictures is None for row in record.inversion)
    assert record.resolved["data"]["path"] == "data"
    assert record.claim.source == "page 3 of paper.pdf"
    for name in ("record.json", "report.html"):
        assert str(tmp_path) not in (tmp_path / "run" / name).read_text(encoding="utf-8")
    assert verify(tmp_path / "run")


def test_the_file_may_change_while_it_runs_and_the_folder_is_held(finished, tmp_path):
    path, out, tried = tmp_path / "audit.toml", tmp_path / "out", []
    path.write_text(TEMPLATE.read_text())

    class Meddling:
        def say(self, text):
            if text.startswith("utility") and not tried:
                path.unlink()
                with pytest.raises(ConfigError, match="being written"):
                    run(TEMPLATE, out=out, overrides=QUICK)
                tried.append(text)

        def bar(self, name):
            return lambda done, total: None

    record = run(path, out=out, overrides=QUICK, only="mine", reporter=Meddling())
    assert tried and record.given == load(finished).given
    assert verify(out)

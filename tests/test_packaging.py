"""The wheel holds all five folders and what they read at run time; the links are relative."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("accountant", "mechanisms", "attacks", "fl_core", "audit_reports")


def test_the_wheel_holds_everything(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in FOLDERS:
        wanted = {
            f"privassay/{path.relative_to(ROOT).as_posix()}"
            for path in (ROOT / folder).rglob("*.py")
        }
        assert wanted and wanted <= names, wanted - names
    for file in (
        "privassay/__init__.py",
        "privassay/py.typed",
        "privassay/audit_reports/record.schema.json",
        "privassay/audit_reports/templates/audit.toml",
        "privassay/audit_reports/templates/report.html.j2",
    ):
        assert file in names, file
    assert not any(n.partition("/")[0] in FOLDERS for n in names), "a top-level package leaked"


def test_the_links_are_relative():
    for folder in FOLDERS:
        assert os.readlink(ROOT / "src" / "privassay" / folder) == f"../../{folder}"


def test_the_import_rule_notices_a_planted_breach(tmp_path):
    """A rule that cannot fail protects nothing: copy the tree, break it, and ask again."""
    import shutil

    ignore = shutil.ignore_patterns(".venv", "runs", ".git", "__pycache__", ".*_cache")
    tree = Path(shutil.copytree(ROOT, tmp_path / "tree", symlinks=True, ignore=ignore))

    def kept():
        code = (
            "import sys; from importlinter.cli import lint_imports_command as main; "
            "sys.argv = ['lint-imports', '--no-cache']; main()"
        )
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=tree,
            env=os.environ | {"PYTHONPATH": str(tree / "src")},
            capture_output=True,
            text=True,
            check=False,
        )

    assert kept().returncode == 0, kept().stdout
    for file, line in (
        ("accountant/check.py", "from ..mechanisms import base\n"),
        ("attacks/scores.py", "from ..mechanisms import base\n"),
        ("accountant/ledger.py", "def late():\n    import torch\n"),
    ):
        before = (tree / file).read_text()
        (tree / file).write_text(before + "\n\n" + line)
        assert kept().returncode != 0, f"{line!r} in {file} went unnoticed"
        (tree / file).write_text(before)

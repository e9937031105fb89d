"""One small real run, shared by all tests that read a record. No download."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def finished_record(tmp_path_factory):
    """Run folder of the template audit, with fewer seeds."""
    from privassay.audit_reports.run import run

    folder = tmp_path_factory.mktemp("finished")
    template = ROOT / "audit_reports" / "templates" / "audit.toml"
    run(template, out=folder, overrides={"training.seeds": 2, "training.local_epochs": 1})
    return folder

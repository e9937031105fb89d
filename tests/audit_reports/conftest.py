"""Shared by the report tests: a private cache folder, and the sample beside this file."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode: no test package to import from


@pytest.fixture(autouse=True, scope="session")
def private_report_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRIVASSAY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def record(private_report_cache):
    from sample import sample_record

    return sample_record()


@pytest.fixture(scope="session")
def report(record):
    from privassay.audit_reports.render.html import render

    return render(record)

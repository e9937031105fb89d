"""The run that the tests of records share."""

import shutil

import pytest


@pytest.fixture(scope="session")
def finished(finished_record):
    """Folder of a finished run; read it, never write to it."""
    return finished_record


@pytest.fixture
def copy(finished, tmp_path):
    """The same run in a folder that a test may change."""
    return shutil.copytree(finished, tmp_path / "copy")

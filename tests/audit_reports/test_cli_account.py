"""`privassay account` prints mu only where it is near what epsilon says."""

import json
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-m", "privassay.audit_reports.cli.app"]


def account(*words):
    done = subprocess.run(
        [*COMMAND, "account", *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_mu_of_what_is_sampled():
    words = ("--noise-multiplier", ".8", "--rate", ".01", "--rounds", "1000")
    text = account(*words)
    assert "epsilon in [3.14" in text and "mu" not in text
    (row,) = json.loads(account(*words, "--json"))
    assert row["mu"] is None
    # sqrt(1000)/0.8: the mu of 1000 Gaussians
    assert row["mu_upper_without_amplification"] == pytest.approx(1000**0.5 / 0.8)


def test_the_mu_of_gaussians_is_printed():
    words = ("--noise-multiplier", "2", "--rate", "1", "--rounds", "4")
    assert "mu <= 1;" in account(*words)
    (row,) = json.loads(account(*words, "--json"))
    assert row["mu"] == {"lower": 1.0, "upper": 1.0}
    assert "mu_upper_without_amplification" not in row

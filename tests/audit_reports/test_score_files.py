import json

import numpy as np
import pandas as pd
import pytest

from privassay.accountant.errors import DesignError
from privassay.audit_reports.score_files import read_scores

SHIFT = 1.5


@pytest.fixture
def table():
    generator = np.random.default_rng(0)
    member = generator.integers(0, 2, 2000)
    return pd.DataFrame({"score": generator.normal(size=2000) + SHIFT * member, "member": member})


def call(*arguments):
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "privassay.audit_reports.cli.app", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_three_formats_are_read_alike(table, tmp_path):
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_parquet(tmp_path / "a.parquet")
    np.savez(tmp_path / "a.npz", score=table["score"], member=table["member"].astype(bool))
    found = [read_scores(tmp_path / f"a.{kind}") for kind in ("csv", "parquet", "npz")]
    for one in found[1:]:
        np.testing.assert_allclose(one.score, found[0].score, rtol=1e-15)
        assert np.array_equal(one.member, found[0].member)


@pytest.mark.parametrize(
    "text, message",
    [
        ("score,membr\n1,0\n", "member is missing"),
        ("score,member\n1,2\n", "must hold 0 or 1"),
        ("score,member\nx,1\n", "must hold numbers"),
        ("", "cannot be read"),
    ],
)
def test_what_is_no_table(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DesignError, match=message):
        read_scores(tmp_path / "a.csv")


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", score=np.array([print], dtype=object), member=np.zeros(1))
    with pytest.raises(DesignError, match="cannot be read"):
        read_scores(tmp_path / "a.npz")
    with pytest.raises(DesignError, match="not from"):
        (tmp_path / "a.pkl").write_text("")
        read_scores(tmp_path / "a.pkl")


def test_the_command(table, tmp_path):
    path = tmp_path / "a.csv"
    table.to_csv(path, index=False)
    ask = ("estimate", path, "--adjacency", "add-remove")
    code, out = call(*ask)
    assert code == 0 and "band, exact" in out and "verdict" not in out
    code, out = call(*ask, "--mu", 1, "--json")
    found = json.loads(out)
    assert code == 3 and found["verdict"] == "REFUTED"
    assert 1.0 < found["bounds"][0]["bound"]["mu_lower"] < SHIFT
    code, out = call(*ask, "--mu", 1.5)
    assert code == 4 and "INCONCLUSIVE" in out
    code, out = call(*ask, "--mu", 1, "--design", "one_run", "--method", "band")
    assert code == 2 and 'not valid for design "one_run"' in out


def test_groups_and_runs_share_the_error(table, tmp_path):
    path = tmp_path / "a.csv"
    table["group"] = np.where(np.arange(2000) % 2, "x", "y")
    table.to_csv(path, index=False)
    code, out = call("estimate", path, "--adjacency", "add-remove", "--json")
    bounds = json.loads(out)["bounds"]
    assert [b["group"] for b in bounds] == ["x", "y"]
    assert all(b["bound"]["confidence"] == 0.975 for b in bounds)
    table["run"] = np.arange(2000) // 500
    table.to_csv(path, index=False)
    code, out = call("estimate", path, "--adjacency", "add-remove")
    assert code == 2 and "not independent" in out
    code, out = call("estimate", path, "--adjacency", "add-remove", "--design", "one_run", "--json")
    assert code == 0 and len(json.loads(out)["bounds"]) == 8

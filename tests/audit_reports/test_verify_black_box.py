"""Records of black-box and one-run audits that were forged and sealed again."""

from dataclasses import replace

import dp_accounting.dp_event as dpe
import numpy as np
import pytest

from privassay.accountant.errors import RecordError
from privassay.audit_reports.one_run import OneRunAudit
from privassay.audit_reports.verify import verify

CLAIM = {"epsilon": 2.0, "delta": 1e-5, "adjacency": "add-remove", "unit": "example"}


@pytest.fixture(scope="module")
def honest():
    scores = np.random.default_rng(0).normal(size=100)
    kit = OneRunAudit(np.arange(100.0), seed=1)
    return kit.verdict(scores, CLAIM, event=dpe.LaplaceDpEvent(1.0), guesses=(20, 20))


def row(record, **changes):
    return replace(record, mechanisms=(replace(record.mechanisms[0], **changes),))


def proven(record, **changes):
    return row(record, proven=replace(record.mechanisms[0].proven, **changes))


def attack(record, **changes):
    return row(record, attacks=(replace(record.mechanisms[0].attacks[0], **changes),))


def resolved(record, **changes):
    return replace(record, resolved=record.resolved | changes)


def test_an_honest_record_verifies_and_says_what_was_not_looked_at(honest, tmp_path):
    path = tmp_path / "record.json"
    path.write_text(honest.text())
    found = verify(path)
    assert found.words
    assert any("hazards" in line for line in found.unchecked)
    assert any("the control" in line for line in found.unchecked)


@pytest.mark.parametrize(
    ("forge", "words"),
    [
        (lambda r: replace(r, limits=("All of it was proven private.",)), "limits"),
        (lambda r: proven(r, method="gaussian"), "proven method"),
        (lambda r: proven(r, unit="user"), "proven unit"),
        (lambda r: proven(r, group_size=50), "proven group_size"),
        (lambda r: proven(r, adjacency="zero-out"), "proven adjacency"),
        (lambda r: row(r, assumptions=r.mechanisms[0].assumptions[1:]), "assumptions"),
        (lambda r: resolved(r, coins_sha256="0" * 64), "assumptions"),
        (lambda r: attack(r, auc=7.0), "area"),
        (lambda r: attack(r, optimal=True), "optimal"),
        (lambda r: attack(r, seed=9), "seed"),
        (lambda r: resolved(r, salt="00"), "salt"),
        (lambda r: resolved(r, control_sha256="x"), "control_sha256"),
        (lambda r: resolved(r, share_spent_before="x"), "share_spent_before"),
    ],
)
def test_forged_records_are_refused(honest, tmp_path, forge, words):
    path = tmp_path / "record.json"
    forged = forge(honest)
    path.write_text(forged.sealed().text())
    with pytest.raises(RecordError) as caught:
        verify(path)
    assert words in str(caught.value)

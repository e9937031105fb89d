import hashlib
import os

import dp_accounting.dp_event as dpe
import numpy as np
import pytest
from scipy.stats import binomtest

from privassay.accountant import jsonio
from privassay.accountant.errors import ClaimError, DesignError, RecordError
from privassay.audit_reports import record as records
from privassay.audit_reports.containers import joined, size_of
from privassay.audit_reports.one_run import OneRunAudit
from privassay.audit_reports.verify import verify

TERMS = {"adjacency": "add-remove", "unit": "example"}


def scores_of(kit, mu, seed=0):
    return np.random.default_rng(seed).normal(size=kit.included.size) + mu * kit.included


@pytest.mark.parametrize(
    "guarantee, mu, word",
    [
        ({"mu": 1.0}, 1.0, "INCONCLUSIVE"),
        ({"mu": 1.0}, 3.0, "REFUTED"),
        ({"epsilon": 1.0, "delta": 1e-5}, 3.0, "REFUTED"),
        ({"rho": 0.5}, 3.0, "REFUTED"),
        ({"event": dpe.GaussianDpEvent(1.0)}, 1.0, "INCONCLUSIVE"),
        ({"event": dpe.GaussianDpEvent(1.0)}, 3.0, "REFUTED"),
        ({"event": dpe.GaussianDpEvent(1.0)}, 0.0, "INCONCLUSIVE"),
    ],
)
def test_words(guarantee, mu, word):
    kit = OneRunAudit(np.arange(3000), seed=1)
    record = kit.verdict(scores_of(kit, mu), {**guarantee, **TERMS})
    assert record.verdict.word == word, record.verdict
    bound = record.mechanisms[0].attacks[0].bound
    assert bound.method == "one_run_fdp" and bound.guarantee == "exact"
    assert kit.seal in record.mechanisms[0].assumptions[0].how
    assert records.parse(record.text()) == record


def test_consistent_needs_a_control():
    ask = {"event": dpe.GaussianDpEvent(1.0), **TERMS}
    kit, other = OneRunAudit(np.arange(3000), seed=1), OneRunAudit(np.arange(3000), seed=2)
    alone = kit.verdict(scores_of(kit, 1.0), ask)
    assert alone.verdict.word == "INCONCLUSIVE" and "control=" in alone.verdict.sentence
    control = other.verdict(scores_of(other, 3.0), ask)
    assert control.verdict.word == "REFUTED"
    again = OneRunAudit(np.arange(3000), seed=1)
    both = again.verdict(scores_of(again, 1.0), ask, control=control)
    assert both.verdict.word == "CONSISTENT"
    assert both.resolved["control_sha256"] == control.digest
    with pytest.raises(DesignError, match="control must be"):
        fresh = OneRunAudit(np.arange(3000), seed=3)
        fresh.verdict(scores_of(fresh, 1.0), ask, control=alone)


def test_verdicts_from_the_same_coins_share_the_error():
    kit, ask = OneRunAudit(np.arange(500), seed=1), {"mu": 1.0, **TERMS}
    first = kit.verdict(scores_of(kit, 0.0), ask, share=0.5)
    assert first.mechanisms[0].attacks[0].bound.confidence == pytest.approx(0.975)
    assert kit.verdict(scores_of(kit, 0.0), ask, share=0.5) is not None  # the same again is free
    kit.verdict(scores_of(kit, 0.0, seed=9), ask, share=0.5)
    with pytest.raises(DesignError, match="number 3 from the same coins"):
        kit.verdict(scores_of(kit, 0.0, seed=10), ask, share=0.1)


def test_tied_scores_are_not_decided_by_the_order_of_lists():
    for m in (196, 568):
        false = 0
        for _ in range(60):
            kit = OneRunAudit(np.arange(float(m)))
            scores = np.zeros(m)
            scores[:3] = 1.0
            record = kit.verdict(scores, {"epsilon": 0.01, "delta": 0.0, **TERMS})
            false += record.verdict.word == "REFUTED"
        assert binomtest(false, 60, 0.05, alternative="greater").pvalue > 1e-3


def test_false_claims():
    false = 0
    for seed in range(200):
        kit = OneRunAudit(np.arange(500), seed=seed)
        record = kit.verdict(scores_of(kit, 0.0, seed + 1000), {"mu": 1e-3, **TERMS})
        false += record.verdict.word == "REFUTED"
    assert binomtest(false, 200, 0.05, alternative="greater").pvalue > 1e-3


def test_coins_are_fair_sealed_and_different():
    one, other = OneRunAudit(np.arange(4000)), OneRunAudit(np.arange(4000))
    for kit in (one, other):
        assert binomtest(int(kit.included.sum()), 4000, 0.5).pvalue > 1e-6
        coins = "".join(str(int(bit)) for bit in kit.included)
        assert kit.seal == hashlib.sha256(f"{kit._salt}:{coins}".encode()).hexdigest()
        with pytest.raises(ValueError):
            kit.included[0] = True
    assert one.seal != other.seal and not np.array_equal(one.included, other.included)
    assert OneRunAudit(np.arange(50), seed=4).seal == OneRunAudit(np.arange(50), seed=4).seal
    # the coins are not those of a user's own generator with the same seed
    theirs = np.random.default_rng(4).integers(0, 2, 50).astype(bool)
    assert not np.array_equal(OneRunAudit(np.arange(50), seed=4).included, theirs)


def test_training_sets():
    import pandas as pd
    import torch

    data, canaries = np.arange(10.0), 100.0 + np.arange(40.0)
    kit = OneRunAudit(canaries, data=data, seed=0)
    wanted = [*data, *canaries[kit.included]]
    assert kit.training_set.tolist() == wanted
    pairs = OneRunAudit((canaries, canaries > 5), data=(data, data > 5), seed=0).training_set
    assert pairs[0].tolist() == wanted and len(pairs[1]) == len(wanted)
    assert OneRunAudit(list(canaries), data=list(data), seed=0).training_set == wanted
    frame = OneRunAudit(pd.DataFrame({"x": canaries}), data=pd.DataFrame({"x": data}), seed=0)
    assert frame.training_set["x"].tolist() == wanted
    sets = [torch.utils.data.TensorDataset(torch.tensor(x)) for x in (canaries, data)]
    found = OneRunAudit(sets[0], data=sets[1], seed=0).training_set
    assert [float(found[i][0]) for i in range(len(found))] == wanted
    tensors = OneRunAudit(torch.tensor(canaries), data=torch.tensor(data), seed=0)
    assert tensors.training_set.tolist() == wanted
    assert OneRunAudit(canaries, seed=0).training_set.tolist() == wanted[10:]


def test_containers_that_do_not_fit():
    with pytest.raises(DesignError, match="one kind|equally"):
        joined(np.zeros(3), [1.0])
    with pytest.raises(DesignError, match="equally long"):
        size_of((np.zeros(3), np.zeros(4)))
    with pytest.raises(DesignError, match="must be"):
        size_of(3.0)


def test_what_is_refused():
    with pytest.raises(DesignError, match="at least 20"):
        OneRunAudit(np.arange(5))
    kit = OneRunAudit(np.arange(100), seed=0)
    with pytest.raises(DesignError, match="one number per candidate"):
        kit.verdict(np.zeros(99), {"mu": 1.0, **TERMS})
    with pytest.raises(DesignError, match="NaN"):
        kit.verdict(np.full(100, np.nan), {"mu": 1.0, **TERMS})
    with pytest.raises(ClaimError, match="add-remove or zero-out"):
        kit.verdict(np.zeros(100), {"mu": 1.0, "adjacency": "replace-one", "unit": "example"})
    with pytest.raises(DesignError, match="not valid"):
        kit.verdict(np.zeros(100), {"mu": 1.0, **TERMS}, method="band")


def test_saved_and_read_again(tmp_path):
    kit, path = OneRunAudit(np.arange(200)), tmp_path / "kit.json"
    kit.save(path)
    assert os.stat(path).st_mode & 0o077 == 0
    with pytest.raises(FileExistsError):
        kit.save(path)
    again = OneRunAudit.load(path)
    assert np.array_equal(again.included, kit.included) and again.seal == kit.seal
    ask = (scores_of(kit, 4.0), {"mu": 1.0, **TERMS})
    assert again.verdict(*ask).verdict == kit.verdict(*ask).verdict
    with pytest.raises(RecordError, match="holds no"):
        OneRunAudit.load(tmp_path / "missing.json")
    with pytest.raises(DesignError, match="no data"):
        _ = again.training_set
    text = path.read_text()
    path.write_text(text.replace('"included": [', '"included": [1, ', 1))
    with pytest.raises(RecordError, match="seal"):
        OneRunAudit.load(path)
    path.write_text("{}")
    with pytest.raises(RecordError, match="holds no"):
        OneRunAudit.load(path)


def test_verify(tmp_path):
    kit = OneRunAudit(np.arange(1000), seed=0)
    record = kit.verdict(scores_of(kit, 3.0), {"mu": 1.0, **TERMS})
    path = tmp_path / "record.json"
    records.write(record, path)
    assert any("REFUTED" in line for line in verify(path))
    data = jsonio.dump(record)
    data["mechanisms"][0]["attacks"][0]["bound"]["correct"] += 1
    data["digest"] = records.content_digest(data)
    path.write_text(jsonio.canonical(data))
    with pytest.raises(RecordError, match="recomputing"):
        verify(path)


def test_the_opacus_example(tmp_path):
    import subprocess
    import sys
    from pathlib import Path

    pytest.importorskip("opacus")
    example = Path(__file__).resolve().parents[2] / "examples" / "opacus_one_run.py"
    done = subprocess.run(
        [sys.executable, str(example)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and done.stdout.count("coins sealed") == 2

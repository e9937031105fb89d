"""Every broken program is caught, its twin is not."""

import math
from pathlib import Path

import numpy as np
import pytest

from privassay.mechanisms import broken
from privassay.mechanisms.broken import dp_fpl_training, secfpp_field
from privassay.mechanisms.broken.twins import OTHERS, TARGET

from .broken_matrix import HEAD, NOTHING, SILENT, matrix, sound_declarations, table, word

DEFECTS = broken.defects()
SAMPLERS = broken.samplers()
AUDITED = (*SAMPLERS, *(d.audit for d in DEFECTS if d.audit is not None))
QUICK = ("only present classes", "count leak", "F14", "P12", "S11")
NO_NOISE = ("noise from a default seed", "P14", "S1", "S2", "S5", "S11")
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "probes.md"
each_defect = pytest.mark.parametrize("defect", DEFECTS, ids=lambda d: d.code)


@pytest.fixture(scope="module")
def quick_rows():
    return matrix(audited=False)


def test_all_numbers_of_the_pages_are_here():
    codes = [d.code for d in DEFECTS]
    wanted = [f"F{i}" for i in range(1, 17)] + [f"P{i}" for i in range(1, 18)]
    wanted += [f"L{i}" for i in range(1, 16)] + ["slip"]
    wanted += [f"S{i}" for i in range(1, 8)] + ["S7 masks"] + [f"S{i}" for i in range(8, 14)]
    assert codes == wanted
    assert len(SAMPLERS) >= 15 and len({t.name for t in AUDITED}) == len(AUDITED)
    systems = {t.system for t in AUDITED}
    assert systems == {"general", "vpdr", "dp-fpl", "dp-fedlora", "secfpp"}
    assert {t.code for t in SAMPLERS} <= {"", *codes}


@each_defect
def test_the_probe_fires_on_the_defect_and_is_silent_on_the_twin(defect):
    bad, good = defect.check(defect.bad), defect.check(defect.good)
    assert bad.fired, bad
    assert not good.fired, good
    assert bad.text and bad.text != good.text
    assert defect.reason


def number(code):
    (defect,) = [d for d in DEFECTS if d.code == code]
    return defect.check(defect.bad).measured


@pytest.mark.parametrize(
    ("code", "value", "rel"),
    [
        ("F1", 0.301, 0.01),
        ("F4", 12.6, 0.01),
        ("F5", 1.94, 0.005),
        ("F9", 1.1, 1e-9),
        ("F11", 0.375, 1e-9),
        ("F12", 0.023, 0.02),
        ("F13", 1 / 1.31, 0.01),
        ("P1", 16.0, 1e-3),  # 2 B at a batch of 8
        ("P2", math.sqrt(3), 1e-6),
        ("P3", 0.408, 0.002),
        ("P10", 2 * 8 / 84.83, 0.01),  # 2 B, in units of one example's mu
        ("P16", 1.0, 1e-9),
        ("P17", 0.332, 0.04),
        ("L2", 0.1 * math.sqrt(6), 1e-6),
        ("L3", 34.6, 0.001),
        ("L4", 2.0, 1e-6),
        ("L6", 0.1 / 2.48, 0.001),
    ],
)
def test_the_numbers_of_the_pages(code, value, rel):
    assert number(code) == pytest.approx(value, rel=rel)


def test_no_defect_goes_unseen_and_no_twin_is_caught(quick_rows):
    """Lint and probes; the black-box audits are in the slow test below."""
    assert not [row for row in quick_rows if row.twin]
    unseen = [r.name for r in quick_rows if {r.lint, r.probes} <= {SILENT, NOTHING}]
    # What only an audit sees: laws of choices and answers, and noise that follows the data.
    assert unseen == [
        "noise once", "noise scaled by the true count", "amplification not present",
        "response with other odds", "top-k noise without k",
        "exponential mechanism, factor forgotten",
    ]  # fmt: skip
    assert not any(sound_declarations().values())


@pytest.mark.parametrize("name", QUICK)
def test_a_black_box_audit_refutes_the_broken_one_and_not_its_twin(name):
    (twin,) = [t for t in AUDITED if t.name == name]
    assert [word(twin, twin.bad), word(twin, twin.good) == "REFUTED"] == ["REFUTED", False]


@pytest.mark.slow
def test_the_whole_matrix_is_as_documented():
    rows = matrix()
    assert not [row for row in rows if row.twin]
    blind = [r.name for r in rows if {r.lint, r.probes, r.audit} <= {SILENT, NOTHING}]
    assert not blind
    assert [r.name for r in rows if r.audit == SILENT] == []
    assert table(rows) in DOCUMENT.read_text(), table(rows)


def test_the_documented_matrix_has_these_probes_and_patterns(quick_rows):
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")]
    documented = {cells[0]: cells[1:4] for line in lines
                  if len(cells := line.strip("| ").split(" | ")) == len(HEAD)}  # fmt: skip
    for row in quick_rows:
        assert documented[row.name] == [row.reason, row.lint, row.probes], row.name


@pytest.mark.parametrize("twin", AUDITED, ids=lambda t: t.name)
def test_samplers_give_n_outputs_that_follow_the_seed(twin):
    for sample in (twin.bad, twin.good):
        for world in (0, 1):
            one, again, other = (sample(world, 7, s) for s in (3, 3, 4))
            assert len(one) == 7
            assert np.array_equal(one, again, equal_nan=True)
            if twin.name not in NO_NOISE or sample is twin.good:
                assert not np.array_equal(one, other, equal_nan=True)


def test_the_record_needs_every_clip():
    assert float(TARGET.norm()) == pytest.approx(3.0)
    assert float(OTHERS.norm(dim=1).max()) <= 1 + 1e-12


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99])
def test_a_thrown_away_step_is_seen_with_any_momentum(momentum):
    (defect,) = [d for d in DEFECTS if d.code == "P16"]
    rounds = [
        dp_fpl_training.sgd_round(reload=reload, momentum=momentum) for reload in (True, False)
    ]
    assert defect.check(rounds[0]).fired and defect.check(rounds[0]).measured == 1.0
    assert not defect.check(rounds[1]).fired and defect.check(rounds[1]).measured == 5.0


def test_numbers_of_secfpp():
    assert secfpp_field.squared_distance(2**31 - 1) == 25_600
    assert secfpp_field.squared_distance(2**61 - 1) == 54_975_581_388_800
    (golden,) = [d for d in DEFECTS if d.code == "S13"]
    assert golden.bad().tolist() == [4, 36] and golden.good().tolist() == [127, 9920]
    assert sum(golden.good().tolist()) % 10007 == 40

"""Every broken program is caught, its twin is not."""

import math

import numpy as np
import pytest

import privassay as pa
from privassay.mechanisms import broken
from privassay.mechanisms.broken.twins import OTHERS, TARGET

DEFECTS = broken.defects()
SAMPLERS = broken.samplers()
QUICK = ("seed reused", "only present classes", "control variate", "batch clip", "count leak")
each_defect = pytest.mark.parametrize("defect", DEFECTS, ids=lambda d: d.code)
each_sampler = pytest.mark.parametrize(
    "twin",
    [
        pytest.param(t, id=t.name, marks=[] if t.name in QUICK else [pytest.mark.slow])
        for t in SAMPLERS
    ],
)


def test_all_numbers_of_the_pages_are_here():
    codes = [d.code for d in DEFECTS]
    wanted = [f"F{i}" for i in range(1, 17)] + [f"P{i}" for i in range(1, 18)]
    wanted += [f"L{i}" for i in range(1, 16)] + ["slip"]
    assert codes == wanted
    assert len(SAMPLERS) >= 15 and len({t.name for t in SAMPLERS}) == len(SAMPLERS)
    assert {t.system for t in SAMPLERS} == {"general", "vpdr", "dp-fpl", "dp-fedlora"}


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


@each_sampler
def test_a_black_box_audit_refutes_the_broken_one_and_not_its_twin(twin):
    found = [
        pa.audit_mechanism(sample, twin.claim, trials=twin.trials, seed=1)
        for sample in (twin.bad, twin.good)
    ]
    words = [record.verdict.word for record in found]
    bounds = [record.mechanisms[0].attacks[0].bound.mu_lower for record in found]
    assert words[0] == "REFUTED", f"{twin.reason}: {words}, {bounds}"
    assert words[1] != "REFUTED", f"the twin of {twin.name}: {bounds}"


@pytest.mark.parametrize("twin", SAMPLERS, ids=lambda t: t.name)
def test_samplers_give_n_outputs_that_follow_the_seed(twin):
    for sample in (twin.bad, twin.good):
        for world in (0, 1):
            one, again, other = (sample(world, 7, s) for s in (3, 3, 4))
            assert len(one) == 7
            assert np.array_equal(one, again, equal_nan=True)
            if twin.name != "noise from a default seed" or sample is twin.good:
                assert not np.array_equal(one, other, equal_nan=True)


def test_the_record_needs_every_clip():
    assert float(TARGET.norm()) == pytest.approx(3.0)
    assert float(OTHERS.norm(dim=1).max()) <= 1 + 1e-12

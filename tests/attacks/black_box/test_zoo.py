"""The broken mechanisms are refuted, the correct ones are not."""

import numpy as np
import pytest

from privassay.attacks.black_box import learn
from privassay.attacks.scores import Scores
from privassay.audit_reports.estimators.band import band_bound

from ...zoo import BROKEN, CORRECT, ZOO

SEVERAL = 20
# The six that the audit is specified by, and one for each way to leak that these do not have.
QUICK_BROKEN = (
    "noise halved",
    "clipping missing",
    "sensitivity off by two",
    "noise at the first step only",
    "seed reused",
    "sampling missing",
    "NaN shows participation",
    "sometimes exact",
    "Laplace by inversion",
    "value off the grid",
    "noise scaled by the true count",
    "truncated Laplace",
    "unary, whole epsilon",
    "L2 norm for L1",
    "noisy max with value",
    "sparse vector, no stop",
)
QUICK_CORRECT = (
    "gaussian sum",
    "sampled Gaussian sum",
    "Laplace count",
    "geometric count",
    "randomised response",
)


def audit(entry, seed):
    """The bound on one half of the outputs, by an attack that was learnt on the other."""
    claim, half = entry.claim, entry.trials // 2
    rng = np.random.default_rng([seed, 7])
    inside, outside = entry.sampler(1, entry.trials, rng), entry.sampler(0, entry.trials, rng)
    delta = 1e-5 if claim.delta is None else claim.delta
    attack = learn(
        inside[:half],
        outside[:half],
        rng=rng,
        criterion="mu" if claim.is_curve else "epsilon",
        delta=0.0 if claim.is_curve else delta,
    )
    scores = Scores(
        values_in=attack.score(inside[half:]),
        values_out=attack.score(outside[half:]),
        design="many_runs",
        adversary="server",
        attack=attack.name,
        adjacency=claim.adjacency,
        unit=claim.unit,
        tuned_on="the other half",
        seed=seed,
    )
    return band_bound(scores, confidence=0.95, delta=delta), attack


@pytest.mark.parametrize("name", QUICK_BROKEN)
def test_a_broken_mechanism_is_refuted(name):
    bound, attack = audit(ZOO[name], seed=0)
    assert bound.refutes(ZOO[name].claim), f"{name}: {bound}, {attack.ranking}"


@pytest.mark.parametrize("name", QUICK_CORRECT)
def test_a_correct_mechanism_is_not_accused(name):
    bound, attack = audit(ZOO[name], seed=0)
    assert not bound.refutes(ZOO[name].claim), f"{name}: {bound}, {attack.ranking}"


@pytest.mark.slow
@pytest.mark.parametrize("entry", BROKEN, ids=lambda entry: entry.name)
def test_every_broken_mechanism_is_refuted_nearly_always(entry):
    found = [audit(entry, seed)[0].refutes(entry.claim) for seed in range(SEVERAL)]
    assert sum(found) >= SEVERAL - 1, f"{entry.name}: {sum(found)} of {SEVERAL} ({entry.reason})"


@pytest.mark.slow
@pytest.mark.parametrize("entry", CORRECT, ids=lambda entry: entry.name)
def test_no_correct_mechanism_is_accused(entry):
    found = [audit(entry, seed)[0].refutes(entry.claim) for seed in range(SEVERAL)]
    assert sum(found) <= 1, f"{entry.name}: {sum(found)} of {SEVERAL} ({entry.reason})"


def test_the_zoo_is_as_large_as_promised():
    assert len(CORRECT) >= 20 and len(BROKEN) >= 20
    for entry in BROKEN:
        assert ZOO[entry.twin].correct and ZOO[entry.twin].claim == entry.claim
    assert len({entry.name for entry in (*BROKEN, *CORRECT)}) == len(ZOO)


@pytest.mark.parametrize("entry", ZOO.values(), ids=lambda entry: entry.name)
def test_samplers_repeat_and_give_one_output_a_row(entry):
    for world in (0, 1):
        first, second = (entry.sampler(world, 6, np.random.default_rng(3)) for _ in range(2))
        assert np.array_equal(first, second, equal_nan=first.dtype.kind == "f")
        assert len(first) == 6

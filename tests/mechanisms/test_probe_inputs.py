"""What is wrong in a hook is said in words: given, expected, what to do."""

import math

import numpy as np
import pytest
import torch

from privassay.accountant.errors import ParameterError
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.probes.contamination import contamination
from privassay.mechanisms.probes.inputs import same_data
from privassay.mechanisms.probes.replay import post_processing
from privassay.mechanisms.probes.run import Hook, probe
from privassay.mechanisms.probes.sensitivity import Pair, distance, sensitivity

ROWS = SeededKey(3).normal(5, 2)


def noisy(x, key):
    return x.clamp(-1, 1).sum(dim=0) + key.normal(2)


def hook(**changes):
    given = {
        "step": lambda x, key: {"out": noisy(x, key)},
        "data": ROWS,
        "neighbour": -ROWS,
        "stddevs": {"out": 1.0},
        "draws": 40,
    }
    return Hook(**given | changes)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"law": "gausian"}, ["law must be one of 'gaussian', 'laplace'", "did you mean 'gauss"]),
        ({"stddevs": 1.0}, ["stddevs must be {name: stddev}, but is 1.0", 'stddevs={"out"']),
        ({"stddevs": {"out": "one"}}, ["stddev of 'out'", "but is 'one'", "units"]),
        ({"stddevs": {"out": -1.0}}, ["stddev of 'out'", "but holds -1", "write 0"]),
        ({"stddevs": {"out": math.nan}}, ["but holds nan"]),
        ({"stddevs": {"out": torch.tensor([1.0, math.inf])}}, ["but holds inf"]),
        ({"draws": 0}, ["draws must be a whole number >= 1"]),
        ({"mu": "1"}, ["mu must be a number >= 0, but is '1'"]),
        ({"epsilon": -1.0}, ["epsilon must be a number >= 0, but is -1.0"]),
    ],
)
def test_a_hook_that_cannot_be_meant_is_refused(changes, parts):
    with pytest.raises(ParameterError) as caught:
        hook(**changes)
    assert all(part in str(caught.value) for part in parts), caught.value


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"stddevs": {"sum": 1.0}}, ["stddevs names 'sum', but step gives 'out'"]),
        ({"stddevs": {"out": torch.ones(3)}}, ["shape [3]", "does not broadcast to [2]"]),
        ({"step": noisy}, ["step must give {name: tensor}, but gives a Tensor", '{"out": ...}']),
        (
            {"step": lambda x, key: {"out": noisy(x, key).numpy()}},
            ["'out' is a ndarray", "torch.from_numpy"],
        ),
        ({"step": lambda x, key: {"out": noisy(x, key).tolist()}}, ["'out' is a list"]),
        ({"clean": lambda x: x.sum(dim=0)}, ["clean must give {name: tensor}"]),
        ({"clean": lambda x: {"out": 3.0}}, ["clean must give", "'out' is a float"]),
    ],
)
def test_what_a_program_gives_is_checked(changes, parts):
    with pytest.raises(ParameterError) as caught:
        probe(hook(**changes))
    assert all(part in str(caught.value) for part in parts), caught.value


@pytest.mark.parametrize(
    "same",
    [
        ROWS.clone(),
        ROWS,
        {"x": ROWS, "y": [1, 2.0, "a"]},
        [ROWS, ROWS[0]],
        ROWS.numpy(),
        torch.tensor([1.0, math.nan]),
    ],
)
def test_the_same_data_are_the_same(same):
    import copy

    assert same_data(same, copy.deepcopy(same))
    assert not same_data(same, torch.zeros(7)) and not same_data(same, None)


def test_data_that_differ_differ():
    assert not same_data(ROWS, ROWS[1:]) and not same_data(ROWS, -ROWS)
    assert not same_data({"x": ROWS}, {"x": -ROWS}) and not same_data([1], [2])
    assert not same_data(np.zeros(2), np.ones(2)) and not same_data(object(), object())


def test_a_neighbour_that_is_the_data_proves_nothing():
    report = probe(hook(neighbour=ROWS.clone(), mu=1.0))
    (ledger,) = [f for f in report.alarms if f.probe == "release ledger"]
    assert ledger.severity == "warning" and "the probe proves nothing" in ledger.text
    (moved,) = [f for f in report.findings if f.probe == "sensitivity"]
    assert moved.measured == 0.0 and "the probe proves nothing" in moved.text
    assert post_processing(lambda x, noise: {"a": noise("a", x)}, ROWS, ROWS.clone()).fired
    assert "proves nothing" not in str(probe(hook(mu=10.0)))


def test_a_release_that_ignores_the_data_is_said_to_prove_nothing():
    report = probe(hook(step=lambda x, key: {"out": key.normal(2)}))
    (ledger,) = [f for f in report.findings if f.probe == "release ledger"]
    assert not ledger.fired and "nothing differed" in ledger.text


def test_single_probes_check_as_well():
    pair = Pair("negated", ROWS, -ROWS)
    with pytest.raises(ParameterError, match="stddevs has no 'out'"):
        distance(lambda x: {"out": x}, pair, stddevs={"o": 1.0})
    with pytest.raises(ParameterError, match="but holds -2"):
        distance(lambda x: {"out": x}, pair, stddevs=-2.0)
    with pytest.raises(ParameterError, match="gives a ndarray"):
        sensitivity(lambda x: x.numpy(), [pair], declared=1.0)
    with pytest.raises(ParameterError, match="step must give"):
        contamination(lambda x, key: x, ROWS)
    with pytest.raises(ParameterError, match="program must give"):
        post_processing(lambda x, noise: noise("a", x), ROWS, -ROWS)

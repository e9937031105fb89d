"""The batches of shadow training: own records only, of the law that is stated, whoever asks."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from privassay.accountant.errors import ParameterError
from privassay.attacks.shadow_batches import Epochs, Poisson, WithReplacement
from privassay.fl_core.clients import ClientData
from privassay.mechanisms.base import SeededKey

KEY = SeededKey(3)
PARTS = (range(40, 60), range(0, 13), (7,))


def rows(parts=PARTS, replicas=None):
    x = torch.arange(60.0).unsqueeze(1)
    count = len(parts)
    replicas = list(range(count)) if replicas is None else replicas
    y = torch.zeros(60, dtype=torch.int64)
    return ClientData.of(x, y, parts, clients=[0] * count, replicas=replicas)


RULES = {
    "epochs": Epochs(epochs=3, batch_size=6),
    "full": Epochs(epochs=3, batch_size=6, full_batches_only=True),
    "with replacement": WithReplacement(steps=40, batch_size=6),
    "poisson": Poisson(steps=40, rate=0.3),
}


def used(rule, data):
    """The records that count in each step of each row."""
    found = [[] for _ in range(len(data))]
    for step in rule.plan(data, KEY):
        names = range(*step.rows.indices(len(data)))
        for name, records, weights in zip(names, step.records, step.weights, strict=True):
            assert set(records.tolist()) <= set(PARTS[int(data.replicas[name])])  # padding, too
            found[name].append(records[weights > 0].tolist())
    return found


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_row_gets_the_same_batches_alone_and_in_company(rule):
    whole = used(rule, rows())
    for number in range(len(PARTS)):
        assert used(rule, rows(PARTS[number : number + 1], [number])) == [whole[number]]


@pytest.mark.parametrize("batch", [1, 5, 8])
def test_an_epoch_takes_every_record_once_however_many_there_are(batch):
    data = rows(PARTS[1:2], [1])
    each = -(-13 // batch)
    found = used(Epochs(epochs=300, batch_size=batch), data)[0]
    epochs = [sum(found[e * each : (e + 1) * each], []) for e in range(300)]
    assert all(sorted(epoch) == list(range(13)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 300  # also beyond the 256 of one counter


@pytest.mark.parametrize("batch", [3, 4, 6])
def test_draws_with_replacement_are_uniform_and_the_first_ones_stay(batch):
    data = rows(PARTS[1:2], [1])
    steps = 4000
    found = used(WithReplacement(steps=steps, batch_size=batch), data)[0]
    counts = np.bincount(np.concatenate(found), minlength=13)
    expected = steps * batch / 13
    assert counts.sum() == steps * batch
    assert chi2.sf(((counts - expected) ** 2 / expected).sum(), 12) > 1e-4, counts
    pairs = sum(first == second for first, second, *_ in found)  # independent within a batch
    assert abs(pairs - steps / 13) < 5 * np.sqrt(steps / 13), pairs
    assert found[:17] == used(WithReplacement(steps=17, batch_size=batch), data)[0]


def test_a_poisson_sample_has_its_rate_and_its_public_divisor():
    data, rate = rows(PARTS[:1], [0]), 0.1
    found = used(Poisson(steps=1000, rate=rate), data)[0]
    sizes = np.array([len(some) for some in found])
    assert abs(sizes.mean() - 2.0) < 5 * np.sqrt(20 * rate * 0.9 / 1000)
    assert abs((sizes == 0).mean() - 0.9**20) < 0.05  # empty ones take a step, too
    counts = np.bincount(np.concatenate(found).astype(int) - 40, minlength=20)
    assert (abs(counts - 100) < 5 * np.sqrt(90)).all(), counts
    for step in Poisson(steps=5, rate=rate).plan(data, KEY):
        assert set(step.weights.unique().tolist()) <= {0.0, 1.0 / (rate * 20)}


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        (Epochs, {"epochs": 0, "batch_size": 1}),
        (Epochs, {"epochs": 1, "batch_size": 0}),
        (WithReplacement, {"steps": 1.5, "batch_size": 1}),
        (Poisson, {"steps": 1, "rate": 0.0}),
        (Poisson, {"steps": 1, "rate": 1.5}),
    ],
)
def test_numbers_outside_their_range_are_named(rule, wrong):
    with pytest.raises(ParameterError):
        rule(**wrong)

"""FedProto with an adapter and a linear head, trained by plain SGD, against plain torch."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from privassay.fl_core.algorithms.evaluation import accuracy
from privassay.fl_core.algorithms.fedavg import local_order, plain_sgd
from privassay.fl_core.algorithms.fedproto import FedProto, prototype_accuracy
from privassay.fl_core.algorithms.prototypes import PrototypeFederation
from privassay.fl_core.algorithms.releases import NoisyMeans
from privassay.fl_core.clients import ClientData
from privassay.fl_core.kernels.layers import Linear, Residual
from privassay.fl_core.kernels.stacked import Stacked
from privassay.fl_core.simulate import one_thread
from privassay.mechanisms import catalog
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.prototypes import PrototypeDesign

ROWS, N, DIM, WIDTH, CLASSES = 4, 11, 6, 5, 3
KEY = SeededKey(1)
DESIGN = PrototypeDesign(
    mu=1.0,
    rounds=1,
    adjacency="add-remove",
    clip_norm=1.0,
    group_sizes=(2, 4),
    group_norms=(1.0, 1.0),
    public_count=4,
)


@pytest.fixture(autouse=True)
def small_tensors():
    with one_thread():
        yield


def federation(weight, *, batch_size=4, learning_rate=0.02, epochs=3):
    """`weight` is that of the sum over dimensions."""
    return PrototypeFederation(
        method=FedProto(weight=weight * DIM),
        release=NoisyMeans(catalog.build("none", DESIGN)),
        kernel=Stacked((Residual("adapter", DIM, WIDTH),), (Linear("head", DIM, CLASSES),)),
        dim=DIM,
        classes=CLASSES,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=plain_sgd(learning_rate),
    )


def records():
    """x float[rows, n, dim], y and prototypes float[rows, classes, dim]."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, N, DIM, generator=generator)
    y = torch.randint(0, CLASSES, (ROWS, N), generator=generator)
    return x, y, torch.randn(ROWS, CLASSES, DIM, generator=generator)


def rows_of(x, y):
    """Rows 0 and 1 are clients of replica 0, rows 2 and 3 of replica 1."""
    parts = [range(row * N, (row + 1) * N) for row in range(ROWS)]
    return ClientData.of(
        x.flatten(0, 1), y.flatten(), parts, clients=[0, 1, 0, 1], replicas=[0, 0, 1, 1]
    )


def trained(algorithm, x, y, prototypes, rounds=1):
    """(models before, models after)."""
    data = rows_of(x, y)
    start = algorithm.personal(data, KEY)
    after = start
    for round_ in range(1, rounds + 1):
        sent = {"prototypes": prototypes.double()}
        after = algorithm.finish(sent, after, data, round=round_, key=KEY)
    return start, after


class OneModel(torch.nn.Module):
    """Row `row`, written the usual way."""

    def __init__(self, models, row):
        super().__init__()
        self.down = torch.nn.Parameter(models["adapter.down.weight"][row].clone())
        self.up = torch.nn.Parameter(models["adapter.up.weight"][row].clone())
        self.head = torch.nn.Linear(DIM, CLASSES)
        with torch.no_grad():
            self.head.weight.copy_(models["head.weight"][row].T)
            self.head.bias.copy_(models["head.bias"][row, 0])

    def features(self, x):
        return x + torch.relu(x @ self.down) @ self.up


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("batch_size", [1, 4, 11, 100])
def test_stacked_training_equals_a_plain_loop_for_each_row(batch_size, weight):
    x, y, prototypes = records()
    algorithm = federation(weight, batch_size=batch_size)
    start, models = trained(algorithm, x, y, prototypes)
    order = local_order(KEY, 1)
    orders = [order(rows_of(x, y), epoch) for epoch in range(3)]
    for row in range(ROWS):
        single = OneModel(start, row)
        optimiser = torch.optim.SGD(single.parameters(), lr=0.02)
        for turn in orders:
            for start_ in range(0, N, batch_size):
                chosen = turn[row, start_ : start_ + batch_size]
                features = single.features(x[row, chosen])
                loss = cross_entropy(single.head(features), y[row, chosen])
                pull = (features - prototypes[row, y[row, chosen]]) ** 2
                loss = loss + weight * pull.sum(dim=1).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        for found, wanted in (
            (models["adapter.down.weight"][row], single.down),
            (models["adapter.up.weight"][row], single.up),
            (models["head.weight"][row], single.head.weight.T),
            (models["head.bias"][row, 0], single.head.bias),
        ):
            gap = float((found - wanted).detach().abs().max())
            assert gap < 1e-5, f"{tuple(wanted.shape)} of row {row} differs by {gap}"


def test_training_learns_and_rows_do_not_touch_each_other():
    x, y, prototypes = records()
    algorithm = federation(0.3, learning_rate=0.1, epochs=60)
    start, whole = trained(algorithm, x, y, prototypes)
    other = x.clone()
    other[1] += 1.0
    _, changed = trained(algorithm, other, y, prototypes)
    for row in range(ROWS):
        same = torch.equal(whole["head.weight"][row], changed["head.weight"][row])
        assert same == (row != 1)
    data = rows_of(x, y)
    before, after = (float(accuracy(algorithm, m, data, x, y)[0]) for m in (start, whole))
    assert after > max(0.7, before + 0.2), f"random labels: {before} before, {after} after"


def test_the_pull_vanishes_at_the_prototype_and_only_its_own_class_pulls():
    # A published implementation broadcasts here and pulls to the average prototype (F10).
    _, y, prototypes = records()
    at_home = torch.gather(prototypes, 1, y.unsqueeze(2).expand(-1, -1, DIM))
    step = {"batch_size": N, "learning_rate": 1e-3, "epochs": 1}
    _, pulled = trained(federation(1e3, **step), at_home, y, prototypes)
    _, free = trained(federation(0.0, **step), at_home, y, prototypes)
    _, moved = trained(federation(1e3, **step), at_home + 1.0, y, prototypes)
    # One step from the identity adapter: features are at their prototypes, so no pull at all.
    up = "adapter.up.weight"
    torch.testing.assert_close(pulled[up], free[up], rtol=0, atol=1e-7)
    assert float((moved[up] - free[up]).abs().max()) > 0.1


def test_weight_zero_ignores_what_was_received():
    x, y, prototypes = records()
    found = [
        trained(federation(0.0), x, y, received)[1]["head.weight"]
        for received in (prototypes, 100 * prototypes, 0 * prototypes)
    ]
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_accuracies_equal_loops():
    x, y, prototypes = records()
    algorithm = federation(0.3, learning_rate=0.1)
    _, models = trained(algorithm, x, y, prototypes)
    head = accuracy(algorithm, models, rows_of(x, y), x, y)
    near = prototype_accuracy(prototypes, x, y)
    for row in range(ROWS):
        single = OneModel(models, row)
        hits = nears = 0
        for i in range(N):
            logits = single.head(single.features(x[row, i]))
            hits += int(logits.argmax()) == int(y[row, i])
            cosines = [float(x[row, i] @ p) / math.sqrt(float(p @ p)) for p in prototypes[row]]
            nears += cosines.index(max(cosines)) == int(y[row, i])
        assert float(head[row]) == pytest.approx(hits / N)
        assert float(near[row]) == pytest.approx(nears / N)


def test_prototypes_of_zero_give_no_nan():
    x, y, _ = records()
    found = prototype_accuracy(torch.zeros(ROWS, CLASSES, DIM), x, y)
    assert torch.isfinite(found).all()

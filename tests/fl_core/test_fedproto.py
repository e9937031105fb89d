import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from privassay.fl_core.algorithms import fedproto
from privassay.fl_core.simulate import one_thread
from privassay.mechanisms.base import SeededKey

ROWS, N, DIM, WIDTH, CLASSES = 4, 11, 6, 5, 3


@pytest.fixture(autouse=True)
def small_tensors():
    with one_thread():
        yield


def keys(count=ROWS):
    return [SeededKey(1).child(i) for i in range(count)]


def start(count=ROWS):
    return fedproto.initial_models(keys(count), dim=DIM, width=WIDTH, classes=CLASSES)


def batch_of_rows():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, N, DIM, generator=generator)
    y = torch.randint(0, CLASSES, (ROWS, N), generator=generator)
    prototypes = torch.randn(ROWS, CLASSES, DIM, generator=generator)
    weight = torch.tensor([[0.0], [0.3], [1.0], [0.3]])
    orders = torch.stack(
        [
            torch.stack([torch.randperm(N, generator=generator) for _ in range(ROWS)])
            for _ in range(3)
        ]
    )
    return x, y, prototypes, weight, orders


class OneModel(torch.nn.Module):
    """Row `row`, written the usual way."""

    def __init__(self, models, row):
        super().__init__()
        self.down = torch.nn.Parameter(models.down[row].detach().clone())
        self.up = torch.nn.Parameter(models.up[row].detach().clone())
        self.head = torch.nn.Linear(DIM, CLASSES)
        with torch.no_grad():
            self.head.weight.copy_(models.head[row].T)
            self.head.bias.copy_(models.bias[row, 0])

    def features(self, x):
        return x + torch.relu(x @ self.down) @ self.up


@pytest.mark.parametrize("batch_size", [1, 4, 11, 100])
def test_stacked_training_equals_a_plain_loop_for_each_row(batch_size):
    x, y, prototypes, weight, orders = batch_of_rows()
    models = start()
    singles = [OneModel(models, row) for row in range(ROWS)]
    fedproto.train_locally(
        models,
        x,
        y,
        prototypes,
        weight=weight,
        orders=orders,
        batch_size=batch_size,
        learning_rate=0.02,
    )
    for row, single in enumerate(singles):
        optimiser = torch.optim.SGD(single.parameters(), lr=0.02)
        for order in orders[:, row]:
            for start_ in range(0, N, batch_size):
                chosen = order[start_ : start_ + batch_size]
                features = single.features(x[row, chosen])
                loss = cross_entropy(single.head(features), y[row, chosen])
                pull = (features - prototypes[row, y[row, chosen]]) ** 2
                loss = loss + float(weight[row]) * pull.sum(dim=1).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        for name, found, wanted in (
            ("down", models.down[row], single.down),
            ("up", models.up[row], single.up),
            ("head", models.head[row], single.head.weight.T),
            ("bias", models.bias[row, 0], single.head.bias),
        ):
            gap = float((found - wanted).detach().abs().max())
            assert gap < 1e-5, f"{name} of row {row} differs by {gap}"


def test_training_learns_and_rows_do_not_touch_each_other():
    x, y, prototypes, weight, orders = batch_of_rows()
    options = {"weight": weight, "batch_size": 4, "learning_rate": 0.1}
    all_rows, changed = start(), start()
    fedproto.train_locally(all_rows, x, y, prototypes, orders=orders.repeat(20, 1, 1), **options)
    other = x.clone()
    other[1] += 1.0
    fedproto.train_locally(changed, other, y, prototypes, orders=orders.repeat(20, 1, 1), **options)
    for row in range(ROWS):
        same = torch.equal(all_rows.head[row], changed.head[row])
        assert same == (row != 1)
    before, after = (float(fedproto.accuracy(m, x, y)[0]) for m in (start(), all_rows))
    assert after > max(0.7, before + 0.2), f"random labels: {before} before, {after} after"


def test_the_pull_vanishes_at_the_prototype_and_only_its_own_class_pulls():
    # A published implementation broadcasts here and pulls to the average prototype (F10).
    x, y, prototypes, _, orders = batch_of_rows()
    at_home = torch.gather(prototypes, 1, y.unsqueeze(2).expand(-1, -1, DIM))
    pulled, free = start(), start()
    for models, strength in ((pulled, 1e3), (free, 0.0)):
        fedproto.train_locally(
            models,
            at_home,
            y,
            prototypes,
            weight=torch.full((ROWS, 1), strength),
            orders=orders[:1],
            batch_size=N,
            learning_rate=1e-3,
        )
    # One step from the identity adapter: features are at their prototypes, so no pull at all.
    torch.testing.assert_close(pulled.up, free.up, rtol=0, atol=1e-7)


def test_weight_zero_ignores_what_was_received():
    x, y, prototypes, _, orders = batch_of_rows()
    found = []
    for received in (prototypes, 100 * prototypes):
        models = start()
        fedproto.train_locally(
            models,
            x,
            y,
            received,
            weight=torch.zeros(ROWS, 1),
            orders=orders,
            batch_size=4,
            learning_rate=0.1,
        )
        found.append(models.head.detach())
    assert torch.equal(*found)


def test_models_start_as_the_identity_and_depend_on_their_key_alone():
    x = batch_of_rows()[0]
    models = start()
    assert torch.equal(models.features(x), x)
    assert torch.equal(start(2).down, models.down[:2])
    assert not torch.equal(models.down[0], models.down[1])
    assert all(p.requires_grad for p in models.parameters())


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_aggregate_equals_a_loop(lead):
    uploads = torch.randn(*lead, 4, 3, 2, 5, generator=torch.Generator().manual_seed(0))
    found = fedproto.aggregate(uploads)
    assert found.shape == (*lead, 4, 2, 5)
    for replica in torch.cartesian_prod(*[torch.arange(n) for n in (*lead, 1)]).reshape(
        -1, len(lead) + 1
    ):
        index = tuple(replica.tolist())[:-1]
        for round_ in range(4):
            total = torch.zeros(2, 5)
            for r in range(round_ + 1):
                for client in range(3):
                    total += uploads[(*index, r, client)]
            wanted = total / (3 * (round_ + 1))
            torch.testing.assert_close(found[(*index, round_)], wanted, rtol=1e-5, atol=1e-6)


def test_accuracies_equal_loops():
    x, y, prototypes, _, _ = batch_of_rows()
    models = start()
    head, near = fedproto.accuracy(models, x, y), fedproto.prototype_accuracy(prototypes, x, y)
    for row in range(ROWS):
        hits = nears = 0
        for i in range(N):
            logits = x[row, i] @ models.head[row] + models.bias[row, 0]
            hits += int(logits.argmax()) == int(y[row, i])
            cosines = [float(x[row, i] @ p) / math.sqrt(float(p @ p)) for p in prototypes[row]]
            nears += cosines.index(max(cosines)) == int(y[row, i])
        assert float(head[row]) == pytest.approx(hits / N)
        assert float(near[row]) == pytest.approx(nears / N)


def test_prototypes_of_zero_give_no_nan():
    x, y, _, _, _ = batch_of_rows()
    found = fedproto.prototype_accuracy(torch.zeros(ROWS, CLASSES, DIM), x, y)
    assert torch.isfinite(found).all()

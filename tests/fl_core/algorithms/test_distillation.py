import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from privassay.accountant.errors import ConfigError, ParameterError
from privassay.fl_core.algorithms.distillation import STEPS, Distillation
from privassay.fl_core.algorithms.evaluation import accuracy
from privassay.fl_core.algorithms.fedavg import local_order, plain_sgd
from privassay.fl_core.algorithms.fedproto import FedProto
from privassay.fl_core.algorithms.personal_model import adam_w, personal_model
from privassay.fl_core.algorithms.prototypes import PrototypeFederation
from privassay.fl_core.algorithms.releases import NoisyMeans
from privassay.fl_core.plan import by_length
from privassay.mechanisms import prototypes
from privassay.mechanisms.base import SeededKey

DESIGN = prototypes.PrototypeDesign(
    mu=1.0,
    rounds=3,
    adjacency="add-remove",
    clip_norm=2.5,
    group_sizes=(20, 44),
    group_norms=(1.5, 2.0),
    public_count=3,
)
KEY = SeededKey(4)


def federation(**changes):
    settings = {
        "method": FedProto(weight=0.5),
        "release": NoisyMeans(prototypes.non_private(DESIGN)),
        "kernel": personal_model(64, 10, adapter_width=6, hidden=12),
        "dim": 64,
        "classes": 10,
        "epochs": 2,
        "batch_size": 8,
        "optimizer": plain_sgd(0.3),
    }
    return PrototypeFederation(**(settings | changes))


class Plain(nn.Module):
    """One client, written the usual way."""

    def __init__(self, personal, row):
        super().__init__()
        self.down = nn.Parameter(personal["adapter.down.weight"][row].clone())
        self.up = nn.Parameter(personal["adapter.up.weight"][row].clone())
        self.head = nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
        with torch.no_grad():
            for layer, name in ((self.head[0], "head1"), (self.head[2], "head2")):
                layer.weight.copy_(personal[f"{name}.weight"][row].T)
                layer.bias.copy_(personal[f"{name}.bias"][row, 0])

    def features(self, x):
        return x + torch.relu(x @ self.down) @ self.up


def train_plainly(model, make_optimizer, data, row, prototypes_, dcr):
    """Rounds 1 and 2, each with a new optimiser; `dcr` None for none."""
    teacher, taken = copy.deepcopy(model.head), 0
    for round_ in (1, 2):
        optimizer = make_optimizer(list(model.parameters()))
        for epoch in range(2):
            order = local_order(KEY, round_)(data, epoch)[row, : int(data.lengths[row])]
            for some in data.index[row][order].split(8):
                x, y = data.x[some], data.y[some]
                raw = model.features(x)
                features, own = raw, prototypes_[row][y]
                if dcr is not None:
                    norms = raw.norm(dim=1, keepdim=True)
                    features = raw * (dcr.radius / (norms + dcr.softness * dcr.radius)).clamp(max=1)
                logits = model.head(features)
                loss = cross_entropy(logits, y) + 0.5 * nn.functional.mse_loss(features, own)
                begun = dcr is not None and taken >= dcr.warm_up
                if begun:
                    with torch.no_grad():
                        taught = teacher(raw)
                    heat = dcr.temperature
                    loss = loss + dcr.weight * heat**2 * kl_div(
                        log_softmax(logits / heat, dim=1),
                        softmax(taught / heat, dim=1),
                        reduction="batchmean",
                    )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if begun:
                    with torch.no_grad():
                        pairs = zip(teacher.parameters(), model.head.parameters(), strict=True)
                        for slow, fast in pairs:
                            slow.mul_(dcr.momentum).add_(fast, alpha=1.0 - dcr.momentum)
                taken += 1
    return teacher, taken


@pytest.mark.parametrize(
    ("dcr", "optimizer", "plain"),
    [
        (None, plain_sgd(0.3), lambda p: torch.optim.SGD(p, lr=0.3)),
        (
            Distillation(radius=2.5, momentum=0.8, weight=0.7, warm_up=5),
            plain_sgd(0.3),
            lambda p: torch.optim.SGD(p, lr=0.3),
        ),
        (
            Distillation(radius=2.5, softness=0.2, momentum=0.9, weight=0.5, warm_up=0),
            adam_w(0.01, 0.02),
            lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.02),
        ),
    ],
)
def test_training_equals_a_plain_client_over_two_rounds(clients, dcr, optimizer, plain):
    data = clients(17)
    data = data.take(by_length(data))
    algorithm = federation(distillation=dcr, optimizer=optimizer)
    received = torch.randn(4, 10, 64, generator=torch.Generator().manual_seed(0)) * 0.3
    personal = algorithm.personal(data, KEY)
    started = {name: value.clone() for name, value in personal.items()}
    for round_ in (1, 2):
        personal = algorithm.finish({"prototypes": received}, personal, data, round=round_, key=KEY)
    for row in range(4):
        model = Plain(started, row)
        teacher, taken = train_plainly(model, plain, data, row, received, dcr)
        wanted = {
            "adapter.down.weight": model.down,
            "adapter.up.weight": model.up,
            "head1.weight": model.head[0].weight.T,
            "head2.bias": model.head[2].bias.unsqueeze(0),
        }
        if dcr is not None:
            wanted |= {
                "teacher.head1.weight": teacher[0].weight.T,
                "teacher.head2.bias": teacher[2].bias.unsqueeze(0),
            }
            assert int(personal[STEPS][row, 0]) == taken
        for name, value in wanted.items():
            torch.testing.assert_close(
                personal[name][row], value.detach(), rtol=1e-3, atol=2e-5, msg=name
            )


def test_the_warm_up_changes_nothing_and_is_counted_over_rounds(clients):
    data = clients(12)
    data = data.take(by_length(data))
    received = {"prototypes": torch.zeros(4, 10, 64)}
    dcr = Distillation(radius=2.5, warm_up=10_000, weight=5.0, momentum=0.0)
    algorithm = federation(distillation=dcr)
    first = algorithm.personal(data, KEY)
    after = algorithm.finish(received, first, data, round=1, key=KEY)
    free = federation(distillation=Distillation(radius=2.5, weight=0.0))
    same = free.finish(received, free.personal(data, KEY), data, round=1, key=KEY)
    assert torch.equal(after["head1.weight"], same["head1.weight"])
    assert torch.equal(after["teacher.head1.weight"], first["head1.weight"])
    # Two epochs of 21, 18, 15 and 12 records in batches of 8.
    assert after[STEPS][:, 0].tolist() == [6.0, 6.0, 4.0, 4.0]
    again = algorithm.finish(received, after, data, round=2, key=KEY)
    assert again[STEPS][:, 0].tolist() == [12.0, 12.0, 8.0, 8.0]


def test_uploads_of_frozen_features_do_not_depend_on_it(clients, run):
    with_, without = federation(distillation=Distillation(radius=2.5)), federation()
    assert torch.equal(run(with_, clients(12), 2)[3], run(without, clients(12), 2)[3])


def test_evaluation_sees_raw_features(clients):
    data = clients(12)
    algorithm = federation(distillation=Distillation(radius=1e-3))
    personal = algorithm.personal(data, KEY)
    x, y = data.x[1000:1100].expand(4, -1, -1), data.y[1000:1100].expand(4, -1)
    plain = federation()
    wanted = accuracy(plain, plain.personal(data, KEY), data, x, y)
    torch.testing.assert_close(accuracy(algorithm, personal, data, x, y), wanted)


def test_what_it_refuses():
    clipped = Distillation(radius=1.0).student(federation().kernel)
    with pytest.raises(ConfigError, match="soft clip"):
        federation(kernel=clipped, distillation=Distillation())
    for wrong in (
        {"radius": 0.0},
        {"momentum": 1.5},
        {"temperature": 0.0},
        {"weight": -0.1},
        {"warm_up": -1},
        {"softness": float("nan")},
    ):
        with pytest.raises(ParameterError):
            Distillation(**wrong)


def test_defaults_are_those_of_the_published_program():
    found = Distillation()
    assert (found.radius, found.softness, found.momentum) == (5.0, 0.05, 0.999)
    assert (found.temperature, found.weight, found.warm_up) == (4.0, 0.05, 5)

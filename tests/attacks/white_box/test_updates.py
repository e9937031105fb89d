import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from privassay.accountant.errors import DesignError, ParameterError
from privassay.accountant.ledger import Ledger
from privassay.attacks.membership import updates
from privassay.attacks.membership.updates import (
    Records,
    Updates,
    descent,
    record_gradients,
    record_losses,
    recorded,
)
from privassay.fl_core.algorithms.fedavg import FedAvg, plain_sgd
from privassay.fl_core.clients import ClientData
from privassay.fl_core.cohort import Scheduled
from privassay.fl_core.federation import Federation, layout, run
from privassay.fl_core.kernels.base import cross_entropy, flatten
from privassay.fl_core.kernels.stacked import mlp
from privassay.fl_core.recorder import Recorder, Recording
from privassay.mechanisms.base import SeededKey

NET = mlp((3, 4, 2))
SIZE = sum(math.prod(shape) for shape in NET.shapes().values())
KEY = SeededKey(4)


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def rows(order=(0, 1, 2), replicas=2):
    x, y = normal(9, 3).float(), torch.tensor([0, 1, 1] * 3)
    parts = [[0, 1, 2, 3], [4, 5], [6, 7, 8]]
    data = ClientData.of(x, y, [parts[c] for c in order], clients=list(order))
    return data.replicate(replicas)


def seen(folder, data, who="server", schedule=None):
    algorithm = FedAvg(kernel=NET, optimizer=plain_sgd(0.5), divisor=3.0, batch_size=2)
    federation = Federation(algorithm=algorithm, data=data, rounds=3, key=KEY)
    if schedule is not None:
        federation = replace(federation, cohort=Scheduled(schedule))
    recorder = Recorder(folder, layout(federation))
    run(federation, Ledger(adjacency="zero-out", unit="client"), recorder=recorder)
    initial = algorithm.start(data.replicas.unique(), KEY)
    return recorded(Recording.load(folder).view(who), who, initial=initial, data=data), initial


def test_a_recording_becomes_models_and_uploads(tmp_path):
    view, initial = seen(tmp_path, rows())
    assert view.rounds == 3 and view.uploads.shape == (2, 3, 3, SIZE)
    torch.testing.assert_close(view.models[:, 0], flatten(initial).double())
    # The server adds the mean upload: what was sent and what came back fit together.
    moved = view.models[:, 1:] - view.models[:, :-1]
    torch.testing.assert_close(moved, view.uploads.sum(dim=2) / 3.0, rtol=0, atol=1e-6)
    assert bool(view.arrived.all())
    assert float(view.uploads.norm(dim=3).min()) > 0
    torch.testing.assert_close(view.take(slice(1, 2)).uploads, view.uploads[1:])


def test_the_order_of_the_rows_is_not_that_of_the_clients(tmp_path):
    view, _ = seen(tmp_path / "a", rows())
    other, _ = seen(tmp_path / "b", rows(order=(2, 0, 1)))
    torch.testing.assert_close(other.uploads, view.uploads)


def test_who_did_not_take_part_was_not_heard(tmp_path):
    view, _ = seen(tmp_path, rows(), schedule=lambda round: [round, 2][: 2 - (round == 2)])
    assert view.arrived[0].tolist() == [
        [True, False, True],
        [False, True, True],
        [False] * 2 + [True],
    ]
    assert bool((view.uploads[~view.arrived] == 0).all())
    assert bool((view.uploads[view.arrived].norm(dim=-1) > 0).all())


def test_a_peer_sees_the_models_alone(tmp_path):
    server, _ = seen(tmp_path / "a", rows())
    peer, _ = seen(tmp_path / "b", rows(), who="peer")
    assert peer.uploads is None and peer.arrived is None
    torch.testing.assert_close(peer.models, server.models)
    with pytest.raises(DesignError, match="x needs each client's upload, which only the server"):
        peer.moves(0, "x")
    torch.testing.assert_close(peer.moves(None, "x"), server.moves(None, "x"))
    torch.testing.assert_close(server.moves(1, "x"), server.uploads[:, :, 1])
    with pytest.raises(DesignError, match=r"client must be 0 \.\. 2, but is 3"):
        server.moves(3, "x")
    last = Updates(adversary="outsider", models=server.models[:, -1:])
    with pytest.raises(DesignError, match="the view holds one model"):
        last.moves(None, "x")


def test_recordings_that_are_incomplete_are_refused(tmp_path):
    data = rows()
    _, initial = seen(tmp_path, data)
    found = Recording.load(tmp_path).view("server")
    for wrong, said in (
        ({n: a for n, a in found.items() if n != "broadcast-2.bias"}, "2.bias"),
        ({n: a for n, a in found.items() if n != "uploads"}, "take view"),
    ):
        with pytest.raises(DesignError, match=said):
            recorded(wrong, "server", initial=initial, data=data)
    with pytest.raises(DesignError, match="are not 2 replicas of 3 clients"):
        recorded(found, "server", initial=initial, data=data.take(torch.arange(5)))


def test_views_that_contradict_themselves_are_refused():
    models, uploads = normal(2, 4, SIZE), normal(2, 3, 5, SIZE)
    arrived = torch.ones(2, 3, 5, dtype=torch.bool)
    good = {"adversary": "server", "models": models, "uploads": uploads, "arrived": arrived}
    Updates(**good)
    for change, said in (
        ({"adversary": "peer"}, "others neither"),
        ({"uploads": None, "arrived": None}, "a server sees uploads"),
        ({"arrived": None}, "a server sees uploads"),
        ({"models": models[0]}, "at least one model"),
        ({"uploads": uploads[:, :2]}, "uploads must be"),
        ({"arrived": arrived[:, :, :2]}, "uploads must be"),
        ({"uploads": uploads * math.inf}, "diverged"),
        ({"models": models * math.nan}, "diverged"),
    ):
        with pytest.raises(DesignError, match=said):
            Updates(**good | change)
    with pytest.raises(ParameterError):
        Updates(adversary="querier", models=models)
    for x, y in ((torch.ones(0, 3), torch.ones(0)), (torch.ones(2, 3), torch.ones(3))):
        with pytest.raises(DesignError, match="records with labels"):
            Records(x=x, y=y)


def loss_of(theta, x, y):
    w1, b1, w2, b2 = theta.split([12, 4, 8, 2])
    logits = torch.relu(x.double() @ w1.view(3, 4) + b1) @ w2.view(4, 2) + b2
    return torch.nn.functional.cross_entropy(logits, y)


def test_gradients_and_losses_are_those_of_autograd():
    models = normal(2, 3, SIZE, seed=2)
    records = Records(x=normal(4, 3, seed=3).float(), y=torch.tensor([0, 1, 1, 0]))
    gradients = torch.stack(list(record_gradients(NET, models, records, cross_entropy)))
    losses = record_losses(NET, models, records, cross_entropy)
    assert gradients.shape == (4, 2, 3, SIZE) and losses.shape == (2, 3, 4)
    for j in range(4):
        for trial in range(2):
            for t in range(3):
                theta = models[trial, t].clone().requires_grad_()
                loss = loss_of(theta, records.x[j], records.y[j])
                (wanted,) = torch.autograd.grad(loss, theta)
                torch.testing.assert_close(gradients[j, trial, t], wanted, rtol=1e-9, atol=1e-12)
                assert float(losses[trial, t, j]) == pytest.approx(loss.item(), rel=1e-12)


class Measured:
    """The kernel, and the most answers that it was asked for at once."""

    def __init__(self):
        self.most = 0

    def shapes(self):
        return NET.shapes()

    def outputs(self, params, x):
        self.most = max(self.most, x.shape[0] * x.shape[1])
        return NET.outputs(params, x)


@pytest.mark.parametrize("limit", [1, 3, 8, 1000])
def test_losses_are_the_same_however_they_are_cut(limit, monkeypatch):
    models = normal(2, 3, SIZE, seed=2)
    records = Records(x=normal(5, 3, seed=3).float(), y=torch.tensor([0, 1, 1, 0, 1]))
    whole = record_losses(NET, models, records, cross_entropy)
    monkeypatch.setattr(updates, "_RECORDS", limit)
    kernel = Measured()
    found = record_losses(kernel, models, records, cross_entropy)
    torch.testing.assert_close(found, whole, rtol=1e-13, atol=0)
    assert kernel.most <= limit and kernel.most == min({3: 3, 8: 5}.get(limit, limit), 30)


@pytest.mark.parametrize("cosine", [False, True])
def test_descents_of_several_records_are_those_of_each(cosine):
    gradients, moves = normal(2, 3, 1, 4, SIZE, seed=6), normal(2, 3, 5, 1, SIZE, seed=7)
    moves[0, 1, 2] = 0.0
    found = descent(gradients, moves, cosine=cosine)
    wanted = -(gradients * moves).sum(dim=-1)
    if cosine:
        wanted = wanted / (gradients.norm(dim=-1) * moves.norm(dim=-1)).clamp(min=1e-300)
    assert found.shape == (2, 3, 5, 4) and bool((found[0, 1, 2] == 0).all())
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)

"""Each server step against a plain one, replica by replica."""

import pytest
import torch
from torch import nn

from privassay.accountant.errors import ConfigError, ParameterError
from privassay.fl_core.algorithms import finch
from privassay.fl_core.algorithms.fedpcl import FedPcl
from privassay.fl_core.algorithms.fedplvm import FedPlvm
from privassay.fl_core.algorithms.fedproto import FedProto
from privassay.fl_core.algorithms.fedtgp import FedTgp
from privassay.fl_core.algorithms.fpl import Fpl
from privassay.fl_core.algorithms.method import Uploads
from privassay.fl_core.algorithms.mpft import Mpft
from privassay.fl_core.algorithms.server_training import batches
from privassay.mechanisms.base import SeededKey

REPLICAS, CLIENTS, CLASSES, DIM = 3, 6, 4, 8
NUMBERS = torch.tensor([0, 3, 9])
KEY = SeededKey(2)


def uploads(centres=1, seed=0):
    """Client 2 of replica 1 is silent, nobody is heard in replica 2, client 0 lacks class 3."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(REPLICAS, CLIENTS, CLASSES, centres, DIM, generator=generator).double()
    arrived = torch.ones(REPLICAS, CLIENTS, dtype=torch.bool)
    arrived[1, 2] = False
    arrived[2] = False
    found[:, 0, 3] = 0.0
    return Uploads(found * arrived.view(*arrived.shape, 1, 1, 1), arrived, NUMBERS)


def start(method):
    return method.start(NUMBERS, classes=CLASSES, dim=DIM, key=KEY)


def serve(method, state=None, got=None, round_=0):
    state = start(method) if state is None else state
    return method.serve(state, uploads() if got is None else got, round=round_, key=KEY)


def heard(got, replica):
    return [c for c in range(CLIENTS) if got.arrived[replica, c]]


ALL = [
    FedProto(),
    FedPcl(clients=CLIENTS),
    Fpl(clients=CLIENTS),
    FedTgp(server_epochs=3),
    FedPlvm(clients=CLIENTS, centres=1),
    Mpft(hidden=5, server_epochs=3),
]


@pytest.mark.parametrize("method", ALL, ids=lambda m: m.title)
def test_shapes_stay_and_a_replica_that_was_not_heard_keeps_its_state(method):
    before = start(method)
    after = serve(method)
    assert {n: v.shape for n, v in before.items()} == {n: v.shape for n, v in after.items()}
    for name in before:
        torch.testing.assert_close(before[name][2], after[name][2], rtol=0, atol=0)
    assert any(not torch.equal(before[n][0], after[n][0]) for n in before)
    assert all(bool(v.isfinite().all()) for v in after.values())
    again = serve(method, state=after, got=uploads(seed=1), round_=1)
    assert any(not torch.equal(again[n][0], after[n][0]) for n in before)
    for name in method.sends:
        assert name in before


def test_fedproto_is_the_plain_mean_of_those_that_were_heard():
    got, later = uploads(), uploads(seed=1)
    for average, rounds in ((False, (later,)), (True, (got, later))):
        method = FedProto(average_rounds=average)
        state = serve(method, serve(method, got=got), later, round_=1)
        for replica in (0, 1):
            means = [
                torch.stack([g.prototypes[replica, c, :, 0] for c in heard(g, replica)]).mean(0)
                for g in rounds
            ]
            torch.testing.assert_close(state["prototypes"][replica], torch.stack(means).mean(0))


def test_fedpcl_fills_what_is_missing_with_the_mean():
    got = uploads()
    state = serve(FedPcl(clients=CLIENTS + 1))
    for replica in (0, 1):
        mean = got.prototypes[replica, heard(got, replica), :, 0].mean(dim=0)
        torch.testing.assert_close(state["prototypes"][replica], mean)
        for c in range(CLIENTS + 1):
            for label in range(CLASSES):
                lacks = c not in heard(got, replica) or (c == 0 and label == 3)
                wanted = mean[label] if lacks else got.prototypes[replica, c, label, 0]
                torch.testing.assert_close(state["sets"][replica, c, label], wanted)


@pytest.mark.parametrize("centres", [1, 3])
def test_fpl_and_fedplvm_cluster_each_class(centres):
    got = uploads(centres)
    methods = [FedPlvm(clients=CLIENTS, centres=centres)] + (
        [Fpl(clients=CLIENTS)] * (centres == 1)
    )
    for method in methods:
        state = serve(method, got=got)
        for replica in (0, 1):
            for label in range(CLASSES):
                rows = got.prototypes[replica, :, label].flatten(0, 1)
                rows = rows[(rows != 0).any(dim=1)]
                cluster = finch.coarsest(rows)
                means = [rows[cluster == name].mean(dim=0) for name in cluster.unique()]
                sizes = [int((cluster == name).sum()) for name in cluster.unique()]
                order = sorted(range(len(means)), key=lambda i, s=sizes: -s[i])
                means = torch.stack([means[i] for i in order])
                known = int(state["known"][replica, label].sum())
                assert known == len(means)
                torch.testing.assert_close(state["clusters"][replica, label, :known], means)
                assert float(state["clusters"][replica, label, known:].abs().sum()) == 0.0
                if method.title == "FPL":
                    torch.testing.assert_close(state["prototypes"][replica, label], means.mean(0))


def test_margins_are_the_largest_gap_to_the_nearest_other_class():
    got = uploads()
    found = FedTgp(margin=100.0).margins(got)
    for replica in (0, 1):
        means = []
        for label in range(CLASSES):
            rows = got.prototypes[replica, heard(got, replica), label, 0]
            means.append(rows[(rows != 0).any(dim=1)].mean(dim=0))
        gaps = [
            min(float((means[a] - means[b]).norm()) for b in range(CLASSES) if b != a)
            for a in range(CLASSES)
        ]
        assert float(found[replica]) == pytest.approx(max(gaps), rel=1e-6)
    assert float(found[2]) == 0.0  # nobody was heard
    assert FedTgp(margin=0.5).margins(got)[:2].tolist() == [0.5, 0.5]


def of_replica(method, replica, **options):
    """The batches that the server takes, as one replica sees them; unknown uploads left out."""
    for x, y, weights in batches(uploads(), round=0, key=KEY, **options):
        there = weights[replica] > 0
        assert float(weights[replica].sum()) == pytest.approx(1.0)
        yield x[replica, there], y[replica, there]


def test_fedtgp_trains_as_a_plain_loop_does():
    method = FedTgp(server_epochs=5, server_batch=7, server_rate=0.05, hidden=9)
    before, after = start(method), serve(method)
    margins = method.margins(uploads())
    for replica in (0, 1):
        embedding = nn.Embedding(CLASSES, DIM)
        network = nn.Sequential(nn.Linear(DIM, 9), nn.ReLU(), nn.Linear(9, DIM))
        with torch.no_grad():
            embedding.weight.copy_(before["embedding"][replica])
            for layer, name in ((network[0], "middle"), (network[2], "last")):
                layer.weight.copy_(before[f"{name}.weight"][replica].T)
                layer.bias.copy_(before[f"{name}.bias"][replica, 0])
        parameters = [*embedding.parameters(), *network.parameters()]
        optimizer = torch.optim.SGD(parameters, lr=0.05)
        for x, y in of_replica(method, replica, epochs=5, batch_size=7, purpose="tgp order"):
            generated = network(embedding(torch.arange(CLASSES)))
            apart = torch.stack([(x - p).norm(dim=1) for p in generated], dim=1)
            apart = apart + nn.functional.one_hot(y, CLASSES) * float(margins[replica])
            optimizer.zero_grad()
            nn.functional.cross_entropy(-apart, y).backward()
            optimizer.step()
        wanted = network(embedding(torch.arange(CLASSES))).detach()
        torch.testing.assert_close(after["prototypes"][replica], wanted, rtol=1e-4, atol=1e-5)


def test_mpft_trains_as_a_plain_loop_does():
    method = Mpft(hidden=7, reduction=4, server_epochs=6, server_batch=5, server_rate=0.1)
    before, after = start(method), serve(method)
    for replica in (0, 1):
        found = {n: v[replica].clone().requires_grad_() for n, v in before.items()
                 if n != "server.heard"}  # fmt: skip

        def logits(x, p):
            hidden = (
                x + torch.relu(x @ p["server.adapter.down.weight"]) @ p["server.adapter.up.weight"]
            )
            hidden = torch.relu(hidden @ p["server.head1.weight"] + p["server.head1.bias"])
            return hidden @ p["server.head2.weight"] + p["server.head2.bias"]

        optimizer = torch.optim.SGD(found.values(), lr=0.1)
        for x, y in of_replica(method, replica, epochs=6, batch_size=5, purpose="mpft order"):
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits(x, found), y).backward()
            optimizer.step()
        for name, value in found.items():
            torch.testing.assert_close(after[name][replica], value.detach(), rtol=1e-4, atol=1e-5)
        x = torch.randn(1, 5, DIM, generator=torch.Generator().manual_seed(0))
        context = {n: v[replica : replica + 1] for n, v in after.items()}
        guide = method.guide(context, x)["guide"]
        torch.testing.assert_close(guide[0], logits(x[0], found).detach(), rtol=1e-4, atol=1e-5)
    assert after["server.heard"][:, 0].tolist() == [1.0, 1.0, 0.0]


def test_every_upload_is_in_one_batch_of_an_epoch():
    got = uploads()
    seen = torch.zeros(REPLICAS, DIM).double()
    for x, _, weights in batches(got, epochs=1, batch_size=7, round=0, key=KEY, purpose="p"):
        seen += (x * (weights > 0).unsqueeze(2)).sum(dim=1)
    torch.testing.assert_close(seen, got.prototypes.sum(dim=(1, 2, 3)), rtol=1e-5, atol=1e-5)


def test_more_clients_than_room_is_an_error_that_says_what_to_do():
    for method in (FedPcl(clients=5), Fpl(clients=5), FedPlvm(clients=5, centres=1)):
        with pytest.raises(ConfigError, match="Set clients to 6"):
            serve(method)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: FedProto(weight=-1.0),
        lambda: FedPcl(clients=0),
        lambda: FedPcl(clients=2, temperature=0.0),
        lambda: Fpl(clients=2, contrast_weight=float("nan")),
        lambda: FedTgp(margin=0.0),
        lambda: FedTgp(server_epochs=0),
        lambda: FedPlvm(clients=2, assignment="class"),
        lambda: FedPlvm(clients=2, alpha=1.5),
        lambda: Mpft(server_rate=float("inf")),
    ],
)
def test_wrong_numbers_are_refused(wrong):
    with pytest.raises(ParameterError):
        wrong()


def test_defaults_are_those_of_the_published_program():
    # arXiv:2604.27833, as listed in docs/prototype_methods.md.
    assert FedProto().weight == 0.1
    assert FedPcl(clients=4).temperature == 0.07
    fpl = Fpl(clients=4)
    assert (fpl.contrast_weight, fpl.distance_weight) == (0.5, 0.5)
    tgp = FedTgp()
    assert (tgp.weight, tgp.margin, tgp.server_epochs) == (1.0, 100.0, 100)
    plvm = FedPlvm(clients=4)
    assert (plvm.alpha, plvm.temperature, plvm.weight) == (0.25, 0.07, 0.5)
    assert plvm.assignment == "finch"
    mpft = Mpft()
    assert (mpft.temperature, mpft.weight, mpft.server_epochs) == (4.0, 0.3, 20)
    assert (mpft.server_rate, mpft.reduction) == (1e-3, 8)
    assert [m.averages_models for m in ALL] == [False, False, True, False, True, False]

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from privassay.accountant.account import account
from privassay.accountant.errors import ConfigError
from privassay.accountant.ledger import Ledger
from privassay.fl_core.algorithms.distillation import Distillation
from privassay.fl_core.algorithms.evaluation import accuracy
from privassay.fl_core.algorithms.fedavg import plain_sgd
from privassay.fl_core.algorithms.fpl import Fpl
from privassay.fl_core.algorithms.releases import NoisyMeans, PublicChoice
from privassay.fl_core.clients import ClientData
from privassay.fl_core.plan import by_length
from privassay.mechanisms.class_means import DpplMean, DpplPublic

from .prototype_cases import (
    CLIENTS,
    DESIGN,
    KEY,
    METHODS,
    RECORDS,
    RELEASES,
    ROUNDS,
    federation,
    private,
)


def accuracy_of(algorithm, personal, data, pool):
    x, y = (values[1000:1200] for values in pool)
    rows = len(data)
    return accuracy(algorithm, personal, data, x.expand(rows, -1, -1), y.expand(rows, -1))


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_with_every_release(method, release, clients, run, pool):
    algorithm = federation(method, release)
    state, personal, data, uploads = run(algorithm, clients(RECORDS), ROUNDS)
    assert uploads.shape == (ROUNDS, 1, CLIENTS, *algorithm.upload_shape)
    for value in (*state.values(), *personal.values(), uploads):
        assert bool(value.isfinite().all())
    if release == "non_private":
        found = accuracy_of(algorithm, personal, data, pool)
        assert float(found.min()) > 0.6, found  # chance is 0.1


def test_prototypes_of_others_help_clients_with_few_records(clients, run, pool):
    found = {}
    for weight in (0.0, 2.0):
        method = Fpl(clients=CLIENTS, contrast_weight=weight, distance_weight=0.0, temperature=0.1)
        _, personal, rows, _ = run(federation(method), clients(20), 6)
        found[weight] = float(accuracy_of(federation(method), personal, rows, pool).mean())
    assert found[2.0] > found[0.0] + 0.03, found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dcr", [None, Distillation(radius=3.0)], ids=["", "dcr"])
def test_replicas_together_equal_each_alone(method, dcr, clients, run):
    algorithm = federation(
        method, "igpp", distillation=dcr, epochs=1, optimizer=plain_sgd(0.1), batch_size=8
    )
    stacked = clients(20, replicas=3)
    state, personal, rows, uploads = run(algorithm, stacked, ROUNDS)
    for replica in range(3):
        only = stacked.take((stacked.replicas == replica).nonzero()[:, 0])
        alone_state, alone, alone_rows, alone_uploads = run(algorithm, only, ROUNDS)
        place = (rows.replicas == replica).nonzero()[:, 0]
        place = place[rows.clients[place].argsort()]
        own = alone_rows.clients.argsort()
        for name, value in alone.items():
            torch.testing.assert_close(personal[name][place], value[own], rtol=1e-5, atol=1e-5)
        for name, value in alone_state.items():
            torch.testing.assert_close(state[name][replica], value[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(uploads[:, replica], alone_uploads[:, 0], rtol=1e-5, atol=1e-5)
    spread = personal["head1.weight"].view(3, CLIENTS, -1).std(dim=0)
    assert float(spread.mean()) > 1e-3  # replicas differ


def test_what_is_uploaded_is_the_statistic_of_frozen_features_in_every_round(clients, run):
    data = clients(RECORDS)
    data = data.take(by_length(data))
    for release in ("non_private", "sums and counts"):
        algorithm = federation("fedproto", release)
        mechanism = RELEASES[release].mechanism
        personal = algorithm.personal(data, KEY)
        raw, _ = algorithm.update({}, personal, data, round=0, key=KEY)
        for row in range(CLIENTS):
            mine = data.index[row, : data.lengths[row]]
            wanted = mechanism.statistic(data.x[mine].double(), data.y[mine], 10)
            torch.testing.assert_close(raw[row], wanted, rtol=1e-12, atol=1e-12)
        assert raw.dtype == torch.float64
    uploads = run(federation(), clients(RECORDS), ROUNDS)[3]
    assert torch.equal(uploads[0], uploads[2])


def test_without_local_training_the_same_leaves(clients, run):
    for method in METHODS:
        trained = run(federation(method, "igpp", epochs=1), clients(20), ROUNDS)
        untrained = run(federation(method, "igpp", local_training=False), clients(20), ROUNDS)
        assert torch.equal(trained[3], untrained[3])
        for name in METHODS[method].sends:
            assert torch.equal(trained[0][name], untrained[0][name])
        assert set(untrained[1]) <= {"statistic"}
    with pytest.raises(ConfigError, match="no personal models"):
        federation(local_training=False).finish({}, {}, clients(20), round=1, key=KEY)


def test_round_zero_trains_nobody_and_adapted_prototypes_follow_the_adapter(clients, run):
    algorithm = federation(features="adapted")
    data = clients(RECORDS)
    data = data.take(by_length(data))
    personal = algorithm.personal(data, KEY)
    first, same = algorithm.update({}, personal, data, round=0, key=KEY)
    assert all(torch.equal(same[name], personal[name]) for name in personal)
    frozen = federation().update({}, federation().personal(data, KEY), data, round=0, key=KEY)[0]
    torch.testing.assert_close(first, frozen, rtol=1e-5, atol=1e-5)  # the adapter is the identity
    uploads = run(algorithm, clients(RECORDS), 2)[3]
    assert float((uploads[1] - uploads[0]).abs().max()) > 1e-2


def test_clients_of_a_replica_start_from_one_model_and_replicas_differ(clients):
    personal = federation().personal(clients(10, replicas=2), KEY)
    for name, value in personal.items():
        if name != "statistic":
            assert torch.equal(value[0], value[3]), name
    assert not torch.equal(personal["head1.weight"][0], personal["head1.weight"][4])


@pytest.mark.parametrize("method", METHODS)
def test_nan_records_absent_classes_and_empty_clients_break_nothing(method, pool, run):
    x, y = pool[0].clone(), pool[1]
    x[5] = float("nan")
    parts = [range(5, 60), [i for i in range(60, 200) if int(y[i]) < 3], [], [300]]
    data = ClientData.of(x, y, parts)
    for release in ("non_private", "igpp", "sums and counts"):
        algorithm = federation(method, release, epochs=1)
        state, personal, rows, uploads = run(algorithm, data, ROUNDS)
        assert bool(uploads.isfinite().all())
        assert all(bool(v.isfinite().all()) for v in state.values())
        healthy = rows.clients != 0  # the client with the NaN spoils its own model alone
        for value in personal.values():
            assert bool(value[healthy].isfinite().all())


def test_a_client_that_is_not_heard_is_left_out(clients, run):
    def silent(round_, client):
        return not (round_ == 1 and client == 2)

    for method in METHODS:
        algorithm = federation(method, epochs=1)
        state, personal, _, _ = run(algorithm, clients(20), 2, present=silent)
        assert all(bool(v.isfinite().all()) for v in (*state.values(), *personal.values()))
    state, _, _, uploads = run(federation(epochs=1), clients(20), 2, present=silent)
    heard = uploads[1, 0, [0, 1, 3]].mean(dim=0)
    torch.testing.assert_close(state["prototypes"][0], heard)


def test_plvm_by_broadcast_puts_each_record_into_one_sum(clients, run):
    algorithm = federation("fedplvm, broadcast")
    state, personal, data, uploads = run(algorithm, clients(RECORDS), ROUNDS)
    plain = run(federation(), clients(RECORDS), 1)[3][0, 0]
    for round_ in range(ROUNDS):
        summed = uploads[round_, 0].unflatten(1, (10, 2)).sum(dim=2)
        torch.testing.assert_close(summed, plain, rtol=1e-9, atol=1e-9)
    second = uploads[1:, 0].unflatten(2, (10, 2))[:, :, :, 1]
    assert float(second.abs().max()) > 0.1  # later rounds use both places


def test_pooled_dimensions_stand_for_those_that_they_are_the_mean_of():
    released = torch.tensor([[[1.0, 2.0]]]).double()
    pooled = NoisyMeans(DpplMean(clip_norm=1.0, noise_multiplier=1.0, public_count=1, pool=3))
    assert pooled.width(6) == 2
    assert pooled.prototypes(released).tolist() == [[[1.0, 1.0, 1.0, 2.0, 2.0, 2.0]]]
    with pytest.raises(ConfigError, match="pooled"):
        pooled.width(5)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: federation(dim=65),
        lambda: federation("fedproto", "sums and counts", dim=63),
        lambda: federation("fedproto", PublicChoice(DpplPublic(epsilon=1.0), torch.zeros(3, 5))),
        lambda: federation(local_training=False, features="adapted"),
        lambda: federation(local_training=False, average_models=True),
        lambda: federation(private=private(), distillation=Distillation()),
        lambda: federation("mpft", private=private()),
    ],
)
def test_what_does_not_fit_together_is_refused(wrong):
    with pytest.raises(ConfigError):
        wrong()


def test_wrong_labels_and_features_are_refused(pool):
    x, y = pool
    for data, word in (
        (ClientData.of(x, y + 1, [range(50)]), "labels"),
        (ClientData.of(x, y - 1, [range(50)]), "labels"),
        (ClientData.of(x[:, :63], y, [range(50)]), "features"),
        (ClientData.of(x.view(-1, 8, 8), y, [range(50)]), "features"),
    ):
        with pytest.raises(ConfigError, match=word):
            federation().personal(data, KEY)


def test_the_page_about_prototype_methods_runs(clients):
    page = Path(__file__).parents[3] / "docs" / "prototype_methods.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    ledger = Ledger(adjacency="add-remove", unit="example")
    design = replace(DESIGN, rounds=10)
    names = {
        "design": design,
        "data": clients(12),
        "key": KEY,
        "ledger": ledger,
        "class_names": [str(digit) for digit in range(10)],
    }
    exec(code, names)
    found = account(ledger.event(), adjacency="add-remove")
    assert found.epsilon(delta=1e-5).upper == pytest.approx(8.0, abs=0.01)

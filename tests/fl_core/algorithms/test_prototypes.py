import math
import re
from dataclasses import replace
from pathlib import Path

import dp_accounting.dp_event as dpe
import pytest
import torch

from privassay.accountant.account import account
from privassay.accountant.errors import ConfigError
from privassay.accountant.ledger import Ledger
from privassay.fl_core.algorithms.distillation import Distillation
from privassay.fl_core.algorithms.evaluation import accuracy
from privassay.fl_core.algorithms.fedavg import plain_sgd
from privassay.fl_core.algorithms.fedpcl import FedPcl
from privassay.fl_core.algorithms.fedplvm import FedPlvm
from privassay.fl_core.algorithms.fedproto import FedProto
from privassay.fl_core.algorithms.fedtgp import FedTgp
from privassay.fl_core.algorithms.fpl import Fpl
from privassay.fl_core.algorithms.mpft import Mpft
from privassay.fl_core.algorithms.personal_model import adam_w, personal_model
from privassay.fl_core.algorithms.personal_training import PrivateTraining
from privassay.fl_core.algorithms.prototypes import PrototypeFederation
from privassay.fl_core.algorithms.releases import NoisyMeans, PublicChoice, SumsOverCounts
from privassay.fl_core.clients import ClientData
from privassay.fl_core.federation import Federation
from privassay.fl_core.federation import run as run_federation
from privassay.fl_core.plan import by_length
from privassay.fl_core.protection import PerUpload
from privassay.mechanisms import prototypes, vpp
from privassay.mechanisms.base import SeededKey
from privassay.mechanisms.class_means import DpplMean, DpplPublic
from privassay.mechanisms.clipping import Clip
from privassay.mechanisms.dpsgd import DpSgd

ROUNDS, CLIENTS, RECORDS = 3, 4, 60
KEY = SeededKey(1)
DESIGN = prototypes.PrototypeDesign(
    mu=1.666,  # epsilon 8 at delta 1e-5
    rounds=ROUNDS,
    adjacency="add-remove",
    clip_norm=4.0,
    group_sizes=(20, 44),
    group_norms=(2.0, 3.5),
    public_count=6,
)
METHODS = {
    "fedproto": FedProto(),
    "fedpcl": FedPcl(clients=CLIENTS),
    "fpl": Fpl(clients=CLIENTS),
    "fedtgp": FedTgp(server_epochs=10),
    "fedplvm": FedPlvm(clients=CLIENTS, centres=2),
    "fedplvm, broadcast": FedPlvm(clients=CLIENTS, centres=2, assignment="broadcast"),
    "mpft": Mpft(hidden=16),
}
RELEASES = {
    "non_private": NoisyMeans(prototypes.non_private(DESIGN)),
    "igpp": NoisyMeans(prototypes.isotropic(DESIGN)),
    "vpp": NoisyMeans(prototypes.groupwise(DESIGN)),
    "dppl": NoisyMeans(
        DpplMean(clip_norm=2.0, noise_multiplier=ROUNDS**0.5 / 1.666, public_count=6, pool=2)
    ),
    "sums and counts": SumsOverCounts(
        vpp.SumsAndCounts(
            clip=Clip(joint_norm=4.0), group_sizes=(64,), noise_stddevs=(4.0,), count_stddev=1.0
        )
    ),
}


def federation(method="fedproto", release="non_private", **changes):
    settings = {
        "method": METHODS.get(method, method),
        "release": RELEASES.get(release, release),
        "kernel": personal_model(64, 10, adapter_width=8, hidden=16),
        "dim": 64,
        "classes": 10,
        "epochs": 5,
        "batch_size": 16,
        "optimizer": adam_w(0.01),
    }
    return PrototypeFederation(**(settings | changes))


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


def test_a_nan_record_cannot_be_told_from_an_absent_one(pool):
    x, y = pool[0].clone(), pool[1]
    x[5] = float("inf")
    for method in METHODS:
        algorithm = federation(method, "sums and counts")
        nothing = {"clusters": torch.zeros(1, 10, 4, 64), "known": torch.zeros(1, 10, 4)}
        both = []
        for part in (range(5, 40), range(6, 40)):
            data = ClientData.of(x, y, [part])
            personal = algorithm.personal(data, KEY)
            both.append(algorithm.update(nothing, personal, data, round=0, key=KEY)[0])
        torch.testing.assert_close(both[0], both[1], rtol=0, atol=1e-12)


def test_absent_classes_look_like_present_ones(pool, run):
    # 200 replicas of a client without class 9 among some with it: only the noise is left.
    x, y = pool
    parts = [
        [i for i in range(200) if int(y[i]) != 9],
        range(200, 300),
        range(300, 350),
        range(350, 400),
    ]
    data = ClientData.of(x, y, parts).replicate(200)
    algorithm = federation("fedproto", "igpp", local_training=False)
    uploads = run(algorithm, data, 1)[3][0]
    stddev = RELEASES["igpp"].mechanism.noise_stddevs[0]
    absent = uploads[:, 0, 9].flatten() / stddev
    assert abs(float(absent.mean())) < 4 / len(absent) ** 0.5
    assert abs(float(absent.std()) - 1.0) < 4 / (2 * len(absent)) ** 0.5
    assert not bool((uploads == 0.0).any())


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


def shift(method, records, other, received):
    """Length of the change of the upload, times the public count, when `records` become `other`."""
    algorithm = federation(method)
    found = []
    for x in (records, other):
        data = ClientData.of(x, torch.zeros(len(x), dtype=torch.int64), [range(len(x))])
        personal = algorithm.personal(data, KEY)
        found.append(algorithm.update(received, personal, data, round=0, key=KEY)[0])
    return float((found[0] - found[1]).norm()) * DESIGN.public_count


def test_exchanging_one_record_moves_clusters_of_records_beyond_any_stated_bound():
    """Why FINCH at the client has no event, and centres that the server sent have one."""
    generator = torch.Generator().manual_seed(0)
    worst = {"fedplvm": 0.0, "fedplvm, broadcast": 0.0}
    for _ in range(60):
        x = torch.randn(12, 64, generator=generator)
        x = 4.0 * x / x.norm(dim=1, keepdim=True)
        other = x.clone()
        other[0] = -x[0]
        clusters = torch.randn(1, 10, 4, 64, generator=generator)
        received = {"clusters": clusters, "known": torch.ones(1, 10, 4)}
        for method in worst:
            worst[method] = max(worst[method], shift(method, x, other, received))
    bound = 2.0 * DESIGN.clip_norm
    assert worst["fedplvm"] > 1.5 * bound
    assert 0.5 * bound < worst["fedplvm, broadcast"] <= bound * (1 + 1e-9)


def test_models_are_averaged_only_if_asked_for_and_then_nothing_is_claimed(clients, run):
    algorithm = federation("fpl", "igpp", average_models=True, epochs=1)
    data = clients(20)
    state, _, rows, uploads = run(algorithm, data, 2)
    labels, width = 10, 64
    models = uploads[..., labels * width :]
    size = sum(math.prod(s) for s in algorithm.kernel.shapes().values())
    assert models.shape[-1] == size
    mean = models[1, 0].mean(dim=0)
    flat = torch.cat([state[f"model.{n}"][0].flatten() for n in algorithm.kernel.shapes()])
    torch.testing.assert_close(flat, mean.float())
    assert float((models[1] - models[0]).abs().max()) > 0.0
    assert isinstance(algorithm.shared.event(), dpe.NonPrivateDpEvent)
    assert any("model" in text for text in algorithm.shared.unprotected())
    apart = federation("fpl", "igpp")
    assert apart.shared.unprotected() == ()
    assert apart.shared.event() == RELEASES["igpp"].event()
    notes = [a for a in apart.shared.assumptions() if "FPL as published averages models" in a.how]
    assert len(notes) == 1 and notes[0].holds is True


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"average_models": True}, "model"),
        ({"features": "adapted"}, "without differential privacy"),
        ({"method": METHODS["fedplvm"]}, "centres"),
        ({"release": RELEASES["non_private"]}, "without noise"),
    ],
)
def test_what_is_unprotected_is_said_and_has_no_bound(changes, word):
    shared = replace(federation("fedproto", "igpp"), **changes).shared
    assert any(word in text for text in shared.unprotected()), shared.unprotected()
    assert isinstance(shared.event(), dpe.NonPrivateDpEvent)
    if "release" not in changes:
        assert any(a.holds is False for a in shared.assumptions())
    sound = federation("fedproto", "igpp").shared
    assert sound.unprotected() == () and not any(a.holds is False for a in sound.assumptions())
    bound = account(dpe.SelfComposedDpEvent(sound.event(), ROUNDS), adjacency="add-remove")
    assert bound.epsilon(delta=1e-5).upper == pytest.approx(8.0, abs=0.01)


def private(noise=1.0, rate=0.5, steps=4, clip=1.0):
    mechanism = DpSgd(
        clip_norm=clip, noise_multiplier=noise, sampling_rate=rate, expected_batch=rate * 21
    )
    return PrivateTraining(mechanism=mechanism, steps=steps)


@pytest.mark.parametrize("method", ["fedproto", "fedpcl", "fpl", "fedtgp", "fedplvm, broadcast"])
def test_adapted_prototypes_are_paid_for_with_private_training(method, clients, run):
    for changes in ({"features": "adapted"}, {"average_models": True}):
        algorithm = federation(method, "igpp", private=private(), **changes)
        assert algorithm.shared.unprotected() == ()
        assert all(a.holds is not False for a in algorithm.shared.assumptions())
        event = dpe.SelfComposedDpEvent(algorithm.shared.event(), ROUNDS)
        parts = [RELEASES["igpp"].event(), algorithm.private.mechanism.event(4)]
        assert event == dpe.SelfComposedDpEvent(dpe.ComposedDpEvent(parts), ROUNDS)
    found = account(event, adjacency="add-remove").epsilon(delta=1e-5)
    assert 8.5 < found.lower <= found.upper < 30.0, found
    state, personal, _, uploads = run(algorithm, clients(18), ROUNDS)
    for value in (*state.values(), *personal.values(), uploads):
        assert bool(value.isfinite().all())


def test_private_training_is_gradient_descent_if_nothing_is_clipped_and_the_noise_vanishes(pool):
    data = ClientData.of(*pool, [range(21 * c, 21 * c + 21) for c in range(4)])
    received = {"prototypes": torch.randn(4, 10, 64, generator=torch.Generator().manual_seed(0))}
    found = []
    for changes in (
        {"private": private(noise=1e-12, rate=1.0, steps=3, clip=1e6)},
        {"epochs": 3, "batch_size": 21},
    ):
        algorithm = federation(features="adapted", optimizer=plain_sgd(0.1), **changes)
        personal = algorithm.personal(data, KEY)
        found.append(algorithm.finish(received, personal, data, round=1, key=KEY))
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "release"), [("fedproto", "igpp"), ("fedplvm, broadcast", "vpp")]
)
def test_it_runs_in_the_real_loop_with_a_ledger(clients, method, release):
    algorithm = federation(method, release, epochs=1)
    names = tuple(f"digit {i}" for i in range(10))
    protection = PerUpload(
        mechanism=algorithm.shared, release="prototype", labels=algorithm.labels(names)
    )
    found = []
    for chunk in (512, 3):
        ledger = Ledger(adjacency="add-remove", unit="example")
        outcome = run_federation(
            Federation(
                algorithm=algorithm,
                data=clients(20, replicas=2),
                rounds=ROUNDS,
                key=KEY,
                protection=protection,
                chunk=chunk,
            ),
            ledger,
        )
        found.append(outcome)
    assert len(algorithm.labels(names)) == 10 * algorithm.method.centres
    for name, value in found[0].state.items():
        torch.testing.assert_close(found[1].state[name], value, rtol=1e-5, atol=1e-6)


def test_public_candidates_are_chosen_by_the_exponential_mechanism(clients, run, pool):
    candidates = torch.stack([pool[0][600:1000][pool[1][600:1000] == c][:3] for c in range(10)])
    release = PublicChoice(DpplPublic(epsilon=50.0), candidates.flatten(0, 1))
    algorithm = federation("fedproto", release)
    assert algorithm.upload_shape == (10, 30)
    state, personal, data, uploads = run(algorithm, clients(RECORDS), 2)
    assert bool((uploads.sum(dim=-1) == 1.0).all()) and bool(
        ((uploads == 0) | (uploads == 1)).all()
    )
    chosen = uploads.argmax(dim=-1) // 3
    assert float((chosen == torch.arange(10)).double().mean()) > 0.7
    torch.testing.assert_close(
        state["prototypes"][0], (uploads[1, 0] @ release.candidates.double()).mean(dim=0)
    )
    with pytest.raises(ConfigError, match="centres"):
        federation("fedplvm", release)


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

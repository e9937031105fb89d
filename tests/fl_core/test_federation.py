import copy
import math
import signal
import subprocess
import sys
import threading
from collections import Counter as Tally
from dataclasses import replace
from pathlib import Path

import dp_accounting.dp_event as dpe
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from privassay.accountant.account import account
from privassay.accountant.errors import ConfigError, LedgerError, ParameterError, RecordError
from privassay.accountant.ledger import EVERYONE, Ledger
from privassay.fl_core import checkpoint
from privassay.fl_core.algorithms.fedavg import FedAvg, local_order, plain_sgd
from privassay.fl_core.algorithms.fedproto import FedProto
from privassay.fl_core.algorithms.personal_model import personal_model
from privassay.fl_core.algorithms.personal_training import PrivateTraining
from privassay.fl_core.algorithms.prototypes import PrototypeFederation
from privassay.fl_core.algorithms.releases import NoisyMeans
from privassay.fl_core.clients import ClientData
from privassay.fl_core.cohort import Everyone, Poisson, Scheduled
from privassay.fl_core.federation import Federation, layout, run
from privassay.fl_core.intake import receive
from privassay.fl_core.kernels.base import flatten
from privassay.fl_core.kernels.stacked import mlp
from privassay.fl_core.protection import Aggregate, PerUpload, Unprotected
from privassay.fl_core.recorder import Recorder, Recording
from privassay.mechanisms.base import SeededKey, SystemKey
from privassay.mechanisms.dpsgd import DpSgd
from privassay.mechanisms.lora import JointDeltaSum, JointDeltaUpload
from privassay.mechanisms.prototypes import PrototypeDesign, non_private

NET = mlp((64, 16, 10))
DESIGN = PrototypeDesign(
    mu=1.0,
    rounds=3,
    adjacency="add-remove",
    clip_norm=1.0,
    group_sizes=(32, 32),
    group_norms=(1.0, 1.0),
    public_count=3,
)
CLIENTS = 23


def parts(seed=3, records=400, clients=CLIENTS):
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, clients - 1, records)  # the last client holds nothing
    return [np.flatnonzero(owner == c) for c in range(clients)]


@pytest.fixture(scope="module")
def data():
    x, y = load_digits(return_X_y=True)
    return ClientData.of(torch.from_numpy(x[:400] / 16).float(), torch.from_numpy(y[:400]), parts())


def fedavg(divisor="examples", **more):
    return FedAvg(
        kernel=NET, epochs=2, batch_size=8, optimizer=plain_sgd(0.1), divisor=divisor, **more
    )


def book(**more):
    return Ledger(adjacency="zero-out", unit="client", **more)


def go(data, ledger=None, **changes):
    settings = {"algorithm": fedavg(), "rounds": 3, "key": SeededKey(5)}
    keep = {n: changes.pop(n) for n in ("recorder", "folder", "name", "say") if n in changes}
    federation = Federation(data=data, **(settings | changes))
    return run(federation, ledger or book(), **keep)


def as_module(state):
    net = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))
    with torch.no_grad():
        for layer, name in ((net[0], "1"), (net[2], "2")):
            layer.weight.copy_(state[f"{name}.weight"][0].T)
            layer.bias.copy_(state[f"{name}.bias"][0, 0])
    return net


def test_a_run_equals_a_plain_loop_over_clients(data):
    algorithm, key = fedavg(), SeededKey(5)
    net = as_module(algorithm.start(torch.tensor([0]), key))
    for round_ in range(3):
        total, weight = None, 0
        for client in range(CLIENTS - 1):
            mine = data.take(torch.tensor([client]))
            local = copy.deepcopy(net)
            optimizer = torch.optim.SGD(local.parameters(), lr=0.1)
            for epoch in range(2):
                order = local_order(key, round_)(mine, epoch)
                for batch in mine.index.gather(1, order)[0].split(8):
                    optimizer.zero_grad()
                    loss = torch.nn.functional.cross_entropy(local(data.x[batch]), data.y[batch])
                    loss.backward()
                    optimizer.step()
            count = int(mine.lengths)
            new = [p.detach().double() * count for p in local.parameters()]
            total = new if total is None else [a + b for a, b in zip(total, new, strict=True)]
            weight += count
        with torch.no_grad():
            for parameter, value in zip(net.parameters(), total, strict=True):
                parameter.copy_(value / weight)
    found = as_module(go(data).state)
    for ours, theirs in zip(found.parameters(), net.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("chunk", [1, 2, 7, 22, 1000])
def test_the_chunk_changes_nothing(data, chunk):
    whole = flatten(go(data).state)
    assert torch.allclose(flatten(go(data, chunk=chunk).state), whole, atol=1e-6, rtol=0.0)


def test_the_order_of_the_clients_changes_nothing(data):
    mixed = data.take(torch.randperm(CLIENTS, generator=torch.Generator().manual_seed(1)))
    whole = flatten(go(data).state)
    assert torch.allclose(flatten(go(mixed).state), whole, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("protection", ["none", "upload", "sum"])
def test_a_replica_alone_is_the_replica_in_the_stack(data, protection):
    kinds = {
        "none": (Unprotected(), Poisson(0.5)),
        "upload": (
            PerUpload(
                mechanism=JointDeltaUpload(clip_norm=1.0, noise_multiplier=2.0), release="update"
            ),
            Poisson(0.5),
        ),
        "sum": (
            Aggregate(
                mechanism=JointDeltaSum(
                    clip_norm=1.0, noise_multiplier=2.0, sampling_rate=0.5, cohort=10
                )
            ),
            Poisson(0.5),
        ),
    }
    guard, cohort = kinds[protection]
    settings = {"algorithm": fedavg(divisor=10.0), "protection": guard, "cohort": cohort}
    stacked = data.replicate(4)
    together = flatten(go(stacked, chunk=9, **settings).state)
    for replica in range(4):
        alone = go(stacked.take((stacked.replicas == replica).nonzero()[:, 0]), **settings)
        assert torch.allclose(flatten(alone.state)[0], together[replica], atol=2e-6, rtol=0.0)
    assert (together[0] - together[1]).abs().max() > 1e-3, "two replicas drew the same numbers"


def test_noise_at_uploads_has_the_declared_law_and_the_ledger_its_cost(data, tmp_path):
    mechanism = JointDeltaUpload(clip_norm=0.5, noise_multiplier=3.0)
    ledger = book()
    guard = PerUpload(mechanism=mechanism, release="update")
    settings = {"algorithm": fedavg(divisor=23.0), "protection": guard, "rounds": 2}
    federation = Federation(data=data, key=SeededKey(1), **settings)
    shapes = layout(federation, raw=True)
    recorder = Recorder(tmp_path / "t", shapes)
    run(federation, ledger, recorder=recorder)
    assert sum(f.stat().st_size for f in (tmp_path / "t").glob("*.npy")) == pytest.approx(
        shapes.size, abs=128 * 16
    )
    seen = Recording.load(tmp_path / "t").view("server", oracle=True)
    clipped = mechanism.contribution(torch.from_numpy(np.array(seen["raw"])))
    noise = torch.from_numpy(np.array(seen["uploads"])) - clipped
    assert float(noise.std()) == pytest.approx(1.5, rel=0.01)
    spread = 1.5 / math.sqrt(noise.numel())
    assert float(noise.mean()) == pytest.approx(0.0, abs=5 * spread)
    flat = noise.flatten(2).flatten(0, 1)
    assert torch.corrcoef(flat).fill_diagonal_(0.0).abs().max() < 0.2, "rows share noise"
    assert account(ledger.event(), adjacency="zero-out").mu.upper == pytest.approx(
        math.sqrt(2) / 3, rel=1e-12
    )
    assert len(ledger.entries) == 2 * CLIENTS


def test_a_mechanism_with_a_generator_runs_row_by_row(data):
    guard = PerUpload(mechanism=LaplaceRow(), release="update")
    settings = {"algorithm": fedavg(divisor=23.0), "protection": guard, "rounds": 1}
    one, two = (flatten(go(data, chunk=c, **settings).state) for c in (4, 100))
    assert torch.allclose(one, two, atol=1e-5)
    plain = flatten(go(data, algorithm=fedavg(divisor=23.0), rounds=1).state)
    assert (one - plain).abs().mean() > 1e-3


class LaplaceRow:
    """A user's own mechanism, with the generator's Laplace noise."""

    point, unit = "per_upload", "client"

    def release(self, payload, key):
        drawn = key.child("laplace").generator().laplace(size=tuple(payload.shape))
        return payload.clamp(-0.1, 0.1) + torch.from_numpy(drawn).to(payload)

    def event(self):
        return dpe.LaplaceDpEvent(5.0)


def test_the_sum_costs_what_a_sampled_gaussian_costs(data):
    mechanism = JointDeltaSum(clip_norm=0.5, noise_multiplier=1.0, sampling_rate=0.2, cohort=5)
    ledger = Ledger(adjacency="add-remove", unit="client")
    settings = {"protection": Aggregate(mechanism=mechanism), "cohort": Poisson(0.2)}
    go(data, ledger, algorithm=fedavg(divisor=5.0), **settings)
    found = account(ledger.event(), adjacency="add-remove").epsilon(1e-5)
    wanted = account(mechanism.event(3), adjacency="add-remove").epsilon(1e-5)
    assert (found.lower, found.upper) == (wanted.lower, wanted.upper)
    assert {e.client for e in ledger.entries} == {EVERYONE}


def test_what_cannot_be_accounted_does_not_start(data):
    mechanism = JointDeltaSum(clip_norm=0.5, noise_multiplier=1.0, sampling_rate=0.2, cohort=5)
    guard = Aggregate(mechanism=mechanism)
    for cohort in (Everyone(), Poisson(0.3), Scheduled(lambda r: [0])):
        with pytest.raises(ConfigError, match=r"Poisson\(0.2\)"):
            go(data, algorithm=fedavg(divisor=5.0), protection=guard, cohort=cohort)
    with pytest.raises(ConfigError, match="public divisor"):
        go(data, algorithm=fedavg(), protection=guard, cohort=Poisson(0.2))
    with pytest.raises(ConfigError, match="at least one client"):
        go(data.take(torch.zeros(0, dtype=torch.int64)))


def test_the_ledger_is_written_before_anything_is_computed(data):
    class Refuses(Ledger):
        def write(self, entries):
            list(entries)
            raise LedgerError("the disk is full")

    class Never(FedAvg):
        def update(self, *arguments, **more):
            raise AssertionError("local work before the ledger")

    algorithm = Never(kernel=NET, optimizer=plain_sgd(0.1), divisor=5.0)
    with pytest.raises(LedgerError, match="disk is full"):
        go(data, Refuses(adjacency="zero-out", unit="client"), algorithm=algorithm)


def test_no_protection_proves_nothing(data):
    ledger = book()
    go(data, ledger)
    assert account(ledger.event(), adjacency="zero-out").mu.upper == math.inf


def test_poisson_cohorts_have_their_rate_and_are_secret_with_a_system_key(data):
    many = data.replicate(200)
    for key in (SeededKey(1), SystemKey()):
        counts = [len(Poisson(0.3).draw(many, r, key)) for r in range(10)]
        assert np.mean(counts) == pytest.approx(0.3 * len(many), rel=0.03)
    first, second = (Poisson(0.3).draw(many, 0, SystemKey()).tolist() for _ in range(2))
    assert first != second
    again = [Poisson(0.3).draw(many, 0, SeededKey(1)).tolist() for _ in range(2)]
    assert again[0] == again[1] != Poisson(0.3).draw(many, 1, SeededKey(1)).tolist()


def test_a_schedule_keeps_its_order_and_its_replicas(data):
    rows = Scheduled(lambda r: [5, 2]).draw(data.replicate(2), 0, SeededKey(0))
    assert rows.tolist() == [5, 2, CLIENTS + 5, CLIENTS + 2]
    assert Scheduled(lambda r: []).draw(data, 0, SeededKey(0)).tolist() == []
    for wrong in ([99], [2, 2]):
        with pytest.raises(ConfigError, match="schedule of round 0"):
            Scheduled(lambda r, wrong=wrong: wrong).draw(data, 0, SeededKey(0))


FAULTS = ("dropped before", "dropped after", "not finite", "infinite", "wrong shape")


def test_fifty_broken_clients_change_neither_the_end_nor_the_account():
    x, y = load_digits(return_X_y=True)
    pool = torch.from_numpy(x / 16).float(), torch.from_numpy(y)
    many = ClientData.of(*pool, np.array_split(np.arange(len(y)), 80))
    mechanism = JointDeltaSum(clip_norm=0.5, noise_multiplier=1.0, sampling_rate=1.0, cohort=80)
    settings = {"algorithm": fedavg(divisor=80.0), "protection": Aggregate(mechanism=mechanism)}

    def faults(round_, client):
        return FAULTS[client % 5] if client < 50 else None

    quiet, loud = book(), book()
    whole = go(many, quiet, **settings)
    broken = go(many, loud, faults=faults, **settings)
    drops = {"dropped before": 30, "dropped after": 30}
    assert broken.faults == drops | {"missing": 60, "not finite": 60, "wrong shape": 30}
    assert whole.faults == {}
    assert torch.isfinite(flatten(broken.state)).all()
    assert quiet.entries == loud.entries
    healthy = go(many.take(torch.arange(50, 80)), **settings)
    assert torch.allclose(flatten(broken.state), flatten(healthy.state), atol=1e-5), (
        "a broken upload was not a row of zeros"
    )


def sums(data, seed=5, **changes):
    """Weights after one round of noised sums."""
    mechanism = JointDeltaSum(**({"clip_norm": 0.5, "noise_multiplier": 2.0} | SURE))
    settings = {"algorithm": fedavg(divisor=1.0), "protection": Aggregate(mechanism=mechanism)}
    settings |= {"rounds": 1, "key": SeededKey(seed)}
    return flatten(go(data, **(settings | changes)).state)


SURE = {"sampling_rate": 1.0, "cohort": 1.0}


def test_the_noise_of_a_sum_has_its_law_and_is_new_in_each_round_and_replica(data):
    class Still(FedAvg):
        """Clients that change nothing, so that what moves is noise."""

        def update(self, received, personal, some, *, round, key):
            shape = (len(some), *self.upload_shape)
            return torch.zeros(shape), {}

    still = Still(kernel=NET, optimizer=plain_sgd(0.1), divisor=1.0)
    start = flatten(still.start(torch.arange(3), SeededKey(5)))
    stacked = data.replicate(3)
    one = sums(stacked, algorithm=still) - start
    two = sums(stacked, algorithm=still, rounds=2) - start - one
    noise = torch.cat([one, two])  # [rounds and replicas, parameters]
    assert float(noise.std()) == pytest.approx(1.0, rel=0.02)  # 2 times clip 0.5
    assert torch.corrcoef(noise).fill_diagonal_(0.0).abs().max() < 0.15
    assert torch.equal(sums(stacked, algorithm=still) - start, one)


def test_a_sum_of_uploads_is_clipped(data):
    quiet = JointDeltaSum(clip_norm=1e-3, noise_multiplier=1e-9, **SURE)
    moved = sums(data, protection=Aggregate(mechanism=quiet)) - flatten(
        fedavg().start(torch.tensor([0]), SeededKey(5))
    )
    assert 1e-4 < float(moved.norm()) <= CLIENTS * 1e-3 * 1.001


def test_uploads_of_several_axes_are_clipped_as_one_vector(data):
    uploads = 100.0 * torch.ones(CLIENTS, 4, 8)
    quiet = {"clip_norm": 1.0, "noise_multiplier": 1e-9}
    for guard in (
        Aggregate(mechanism=JointDeltaSum(**quiet, **SURE)),
        PerUpload(mechanism=JointDeltaUpload(**quiet), release="x"),
    ):
        rows = guard.rows(uploads, data, 0, SeededKey(0))
        assert rows.shape == uploads.shape
        assert float(rows.flatten(1).norm(dim=1).max()) < 1.0 + 1e-6


def test_clients_that_train_with_dp_sgd_are_accounted_and_noised(data):
    sgd = DpSgd(clip_norm=1.0, noise_multiplier=1.5, sampling_rate=0.3, expected_batch=5.0)
    private = PrivateTraining(mechanism=sgd, steps=4)
    ledger, algorithm = book_of_examples(), fedavg(1.0, private=private)
    settings = {"algorithm": algorithm, "protection": algorithm.protection(), "rounds": 2}
    noisy = go(data, ledger, **settings)
    found = account(ledger.event(), adjacency="add-remove").epsilon(1e-5)
    wanted = account(sgd.event(8), adjacency="add-remove").epsilon(1e-5)
    assert (found.lower, found.upper) == (wanted.lower, wanted.upper)
    again = go(data, book_of_examples(), **settings)
    assert torch.equal(flatten(noisy.state), flatten(again.state))
    small = replace(private, mechanism=replace(sgd, noise_multiplier=1e-9))
    other = {"algorithm": fedavg(1.0, private=small)}
    with pytest.raises(ConfigError, match="does not add the noise that this account is of"):
        go(data, book_of_examples(), **(settings | other))
    with pytest.raises(ConfigError, match="these counts would"):
        counted = fedavg("examples", private=private)
        go(data, book_of_examples(), **(settings | {"algorithm": counted}))
    with pytest.raises(ConfigError, match="adds no noise"):
        go(data, book_of_examples(), **(settings | {"algorithm": fedavg(1.0)}))
    other["protection"] = other["algorithm"].protection()
    quiet = go(data, book_of_examples(), **(settings | other))
    difference = flatten(noisy.state) - flatten(quiet.state)
    # 23 clients, 2 rounds, 4 steps of noise 1.5 / 5 each, at learning rate 0.1
    assert float(difference.std()) == pytest.approx(0.1 * 0.3 * math.sqrt(23 * 8), rel=0.15)


def book_of_examples():
    return Ledger(adjacency="add-remove", unit="example")


def test_who_is_bounded_is_who_the_ledger_is_for(data):
    mechanism = JointDeltaUpload(clip_norm=1.0, noise_multiplier=1.0)
    guard = PerUpload(mechanism=mechanism, release="update")
    settings = {"algorithm": fedavg(divisor=23.0), "protection": guard}
    for unit in ("example", "user"):
        with pytest.raises(ConfigError, match="bounds one client, but the ledger is for one"):
            go(data, Ledger(adjacency="zero-out", unit=unit), **settings)


def test_what_does_not_fit_is_refused(data):
    upload = JointDeltaUpload(clip_norm=1.0, noise_multiplier=1.0)
    total = JointDeltaSum(clip_norm=1.0, noise_multiplier=1.0, **SURE)
    prototypes = PrototypeFederation(
        method=FedProto(),
        release=NoisyMeans(non_private(DESIGN)),
        kernel=personal_model(64, 10, adapter_width=2, hidden=4),
        dim=64,
        classes=10,
    )
    for guard, algorithm, message in (
        (PerUpload(mechanism=total, release="x"), fedavg(9.0), "point 'aggregate'"),
        (Aggregate(mechanism=upload), fedavg(9.0), "point 'per_upload'"),
        (PerUpload(mechanism=object(), release="x"), fedavg(9.0), "point None"),
        (PerUpload(mechanism=upload, release="x", labels=("a",)), fedavg(9.0), "labels name 1"),
        (PerUpload(mechanism=upload, release="x", names=("a",)), fedavg(9.0), "for 1 clients"),
        (Aggregate(mechanism=total), prototypes, "more than the sum"),
    ):
        with pytest.raises(ConfigError, match=message):
            go(data, algorithm=algorithm, protection=guard)
    with pytest.raises(ParameterError, match="every"):
        run(Federation(algorithm=fedavg(), data=data, rounds=1, key=SeededKey(0)), book(), every=0)


def test_a_ledger_of_two_runs_needs_their_names(data):
    ledger = book()
    mechanism = JointDeltaUpload(clip_norm=1.0, noise_multiplier=1.0)
    guard = PerUpload(mechanism=mechanism, release="update")
    settings = {"algorithm": fedavg(divisor=23.0), "protection": guard, "rounds": 1}
    go(data, ledger, **settings)
    other = settings | {"algorithm": fedavg(divisor=23.0, server_learning_rate=0.5)}
    with pytest.raises(ConfigError, match="give the run a name"):
        go(data, ledger, **other)
    with pytest.raises(LedgerError, match="already used"):
        go(data, ledger, name="other", **other)  # other values under the same noise
    assert len(ledger.entries) == CLIENTS


def test_fresh_noise_goes_on_and_is_counted_again(data, tmp_path):
    mechanism = JointDeltaUpload(clip_norm=1.0, noise_multiplier=1.0)
    guard = PerUpload(mechanism=mechanism, release="update")
    federation = Federation(
        algorithm=fedavg(divisor=23.0), data=data, rounds=3, key=SystemKey(), protection=guard
    )

    class Dies(Ledger):
        def write(self, entries):
            super().write(entries)
            if len(self.entries) == 2 * CLIENTS:
                raise KeyboardInterrupt  # spent, and never released

    with Dies(adjacency="zero-out", unit="client", path=tmp_path / "ledger") as ledger:
        with pytest.raises(KeyboardInterrupt):
            run(federation, ledger, folder=tmp_path / "run", name="a")
    with book(path=tmp_path / "ledger") as ledger:
        run(federation, ledger, folder=tmp_path / "run", name="a")
        assert len(ledger.entries) == 4 * CLIENTS
    for path in (tmp_path / "ledger", tmp_path / "run" / "checkpoint.safetensors"):
        assert path.stat().st_mode & 0o077 == 0, f"{path.name} is readable by others"


def test_a_transcript_forgets_attempts_that_were_killed(data, tmp_path):
    federation = Federation(algorithm=fedavg(9.0), data=data, rounds=2, key=SeededKey(1))
    recorder = Recorder(tmp_path / "t", layout(federation))
    everyone = torch.arange(CLIENTS)
    shape = federation.algorithm.upload_shape
    ones = torch.ones(CLIENTS, *shape)
    recorder.uploads(0, everyone, ones, torch.ones(CLIENTS, dtype=torch.bool), None)
    some = Scheduled(lambda r: [1, 2])
    run(replace(federation, cohort=some), book(), recorder=recorder)
    seen = Recording.load(tmp_path / "t")
    assert seen.arrays["arrived"].sum(axis=1).tolist() == [2, 2]
    assert not seen.arrays["uploads"][0, 5].any()
    assert "without noise" in seen.trust
    for path in (tmp_path / "t").iterdir():
        assert path.stat().st_mode & 0o077 == 0 or path.suffix == ".json"


def test_arrived_says_who_was_heard(data, tmp_path):
    federation = Federation(
        algorithm=fedavg(9.0),
        data=data,
        rounds=1,
        key=SeededKey(1),
        faults=lambda round_, client: "infinite" if client == 3 else None,
    )
    run(federation, book(), recorder=Recorder(tmp_path / "t", layout(federation)))
    heard = Recording.load(tmp_path / "t").arrays["arrived"][0]
    assert heard.tolist() == [int(c != 3) for c in range(CLIENTS)]


def test_a_transcript_in_half_precision_never_overflows_in_silence(data, tmp_path):
    loud = JointDeltaUpload(clip_norm=1.0, noise_multiplier=1e6)
    federation = Federation(
        algorithm=fedavg(9.0),
        data=data,
        rounds=1,
        key=SeededKey(1),
        protection=PerUpload(mechanism=loud, release="x"),
    )
    with pytest.raises(RecordError, match="half = False"):
        run(federation, book(), recorder=Recorder(tmp_path, layout(federation, half=True)))


def test_the_widest_type_of_the_uploads_is_kept():
    tally = Tally()
    sent = [torch.zeros(2, dtype=torch.float16), torch.tensor([0.5, 1e6]), torch.zeros(2).int()]
    rows, heard = receive(sent, (2,), tally)
    assert rows.dtype == torch.float32 and rows[1].tolist() == [0.5, 1e6]
    assert heard.tolist() == [True, True, False] and tally == {"wrong shape": 1}
    rows, heard = receive([None, None], (2,), Tally())
    assert rows.shape == (2, 2) and not heard.any()


def test_records_are_held_once_or_nothing_is_said_per_example(data):
    with pytest.raises(ConfigError, match="held twice"):
        ClientData.of(data.x, data.y, [[0, 1], [1, 2]])
    with pytest.raises(ConfigError, match="held twice"):
        ClientData.of(data.x, data.y, [[0, 0]])
    both = ClientData.of(data.x, data.y, [[0, 1], [0, 1]], clients=[0, 0], replicas=[0, 1])
    assert len(both) == 2  # another replica is another world
    shared = ClientData.of(data.x, data.y, [[0, 1], [1, 2]], virtual=True)
    assert shared.take(torch.tensor([1])).virtual

    class PerExample(LaplaceRow):
        unit = "example"

    guard = PerUpload(mechanism=PerExample(), release="x")
    ledger = Ledger(adjacency="add-remove", unit="example")
    with pytest.raises(ConfigError, match="virtual"):
        go(shared, ledger, algorithm=fedavg(2.0), protection=guard)


def test_nobody_comes(data):
    guard = Unprotected()
    found = go(data, protection=guard, cohort=Scheduled(lambda r: []), algorithm=fedavg(5.0))
    start = fedavg().start(torch.tensor([0]), SeededKey(5))
    assert torch.equal(flatten(found.state), flatten(start))


def test_an_adversary_sees_its_view_and_nothing_else(data, tmp_path):
    federation = Federation(algorithm=fedavg(), data=data, rounds=2, key=SeededKey(1))
    run(federation, book(), recorder=Recorder(tmp_path, layout(federation)))
    recording = Recording.load(tmp_path)
    assert set(recording.view("peer")) == {f"broadcast-{n}" for n in NET.shapes()}
    assert set(recording.view("server")) == set(recording.view("peer")) | {"uploads", "arrived"}
    last = recording.view("peer")["broadcast-1.weight"][-1]
    assert np.array_equal(recording.view("outsider")["broadcast-1.weight"], last)
    with pytest.raises(RecordError, match="raw = True"):
        recording.view("server", oracle=True)
    with pytest.raises(RecordError, match="another run, or has other shapes"):
        Recorder(tmp_path, layout(federation, half=True))


def test_an_interrupted_run_goes_on_to_the_same_end(data, tmp_path):
    settings = {"rounds": 5, "algorithm": fedavg(divisor=9.0), "cohort": Poisson(0.4)}
    whole = go(data, **settings)

    class Stop(Exception):
        pass

    for stop in (1, 3, 4):
        folder, ledger = tmp_path / str(stop), book()

        def say(done, stop=stop):
            if done == stop:
                raise Stop

        with pytest.raises(Stop):
            go(data, ledger, folder=folder, name="a", say=say, **settings)
        with pytest.raises(RecordError, match="ledger does not begin"):
            go(data, folder=folder, name="a", **settings)
        seen = []
        again = {"folder": folder, "name": "a", "say": seen.append}
        assert go(data, ledger, **again, **settings).digest == whole.digest
        assert seen == list(range(stop + 1, 6))
        with pytest.raises(RecordError, match="another run"):
            go(data, folder=folder, name="b", **settings)
        with pytest.raises(ConfigError, match="give the run a name"):
            go(data, folder=folder, **settings)
        with pytest.raises(RecordError, match="has 5 rounds, but the run only 4"):
            go(data, ledger, folder=folder, name="a", **(settings | {"rounds": 4}))
        (folder / "checkpoint.safetensors").write_bytes(b"damaged")
        with pytest.raises(RecordError, match="damaged"):
            go(data, folder=folder, name="a", **settings)


ROUNDS = 40


def program(folder: Path, say=lambda done: None):
    """A run that can be killed; in a process of its own."""
    torch.set_num_threads(1)
    x, y = load_digits(return_X_y=True)
    pool = torch.from_numpy(x[:400] / 16).float(), torch.from_numpy(y[:400])
    mechanism = JointDeltaSum(clip_norm=0.5, noise_multiplier=1.0, sampling_rate=0.4, cohort=9)
    federation = Federation(
        algorithm=fedavg(divisor=9.0),
        data=ClientData.of(*pool, parts()),
        rounds=ROUNDS,
        key=SeededKey(2),
        cohort=Poisson(0.4),
        protection=Aggregate(mechanism=mechanism),
    )
    folder.mkdir(exist_ok=True)
    recorder = Recorder(folder / "transcript", layout(federation), name="n")
    with Ledger(adjacency="add-remove", unit="client", path=folder / "ledger.jsonl") as ledger:
        found = run(federation, ledger, recorder=recorder, folder=folder, name="n", say=say)
        rounds = [e.round for e in ledger.entries]
    assert rounds == list(range(ROUNDS)), "the ledger lost or doubled a release"
    return found.digest, found.transcript


def _kill(folder: Path, *, after: float = 60.0, rounds: int = ROUNDS) -> None:
    """Start the program and kill it after some seconds, or when so many rounds are done."""
    child = subprocess.Popen(
        [sys.executable, __file__, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child, child.stdout as lines:
        assert next(lines) == "0\n"
        timer = threading.Timer(after, child.kill)
        timer.start()
        for line in lines:
            if int(line) >= rounds:
                child.kill()
        timer.cancel()
    assert child.returncode in (0, -signal.SIGKILL)


@pytest.mark.parametrize("rounds", [1, 23])
def test_a_killed_run_goes_on_to_the_same_end(tmp_path, rounds):
    whole = program(tmp_path / "whole")
    _kill(tmp_path / "killed", rounds=rounds)
    saved = checkpoint.load(tmp_path / "killed", run="n")
    assert saved is not None and rounds <= saved.rounds < ROUNDS
    assert program(tmp_path / "killed") == whole


@pytest.mark.slow
def test_twenty_kills_at_random_moments(tmp_path):
    whole = program(tmp_path / "whole")
    rng, middle = np.random.default_rng(0), 0
    for number in range(20):
        folder = tmp_path / str(number)
        _kill(folder, after=float(rng.uniform(0.0, 0.4)))
        saved = checkpoint.load(folder, run="n") if folder.exists() else None
        middle += saved is not None and 0 < saved.rounds < ROUNDS
        assert program(folder) == whole, f"kill {number} changed the result"
    assert middle >= 10, "too few kills struck between two checkpoints"


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(0, flush=True)
    program(Path(sys.argv[1]), say=lambda done: print(done, flush=True))

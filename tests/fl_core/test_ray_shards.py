"""Real Ray processes: the same results as in this process."""

import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from privassay.accountant.errors import ParameterError
from privassay.accountant.ledger import Ledger
from privassay.fl_core.algorithms.fedavg import FedAvg, plain_sgd
from privassay.fl_core.algorithms.fedproto import FedProto
from privassay.fl_core.algorithms.personal_model import personal_model
from privassay.fl_core.algorithms.prototypes import PrototypeFederation
from privassay.fl_core.algorithms.releases import NoisyMeans
from privassay.fl_core.clients import ClientData
from privassay.fl_core.cohort import Everyone, Poisson
from privassay.fl_core.engines.local import Local
from privassay.fl_core.engines.ray_shards import RayShards
from privassay.fl_core.federation import Federation, layout, run
from privassay.fl_core.kernels.base import flatten
from privassay.fl_core.kernels.stacked import mlp
from privassay.fl_core.protection import PerUpload
from privassay.fl_core.recorder import Recorder, Recording
from privassay.mechanisms.base import SeededKey, SystemKey
from privassay.mechanisms.lora import JointDeltaUpload
from privassay.mechanisms.prototypes import PrototypeDesign, isotropic

ray = pytest.importorskip("ray")
CLIENTS = 11


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One for all tests of this file: starting it is what takes long."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def data():
    x, y = load_digits(return_X_y=True)
    pool = torch.from_numpy(x[:300] / 16).float(), torch.from_numpy(y[:300])
    return ClientData.of(*pool, np.array_split(np.arange(300), CLIENTS)).replicate(2)


def fedavg(data):
    mechanism = JointDeltaUpload(clip_norm=1.0, noise_multiplier=0.5)
    return Federation(
        algorithm=FedAvg(
            kernel=mlp((64, 8, 10)), batch_size=8, optimizer=plain_sgd(0.1), divisor=6.0
        ),
        data=data,
        rounds=3,
        key=SeededKey(7),
        protection=PerUpload(mechanism=mechanism, release="update"),
        cohort=Poisson(0.6),
        chunk=4,
    )


def prototypes(data):
    design = PrototypeDesign(
        mu=5.0,
        rounds=3,
        adjacency="add-remove",
        clip_norm=3.0,
        group_sizes=(32, 32),
        group_norms=(3.0, 3.0),
        public_count=3,
    )
    algorithm = PrototypeFederation(
        method=FedProto(),
        release=NoisyMeans(isotropic(design)),
        kernel=personal_model(64, 10, adapter_width=4, hidden=8),
        dim=64,
        classes=10,
        batch_size=8,
    )
    guard = PerUpload(
        mechanism=algorithm.shared,
        release="prototypes",
        labels=algorithm.labels([str(c) for c in range(10)]),
    )
    return Federation(
        algorithm=algorithm, data=data, rounds=3, key=SeededKey(7), protection=guard, chunk=4
    )


@pytest.mark.parametrize("make", [fedavg, prototypes])
def test_shards_give_the_results_of_one_process(data, tmp_path, make):
    federation = make(data)
    adjacency = "zero-out" if make is fedavg else "add-remove"
    unit = "client" if make is fedavg else "example"
    one, two = (Ledger(adjacency=adjacency, unit=unit) for _ in range(2))
    recorders = [Recorder(tmp_path / n, layout(federation, raw=True)) for n in ("one", "two")]
    local = run(federation, one, recorder=recorders[0])
    shards = partial(RayShards, shards=2)
    spread = run(federation, two, engine=shards, recorder=recorders[1])
    for a, b in ((local.state, spread.state), (local.personal, spread.personal)):
        assert list(a) == list(b)
        for name in a:
            assert torch.allclose(a[name], b[name], atol=1e-6), name
    assert one.entries == two.entries
    mine, theirs = (
        Recording.load(tmp_path / n).view("server", oracle=True) for n in ("one", "two")
    )
    for name in mine:
        assert np.allclose(mine[name], theirs[name], atol=1e-6), name


class Stop(Exception):
    pass


def stop_after(rounds):
    def say(done):
        if done == rounds:
            raise Stop

    return say


@pytest.mark.parametrize("first", ["shards", "process"])
def test_a_run_moves_from_shards_to_one_process_and_back(data, tmp_path, first):
    federation = prototypes(data)
    engines = [Local, partial(RayShards, shards=2)]
    before, after = engines if first == "process" else engines[::-1]
    ledger = Ledger(adjacency="add-remove", unit="example")
    settings = {"folder": tmp_path / "run", "name": "a"}
    with pytest.raises(Stop):  # two rounds: in the first nobody trains
        run(federation, ledger, engine=before, say=stop_after(2), **settings)
    found = run(federation, ledger, engine=after, **settings)
    whole = run(federation, Ledger(adjacency="add-remove", unit="example"))
    start = federation.algorithm.personal(data, federation.key)
    assert torch.allclose(flatten(found.personal), flatten(whole.personal), atol=1e-6)
    assert not torch.allclose(flatten(found.personal), flatten(start), atol=1e-3)


def test_a_lost_shard_is_asked_again(data):
    class Loses(RayShards):
        def work(self, rows, sent, round, *, raw):
            if round == 1:
                ray.kill(self._actors[0])
            return super().work(rows, sent, round, raw=raw)

    federation = fedavg(data)
    books = [Ledger(adjacency="zero-out", unit="client") for _ in range(2)]
    whole = run(federation, books[0])
    found = run(federation, books[1], engine=partial(Loses, shards=2))
    assert torch.allclose(flatten(found.state), flatten(whole.state), atol=1e-6)
    assert found.faults == {} and books[0].entries == books[1].entries


def test_a_shard_that_is_lost_twice_sends_nothing(data):
    class Loses(RayShards):
        starts = 0

        def _start(self, shard):
            actor = super()._start(shard)
            self.starts += 1
            if self.starts == 3:  # the first one that is started again
                ray.kill(actor)
            return actor

        def work(self, rows, sent, round, *, raw):
            ray.kill(self._actors[0])
            return super().work(rows, sent, round, raw=raw)

    federation = replace(fedavg(data), cohort=Everyone(), rounds=1)
    ledger = Ledger(adjacency="zero-out", unit="client")
    found = run(federation, ledger, engine=partial(Loses, shards=2))
    assert found.faults == {"missing": len(data) // 2}
    assert len(ledger.entries) == CLIENTS


def test_all_shards_start_from_one_model_also_with_fresh_noise(data):
    federation = replace(prototypes(data), key=SystemKey(), rounds=1)
    ledger = Ledger(adjacency="add-remove", unit="example")
    found = run(federation, ledger, engine=partial(RayShards, shards=2))
    names = federation.algorithm.kernel.shapes()
    for replica in (0, 1):
        rows = flatten({n: found.personal[n] for n in names})[data.replicas == replica]
        assert len(rows.unique(dim=0)) == 1


def test_zero_shards_are_refused(data):
    with pytest.raises(ParameterError, match="shards"):
        run(
            fedavg(data),
            Ledger(adjacency="zero-out", unit="client"),
            engine=partial(RayShards, shards=0),
        )

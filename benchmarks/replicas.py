"""Replicas of a prototype federation: all at once, one after another, and the usual way.

    python benchmarks/replicas.py [--replicas 200] [--json]

FedProto with IGPP noise, 4 clients, 10 rounds, 1 local epoch, cached 64-dimensional features; the
same computation three times: stacked, replica by replica with the same code, and client by client
as torch modules. Processor seconds of one thread, best of 3; the two slow ways run a few replicas
and are scaled. "Transcript" leaves out local training, which changes nothing that leaves.
"""

import json
import sys
import time

import numpy as np
import torch
from torch import nn

from privassay.accountant.ledger import Ledger
from privassay.fl_core.algorithms.fedavg import local_order, plain_sgd
from privassay.fl_core.algorithms.fedproto import FedProto
from privassay.fl_core.algorithms.personal_model import adam_w, personal_model
from privassay.fl_core.algorithms.prototypes import PrototypeFederation
from privassay.fl_core.algorithms.releases import NoisyMeans
from privassay.fl_core.clients import ClientData
from privassay.fl_core.federation import Federation, run
from privassay.fl_core.protection import PerUpload
from privassay.mechanisms import prototypes
from privassay.mechanisms.base import SeededKey

CLIENTS, CLASSES, DIM, ROUNDS, RATE = 4, 10, 64, 10, 0.1
KEY = SeededKey(0)
FEW = 3
CASES = [
    {"records": 40, "batch": 4, "width": 8, "hidden": 32, "optimizer": "sgd"},
    {"records": 40, "batch": 10, "width": 8, "hidden": 32, "optimizer": "sgd"},
    {"records": 40, "batch": 10, "width": 16, "hidden": 64, "optimizer": "sgd"},
    {"records": 40, "batch": 10, "width": 16, "hidden": 64, "optimizer": "adamw"},
    {"records": 100, "batch": 32, "width": 16, "hidden": 64, "optimizer": "sgd"},
]


def data(records, replicas):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(CLIENTS * records, DIM, generator=generator)
    y = torch.arange(len(x)) % CLASSES
    return ClientData.of(x, y, np.array_split(np.arange(len(x)), CLIENTS)).replicate(replicas)


def federation(rows, *, records, batch, width, hidden, optimizer, training=True):
    design = prototypes.PrototypeDesign(
        mu=1.666,
        rounds=ROUNDS,
        adjacency="add-remove",
        clip_norm=8.0,
        group_sizes=(20, 44),
        group_norms=(4.5, 6.6),
        public_count=max(1, records // CLASSES),
    )
    algorithm = PrototypeFederation(
        method=FedProto(),
        release=NoisyMeans(prototypes.isotropic(design)),
        kernel=personal_model(DIM, CLASSES, adapter_width=width, hidden=hidden),
        dim=DIM,
        classes=CLASSES,
        epochs=1,
        batch_size=batch,
        optimizer=adam_w() if optimizer == "adamw" else plain_sgd(RATE),
        local_training=training,
    )
    labels = tuple(str(label) for label in range(CLASSES))
    protection = PerUpload(mechanism=algorithm.shared, release="prototype", labels=labels)
    return Federation(algorithm=algorithm, data=rows, rounds=ROUNDS, key=KEY, protection=protection)


def ours(built):
    run(built, Ledger(adjacency="add-remove", unit="example"))


def usual(built, *, batch, width, hidden, optimizer, records):
    """Client by client, round by round, as simulators do it; noise and server included."""
    rows, algorithm = built.data, built.algorithm
    mechanism = algorithm.release.mechanism
    personal = algorithm.personal(rows, KEY)
    models = []
    for row in range(len(rows)):
        down = nn.Linear(DIM, width, bias=False)
        up = nn.Linear(width, DIM, bias=False)
        head = nn.Sequential(nn.Linear(DIM, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES))
        with torch.no_grad():
            for layer, name in ((down, "adapter.down"), (up, "adapter.up"), (head[0], "head1"),
                                (head[2], "head2")):  # fmt: skip
                layer.weight.copy_(personal[f"{name}.weight"][row].T)
        models.append(nn.ModuleList([down, up, head]))
    shared = None
    for round_ in range(ROUNDS):
        uploads = []
        for row, (down, up, head) in enumerate(models):
            mine = rows.index[row, : rows.lengths[row]]
            x, y = rows.x[mine], rows.y[mine]
            if shared is not None:
                parameters = models[row].parameters()
                descent = (
                    torch.optim.AdamW(parameters, lr=1e-3, weight_decay=5e-4)
                    if optimizer == "adamw"
                    else torch.optim.SGD(parameters, lr=RATE)
                )
                order = local_order(KEY, round_)(rows.take(torch.tensor([row])), 0)[0]
                for some in order.split(batch):
                    features = x[some] + up(torch.relu(down(x[some])))
                    loss = nn.functional.cross_entropy(head(features), y[some])
                    loss = loss + 0.1 * nn.functional.mse_loss(features, shared[y[some]])
                    descent.zero_grad()
                    loss.backward()
                    descent.step()
            statistic = mechanism.statistic(x.double(), y, CLASSES)
            uploads.append(mechanism.perturb(statistic, KEY.child("noise", round_, row)))
        shared = torch.stack(uploads).mean(dim=0).float()


def best(work, times=3):
    found = float("inf")
    for _ in range(times):
        start = time.process_time()
        work()
        found = min(found, time.process_time() - start)
    return found


def measure(replicas, **case):
    all_rows, single = data(case["records"], replicas), data(case["records"], 1)
    one = federation(single, **case)
    stacked = best(lambda: ours(federation(all_rows, **case)), times=2)
    alone = best(lambda: [ours(one) for _ in range(FEW)]) / FEW * replicas
    plain = best(lambda: [usual(one, **case) for _ in range(FEW)]) / FEW * replicas
    silent = best(lambda: ours(federation(all_rows, **case, training=False)))
    return {
        "case": " ".join(f"{name}={value}" for name, value in case.items()),
        "replicas": replicas,
        "stacked s": stacked,
        "one after another s": alone,
        "torch modules s": plain,
        "transcript s": silent,
    }


def main():
    torch.set_num_threads(1)
    replicas = 200
    if "--replicas" in sys.argv:
        replicas = int(sys.argv[sys.argv.index("--replicas") + 1])
    for case in CASES:
        found = measure(replicas, **case)
        if "--json" in sys.argv:
            print(json.dumps(found))
            continue
        stacked = found["stacked s"]
        print(f"{found['case']}, {replicas} replicas")
        print(f"  stacked               {stacked:8.2f} s")
        for name in ("one after another s", "torch modules s"):
            print(f"  {name[:-2]:20s} {found[name]:9.2f} s, {found[name] / stacked:6.1f} x")
        print(
            f"  transcript alone      {found['transcript s']:8.2f} s, "
            f"{found['one after another s'] / found['transcript s']:.0f} x one after another"
        )


if __name__ == "__main__":
    main()

"""The federated core beside its peers on one workload, in one run.

    python benchmarks/core.py [--pfl PYTHON] [--flower PYTHON] [--only speed,scale] [--json]

PYTHON is the interpreter of an environment that holds the peer (`pip install "pfl[pytorch]==0.6.0"
scikit-learn`, `pip install "flwr[simulation]==1.41.0" torch scikit-learn`); both clash with our
pins, so each needs its own. Without one the peer is left out, and the table says so.

(a) speed: the common workload (peers/workload.py). Passes of all systems alternate, so that a busy
machine is busy for all; the smallest time of each counts. Start-up is not counted.
(b) scale: 100 to 100,000 virtual clients of 15 records, one round, each in a process of its own.
(c) replicas: 200 replicas of a 10-round FedProto run, stacked and one after another (replicas.py).
"""

import argparse
import copy
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
PEERS = Path(__file__).parent / "peers"
sys.path.insert(0, str(PEERS))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import workload  # noqa: E402

from privassay.accountant.ledger import Ledger  # noqa: E402
from privassay.fl_core.algorithms.fedavg import FedAvg, plain_sgd  # noqa: E402
from privassay.fl_core.clients import ClientData  # noqa: E402
from privassay.fl_core.cohort import Scheduled  # noqa: E402
from privassay.fl_core.federation import Federation, run  # noqa: E402
from privassay.fl_core.kernels.stacked import mlp  # noqa: E402
from privassay.mechanisms.base import SeededKey  # noqa: E402

NET = mlp((64, 128, 10))
START = workload.network()


class SameStart(FedAvg):
    """FedAvg from the workload's initial model."""

    def start(self, replicas, key):
        """One replica; making the model is not timed."""
        net = START
        layers = (("1", net[0]), ("2", net[2]))
        with torch.no_grad():
            return {
                f"{name}.{kind}": value
                for name, layer in layers
                for kind, value in (
                    ("weight", layer.weight.T.unsqueeze(0).contiguous()),
                    ("bias", layer.bias.view(1, 1, -1).clone()),
                )
            }


def order(data, epoch, round_):
    """The workload's orders as padded rows."""
    found = torch.arange(data.index.shape[1]).repeat(len(data), 1)
    for row, (client, n) in enumerate(
        zip(data.clients.tolist(), data.lengths.tolist(), strict=True)
    ):
        found[row, :n] = workload.local_order(round_, client, n)
    return found


def pool():
    """The clients' records as one pool."""
    parts, test = workload.clients()
    sizes = np.cumsum([0] + [len(y) for _, y in parts])
    x = torch.from_numpy(np.concatenate([x for x, _ in parts]))
    y = torch.from_numpy(np.concatenate([y for _, y in parts]))
    rows = [np.arange(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
    return ClientData.of(x, y, rows), parts, test


def ours(data, size):
    algorithm = SameStart(
        kernel=NET,
        epochs=1,
        batch_size=workload.BATCH,
        optimizer=plain_sgd(workload.LEARNING_RATE),
        divisor="examples",
        order=order,
    )
    federation = Federation(
        algorithm=algorithm,
        data=data,
        rounds=workload.ROUNDS,
        key=SeededKey(0),
        cohort=Scheduled(lambda r: workload.cohort(r, size)),
    )
    return run(federation, Ledger(adjacency="zero-out", unit="client")).state


def plain_loop(parts, size):
    """One deep copy and one torch optimiser per client."""
    net = copy.deepcopy(START)
    loss = torch.nn.functional.cross_entropy
    for round_ in range(workload.ROUNDS):
        total, weight = None, 0
        for client in workload.cohort(round_, size):
            x, y = parts[client]
            local = copy.deepcopy(net)
            optimizer = torch.optim.SGD(local.parameters(), lr=workload.LEARNING_RATE)
            for batch in workload.local_order(round_, int(client), len(y)).split(workload.BATCH):
                optimizer.zero_grad()
                loss(local(x[batch]), y[batch]).backward()
                optimizer.step()
            mine = [p.detach() * len(y) for p in local.parameters()]
            total = mine if total is None else [a + b for a, b in zip(total, mine, strict=True)]
            weight += len(y)
        with torch.no_grad():
            for parameter, value in zip(net.parameters(), total, strict=True):
                parameter.copy_(value / weight)
    return net


def peer(python, script, *words):
    """What a peer prints, or None without an interpreter."""
    if python is None:
        return None
    done = subprocess.run(
        [python, str(PEERS / script), *map(str, words)], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{script} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def seconds(function, *arguments):
    start = time.perf_counter()
    value = function(*arguments)
    return time.perf_counter() - start, value


def speed(arguments):
    torch.set_num_threads(1)
    data, raw, (test_x, test_y) = pool()
    parts = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in raw]
    test_x, test_y = torch.from_numpy(test_x), torch.from_numpy(test_y)
    rows = []
    for size in (10, 100):
        times = {"privassay": [], "plain loop": [], "pfl 0.6.0": [], "Flower 1.41": []}
        for _ in range(arguments.passes):
            for _ in range(3):
                taken, state = seconds(ours, data, size)
                times["privassay"].append(taken)
            taken, net = seconds(plain_loop, parts, size)
            times["plain loop"].append(taken)
            found = peer(arguments.pfl, "pfl_core.py", size, 4)
            if found:
                times["pfl 0.6.0"] += found["seconds"][1:]  # the first warms up
        if arguments.flower:
            found_flower = peer(arguments.flower, "flower_core.py", size, workload.ROUNDS)
            times["Flower 1.41"] = [found_flower["seconds"]]
        theirs = [p.detach() for p in (net[0].weight.T, net[0].bias, net[2].weight.T, net[2].bias)]
        gap = max(
            float((a[0] - b).abs().max()) for a, b in zip(state.values(), theirs, strict=True)
        )
        with torch.no_grad():
            right = (net(test_x).argmax(1) == test_y).double().mean()
            own = (NET.outputs(state, test_x.unsqueeze(0)).logits[0].argmax(1) == test_y).double()
        best = min(times["privassay"])
        for name, each in times.items():
            if each:
                accuracy = {
                    "privassay": float(own.mean()),
                    "plain loop": float(right),
                    "pfl 0.6.0": found and found["accuracy"],
                    "Flower 1.41": arguments.flower and found_flower["accuracy"],
                }[name]
                rows.append(
                    {
                        "cohort": f"{size} of 100",
                        "system": name,
                        "seconds": min(each),
                        "rounds_per_second": workload.ROUNDS / min(each),
                        "times_ours": min(each) / best,
                        "accuracy": accuracy,
                        "largest_difference": gap if name == "privassay" else None,
                    }
                )
    return rows


def scale_one(count):
    """One round of `count` virtual clients; prints seconds and peak memory."""
    torch.set_num_threads(1)
    data, _, _ = pool()
    draw = np.random.Generator(np.random.Philox(0)).integers(0, len(data.x), (count, 15))
    virtual = ClientData.of(data.x, data.y, draw, virtual=True)
    algorithm = FedAvg(
        kernel=NET, batch_size=16, optimizer=plain_sgd(workload.LEARNING_RATE), divisor="examples"
    )
    federation = Federation(algorithm=algorithm, data=virtual, rounds=1, key=SeededKey(0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken, _ = seconds(run, federation, Ledger(adjacency="zero-out", unit="client"))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": taken,
        "peak_mb": after * unit / 2**20,
        "grown_mb": (after - before) * unit / 2**20,
    }


def scale():
    rows = []
    for count in (100, 1_000, 10_000, 100_000):
        done = subprocess.run(
            [sys.executable, __file__, "--scale-one", str(count)],
            capture_output=True,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout)
        rows.append(
            {
                "clients": count,
                "seconds": found["seconds"],
                "microseconds_per_client_round": found["seconds"] / count * 1e6,
                "peak_mb": found["peak_mb"],
                "grown_mb": found["grown_mb"],
            }
        )
    return rows


def table(title, rows):
    print(f"\n{title}")
    names = list(rows[0])
    cells = [[_cell(row[name]) for name in names] for row in rows]
    widths = [max(len(name), *(len(c[i]) for c in cells)) for i, name in enumerate(names)]
    for line in [names, *cells]:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))


def _cell(value):
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pfl", help="Python of an environment with pfl")
    parser.add_argument("--flower", help="Python of an environment with Flower")
    parser.add_argument("--only", default="speed,scale,replicas")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--scale-one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.scale_one:
        print(json.dumps(scale_one(arguments.scale_one)))
        return
    found = {}
    if "speed" in arguments.only:
        found["speed"] = speed(arguments)
    if "scale" in arguments.only:
        found["scale"] = scale()
    if "replicas" in arguments.only:
        import replicas

        found["replicas"] = [replicas.measure(200, **case) for case in replicas.CASES]
    if arguments.json:
        print(json.dumps(found))
        return
    for name, rows in found.items():
        table(name, rows)
    missing = [n for n in ("pfl", "flower") if not getattr(arguments, n)]
    if missing and "speed" in found:
        print(f"\nleft out, no interpreter given: {', '.join(missing)}")


if __name__ == "__main__":
    main()

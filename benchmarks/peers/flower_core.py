"""Flower's simulation on the common workload, in its own environment: prints seconds.

    PYTHON_OF_FLOWER benchmarks/peers/flower_core.py COHORT ROUNDS

One process per virtual client is Ray's actor here: as many actors as there are cores. The cohort
is drawn by the framework. Starting Ray is not counted: the server app measures from its first
message to its last.
"""

import json
import logging
import os
import sys
import time

os.environ.update(FLWR_TELEMETRY_ENABLED="0", RAY_USAGE_STATS_ENABLED="0", OMP_NUM_THREADS="1")

import torch  # noqa: E402
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.serverapp import Grid, ServerApp  # noqa: E402
from flwr.serverapp.strategy import FedAvg  # noqa: E402
from flwr.simulation import run_simulation  # noqa: E402
from workload import BATCH, LEARNING_RATE, clients, local_order, network  # noqa: E402

SIZE, ROUNDS = int(sys.argv[1]), int(sys.argv[2])
client_app, server_app = ClientApp(), ServerApp()
FOUND = {}
_CACHE = {}


@client_app.train()
def train(message: Message, context: Context) -> Message:
    torch.set_num_threads(1)
    if "parts" not in _CACHE:
        _CACHE["parts"] = clients()[0]
    number = int(context.node_config["partition-id"])
    x, y = (torch.from_numpy(part) for part in _CACHE["parts"][number])
    net = network()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE)
    round_ = int(message.content["config"]["server-round"]) - 1
    for batch in local_order(round_, number, len(y)).split(BATCH):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
        optimizer.step()
    content = {
        "arrays": ArrayRecord(net.state_dict()),
        "metrics": MetricRecord({"num-examples": len(y)}),
    }
    return Message(content=RecordDict(content), reply_to=message)


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    while len(list(grid.get_node_ids())) < 100:
        time.sleep(0.1)
    strategy = FedAvg(
        fraction_train=SIZE / 100,
        fraction_evaluate=0.0,
        min_train_nodes=SIZE,
        min_available_nodes=100,
    )
    for rounds in (1, ROUNDS):  # the first starts the actors
        start = time.perf_counter()
        result = strategy.start(
            grid=grid, initial_arrays=ArrayRecord(network().state_dict()), num_rounds=rounds
        )
        FOUND["seconds"] = time.perf_counter() - start
    net = network()
    net.load_state_dict(result.arrays.to_torch_state_dict())
    x, y = (torch.from_numpy(part) for part in clients()[1])
    with torch.no_grad():
        FOUND["accuracy"] = float((net(x).argmax(1) == y).double().mean())


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    run_simulation(
        server_app=server_app,
        client_app=client_app,
        num_supernodes=100,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": 2, "include_dashboard": False},
        },
    )
    print(json.dumps(FOUND))

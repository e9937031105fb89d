"""pfl-research on the common workload, in its own environment: prints seconds of each pass.

    PYTHON_OF_PFL benchmarks/peers/pfl_core.py COHORT PASSES

pfl draws no order of a client's records, so its accuracy differs; its cohort is ours. It evaluates
the cohort in the first round, so the other nine are timed and scaled to ten.
"""

import json
import logging
import sys
import time

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from workload import BATCH, LEARNING_RATE, ROUNDS, clients, cohort, network


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x):
        return self.net(x)

    def loss(self, x, y, eval=False):
        return torch.nn.functional.cross_entropy(self.net(x), y)

    def metrics(self, x, y, eval=False):
        return {"right": Weighted(int((self.net(x).argmax(1) == y).sum()), len(y))}


class Clock(TrainingProcessCallback):
    def __init__(self):
        self.times = []

    def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
        self.times.append(time.perf_counter())
        return False, Metrics()


def one_pass(parts, size):
    schedule = iter([int(c) for r in range(ROUNDS) for c in cohort(r, size)] + [0] * size)
    data = FederatedDataset(lambda user: parts[user], lambda: next(schedule))
    module = Net()
    model = PyTorchModel(
        model=module,
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.SGD(module.parameters(), lr=1.0),
    )
    backend = SimulatedBackend(
        training_data=data, val_data=data, postprocessors=[WeightByDatapoints()]
    )
    clock = Clock()
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=ROUNDS,
            evaluation_frequency=10**9,
            train_cohort_size=size,
            val_cohort_size=0,
        ),
        backend=backend,
        model=model,
        model_train_params=NNTrainHyperParams(
            local_num_epochs=1, local_learning_rate=LEARNING_RATE, local_batch_size=BATCH
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=None),
        callbacks=[clock],
    )
    return (clock.times[-1] - clock.times[0]) * ROUNDS / (ROUNDS - 1), module


def main():
    size, passes = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    raw, test = clients()
    parts = [
        Dataset((torch.from_numpy(x), torch.from_numpy(y)), user_id=str(i))
        for i, (x, y) in enumerate(raw)
    ]
    seconds = []
    for _ in range(passes):
        taken, module = one_pass(parts, size)
        seconds.append(taken)
    with torch.no_grad():
        right = (module(torch.from_numpy(test[0])).argmax(1) == torch.from_numpy(test[1])).double()
    print(json.dumps({"seconds": seconds, "accuracy": float(right.mean())}))


main()

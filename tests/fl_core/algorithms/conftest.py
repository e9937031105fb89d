"""Four clients with handwritten digits, and a loop of twenty lines that runs an algorithm."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from privassay.fl_core.algorithms.base import Received
from privassay.fl_core.clients import ClientData
from privassay.fl_core.plan import by_length
from privassay.fl_core.row_key import of_rows, one_row
from privassay.fl_core.simulate import one_thread
from privassay.mechanisms.base import SeededKey

CLIENTS, CLASSES, DIM = 4, 10, 64


@pytest.fixture(autouse=True)
def small_tensors():
    with one_thread():
        yield


@pytest.fixture(scope="session")
def pool():
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return torch.from_numpy(x[order] / 16).float(), torch.from_numpy(y[order])


@pytest.fixture
def clients(pool):
    """(records per client, replicas) -> rows; the clients' sizes differ a little."""

    def build(records, replicas=1):
        ends = np.cumsum([records + 3 * c for c in range(CLIENTS)])
        parts = np.split(np.arange(ends[-1]), ends[:-1])
        return ClientData.of(*pool, parts).replicate(replicas)

    return build


@pytest.fixture
def run():
    """(algorithm, data, rounds) -> (server's state, personal state, rows, uploads by round)."""

    def loop(algorithm, data, rounds, key=None, present=lambda round_, client: True):
        key = key or SeededKey(1)
        data = data.take(by_length(data))
        numbers, place = data.replicas.unique(return_inverse=True)
        state, personal = algorithm.start(numbers, key), algorithm.personal(data, key)
        uploads = []
        for round_ in range(rounds):
            sent = {n: v[place] for n, v in algorithm.broadcast(state).items()}
            raw, personal = algorithm.update(sent, personal, data, round=round_, key=key)
            try:
                noisy = algorithm.shared.perturb(raw, of_rows(key.child("noise"), data, round_))
            except ValueError:  # draws from a generator: row by row
                noisy = torch.stack(
                    [
                        algorithm.shared.perturb(
                            row[None], one_row(key, round_, int(data.clients[i]), int(place[i]))
                        )[0]
                        for i, row in enumerate(raw)
                    ]
                )
            here = torch.tensor([present(round_, c) for c in range(CLIENTS)])
            rows = torch.zeros(len(numbers), CLIENTS, *algorithm.upload_shape).double()
            rows[place, data.clients] = noisy
            rows[:, ~here] = 0.0
            arrived = here.expand(len(numbers), -1)
            weight = arrived.sum(dim=1).double()
            got = Received(None, rows, arrived, weight)
            if not algorithm.keeps_rows:
                got = Received(rows.sum(dim=1), None, arrived, weight)
            state = algorithm.serve(state, got, round=round_, key=key)
            uploads.append(rows)
        if algorithm.local_training:
            sent = {n: v[place] for n, v in algorithm.broadcast(state).items()}
            personal = algorithm.finish(sent, personal, data, round=rounds, key=key)
        return state, personal, data, torch.stack(uploads)

    return loop

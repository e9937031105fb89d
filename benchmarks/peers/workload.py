"""The common workload: 100 clients, scikit-learn's digits, a small network, 10 rounds.

Every system trains on the same clients in the same order. Needs numpy and scikit-learn only, so
that it loads in the environment of each peer.
"""

import numpy as np
from sklearn.datasets import load_digits

ROUNDS, BATCH, LEARNING_RATE = 10, 16, 0.1


def clients(count=100, alpha=0.3, seed=0):
    """[(x float32[n, 64], y int64[n])] per client, and the same for the test part."""
    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    x, y = (x[order] / 16).astype(np.float32), y[order]
    test, x, y = (x[1500:], y[1500:]), x[:1500], y[:1500]
    while True:  # until nobody is empty
        parts = [[] for _ in range(count)]
        for label in range(10):
            rows = np.flatnonzero(y == label)
            rng.shuffle(rows)
            share = rng.dirichlet(np.full(count, alpha))
            cuts = (np.cumsum(share) * len(rows)).astype(int)[:-1]
            for part, piece in zip(parts, np.split(rows, cuts), strict=True):
                part.extend(piece)
        if min(map(len, parts)) >= 1:
            return [(x[p], y[p]) for p in parts], test


def cohort(round_, size):
    """Numbers of the clients of a round: 10 drawn, or all 100."""
    if size == 100:
        return np.arange(100)
    return np.random.default_rng(1000 + round_).choice(100, size, replace=False)


def network():
    """The initial model, the same everywhere."""
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))


def local_order(round_, client, n):
    """Order of a client's records in a round."""
    import torch

    return torch.randperm(n, generator=torch.Generator().manual_seed(1000 * round_ + client))

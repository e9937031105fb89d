"""A small network, two records, and views of a federation that trains it."""

import numpy as np
import torch

from privassay.attacks.membership.updates import Records, Updates
from privassay.fl_core.kernels.stacked import mlp

NET = mlp((3, 2))  # 8 parameters
D, TRIALS, ROUNDS, CLIENTS, M = 8, 3, 4, 5, 2
RECORDS = Records(x=torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.2, -1.0]]), y=torch.tensor([1, 0]))


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def server(models=None, uploads=None, arrived=None):
    uploads = normal(TRIALS, ROUNDS, CLIENTS, D, seed=2) if uploads is None else uploads
    shape = uploads.shape[:3]
    return Updates(
        adversary="server",
        models=normal(shape[0], shape[1] + 1, D, seed=1) if models is None else models,
        uploads=uploads,
        arrived=torch.ones(shape, dtype=torch.bool) if arrived is None else arrived,
    )


def peer(models):
    return Updates(adversary="peer", models=models)


def gradient(theta, j):
    theta = theta.clone().requires_grad_()
    logits = RECORDS.x[j].double() @ theta[:6].view(3, 2) + theta[6:]
    loss = torch.nn.functional.cross_entropy(logits, RECORDS.y[j])
    return torch.autograd.grad(loss, theta)[0], loss.item()


def each():
    return [(i, j) for i in range(TRIALS) for j in range(M)]

"""A small frozen model with adapters on layers that are not square, and clients for it."""

import numpy as np
import pytest
import torch
from torch import nn

from privassay.fl_core.clients import ClientData
from privassay.fl_core.kernels.adapters import Adapters
from privassay.fl_core.kernels.stacked import mlp

CLIENTS, DIM, CLASSES = 5, 10, 3


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(DIM, 12)
        self.second = nn.Linear(12, 7)

    def forward(self, x):
        return self.second(self.first(x).tanh()).tanh()


@pytest.fixture(scope="session")
def kernel():
    torch.manual_seed(0)
    return Adapters(
        encoder=Small().eval().requires_grad_(False),
        targets=("first", "second"),
        rank=3,
        alpha=6.0,
        head=mlp((7, CLASSES)),
    )


class Wide(nn.Module):
    """With one layer whose factors have thousands of entries, as in a real model."""

    def __init__(self):
        super().__init__()
        self.rise = nn.Linear(DIM, 300)
        self.middle = nn.Linear(300, 260)

    def forward(self, x):
        return self.middle(self.rise(x).tanh()).tanh()


@pytest.fixture(scope="session")
def wide():
    torch.manual_seed(0)
    return Adapters(
        encoder=Wide().eval().requires_grad_(False),
        targets=("middle",),
        rank=8,
        alpha=16.0,
        head=mlp((260, CLASSES)),
    )


@pytest.fixture(scope="session")
def data():
    """Five clients of unequal size; each class lies around a centre of its own."""
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(120) % CLASSES
    centres = 1.5 * torch.randn(CLASSES, DIM, generator=generator)
    x = centres[y] + torch.randn(len(y), DIM, generator=generator)
    ends = np.cumsum([40, 30, 24, 16, 10])
    parts = [np.arange(a, b) for a, b in zip(np.concatenate([[0], ends[:-1]]), ends, strict=True)]
    return ClientData.of(x, y, parts)

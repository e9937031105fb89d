"""A small pool, a design and a recipe, which tests train in a blink."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from privassay.attacks.shadow_batches import WithReplacement
from privassay.attacks.shadow_design import equal_coins
from privassay.attacks.shadow_recipe import Recipe
from privassay.fl_core.kernels.stacked import mlp
from privassay.fl_core.optimizers import AdamW, PlainSgd, Sgd

MODELS = 6


def plain(params):
    return PlainSgd(0.3)


def momentum(params):
    return Sgd(0.05, momentum=0.9, weight_decay=0.01, like=params)


def adam_w(params):
    return AdamW(0.01, like=params)


@pytest.fixture(scope="session")
def pool():
    """float64[200, 64] and int64[200]."""
    x, y = load_digits(return_X_y=True)
    return torch.from_numpy(x[:200] / 16), torch.from_numpy(y[:200].astype(np.int64))


@pytest.fixture(scope="session")
def design(pool):
    return equal_coins(pool[1].numpy(), models=MODELS, seed=4)


def recipe(**changed):
    given = {
        "kernel": mlp((64, 12, 10)),
        "training": WithReplacement(steps=30, batch_size=10),
        "optimizer": plain,
        "dtype": torch.float64,
    }
    return Recipe(**(given | changed))

"""Stacked optimisers against torch.optim, step for step."""

import pytest
import torch

from privassay.accountant.errors import ParameterError
from privassay.fl_core.optimizers import AdamW, PlainSgd, Sgd

SHAPES = {"w": (3, 2), "b": (1, 2), "s": ()}
ROWS = 4
CASES = [
    (lambda like: PlainSgd(0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
    (
        lambda like: Sgd(0.1, momentum=0.9, weight_decay=0.01, like=like),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    ),
    (
        lambda like: Sgd(0.05, momentum=0.0, weight_decay=0.1, like=like),
        lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.1),
    ),
    (
        lambda like: AdamW(0.01, like=like),
        lambda p: torch.optim.AdamW(p, lr=0.01),
    ),
    (
        lambda like: AdamW(0.02, like=like, weight_decay=0.3, betas=(0.5, 0.7), eps=1e-3),
        lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.3, betas=(0.5, 0.7), eps=1e-3),
    ),
]


def draw(generator, rows):
    return {
        name: torch.randn(rows, *shape, generator=generator, dtype=torch.float64)
        for name, shape in SHAPES.items()
    }


@pytest.mark.parametrize(("ours", "theirs"), CASES)
def test_step_for_step(ours, theirs):
    """Rows 2 and 3 stop early, as rows with few records do."""
    generator = torch.Generator().manual_seed(0)
    params = draw(generator, ROWS)
    twins = [{name: value[row].clone() for name, value in params.items()} for row in range(ROWS)]
    peers = [theirs(list(twin.values())) for twin in twins]
    optimizer = ours(params)
    for step in range(8):
        active = (4, 4, 3, 4, 2, 3, 4, 1)[step]
        gradients = draw(generator, active)
        some = {name: value[:active] for name, value in params.items()}
        optimizer.update(some, gradients, slice(0, active))
        for row in range(active):
            for name, value in twins[row].items():
                value.grad = gradients[name][row].clone()
            peers[row].step()
        for row, twin in enumerate(twins):
            for name, value in twin.items():
                torch.testing.assert_close(params[name][row], value, rtol=1e-13, atol=1e-13)


def test_rows_in_the_middle_keep_their_own_state():
    generator = torch.Generator().manual_seed(1)
    params = draw(generator, ROWS)
    twin = {name: value.clone() for name, value in params.items()}
    together, apart = AdamW(0.01, like=params), AdamW(0.01, like=twin)
    for _ in range(3):
        gradients = draw(generator, ROWS)
        together.update(params, gradients, slice(0, ROWS))
        for rows in (slice(2, 4), slice(0, 2)):
            apart.update(
                {n: v[rows] for n, v in twin.items()},
                {n: v[rows] for n, v in gradients.items()},
                rows,
            )
    for name in params:
        assert torch.equal(params[name], twin[name])


@pytest.mark.parametrize(
    "make",
    [
        lambda like: PlainSgd(0.0),
        lambda like: Sgd(-1.0, momentum=0.0, weight_decay=0.0, like=like),
        lambda like: Sgd(1.0, momentum=-0.1, weight_decay=0.0, like=like),
        lambda like: Sgd(1.0, momentum=float("inf"), weight_decay=0.0, like=like),
        lambda like: Sgd(1.0, momentum=0.0, weight_decay=float("nan"), like=like),
        lambda like: AdamW(0.1, like=like, betas=(0.9, 1.0)),
        lambda like: AdamW(0.1, like=like, betas=(-0.1, 0.9)),
        lambda like: AdamW(0.1, like=like, eps=0.0),
        lambda like: AdamW(0.1, like=like, weight_decay=float("inf")),
    ],
)
def test_wrong_numbers_are_refused(make):
    with pytest.raises(ParameterError):
        make({"w": torch.zeros(1, 2)})

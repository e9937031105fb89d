"""Stacked optimisers: one state per row, the same formulas as torch.optim."""

import math
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ..accountant import check
from ..accountant.errors import ParameterError
from .kernels.base import Params


class Optimizer(Protocol):
    """How gradients change parameters. One object serves one local training."""

    def update(self, params: Params, gradients: Params, rows: slice) -> None:
        """One step of some rows, in place; `params` and `gradients` hold these rows alone."""


@dataclass(frozen=True)
class PlainSgd:
    """SGD without momentum or decay; kernels have a shorter way for it."""

    learning_rate: float

    def __post_init__(self) -> None:
        check.positive(learning_rate=self.learning_rate)

    def update(self, params: Params, gradients: Params, rows: slice) -> None:
        """See `Optimizer`."""
        for name, value in params.items():
            value.sub_(gradients[name], alpha=self.learning_rate)


@dataclass(frozen=True)
class Sgd:
    """torch.optim.SGD with momentum and weight decay.

    Attributes:
        learning_rate: > 0; momentum, weight_decay: >= 0, finite.
        like: the parameters of all rows, for the shape of the state.
    """

    learning_rate: float
    momentum: float
    weight_decay: float
    like: Params
    _state: Params = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check.positive(learning_rate=self.learning_rate)
        _finite(momentum=self.momentum, weight_decay=self.weight_decay)
        zeros = {name: torch.zeros_like(value) for name, value in self.like.items()}
        object.__setattr__(self, "_state", zeros)

    def update(self, params: Params, gradients: Params, rows: slice) -> None:
        """See `Optimizer`. The buffer starts at zero, which gives torch's first step too."""
        for name, value in params.items():
            gradient = gradients[name]
            if self.weight_decay > 0.0:
                gradient = gradient.add(value, alpha=self.weight_decay)
            buffer = self._state[name][rows].mul_(self.momentum).add_(gradient)
            value.sub_(buffer, alpha=self.learning_rate)


@dataclass(frozen=True)
class AdamW:
    """torch.optim.AdamW.

    Attributes:
        learning_rate, eps: > 0; weight_decay: >= 0; betas: both in [0, 1).
        like: the parameters of all rows, for the shape of the state.
    """

    learning_rate: float
    like: Params
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    _first: Params = field(init=False, repr=False)
    _second: Params = field(init=False, repr=False)
    _steps: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check.positive(learning_rate=self.learning_rate, eps=self.eps)
        _finite(weight_decay=self.weight_decay)
        check.probability(**{"betas[0]": self.betas[0], "betas[1]": self.betas[1]})
        if 1.0 in self.betas:
            raise ParameterError(f"betas must be below 1, but are {self.betas}")
        for name in ("_first", "_second"):
            zeros = {n: torch.zeros_like(value) for n, value in self.like.items()}
            object.__setattr__(self, name, zeros)
        some = next(iter(self.like.values()))
        steps = torch.zeros(len(some), dtype=torch.float64, device=some.device)
        object.__setattr__(self, "_steps", steps)

    def update(self, params: Params, gradients: Params, rows: slice) -> None:
        """See `Optimizer`. Rows may have taken different numbers of steps."""
        taken = self._steps[rows].add_(1.0)
        for name, value in params.items():
            shape = (-1,) + (1,) * (value.dim() - 1)
            one = (1.0 - self.betas[0] ** taken).to(value).view(shape)
            two = (1.0 - self.betas[1] ** taken).to(value).view(shape)
            gradient = gradients[name]
            first = self._first[name][rows].lerp_(gradient, 1.0 - self.betas[0])
            second = self._second[name][rows].mul_(self.betas[1])
            second.addcmul_(gradient, gradient, value=1.0 - self.betas[1])
            value.mul_(1.0 - self.learning_rate * self.weight_decay)
            scale = (second / two).sqrt_().add_(self.eps)
            value.sub_(first / one / scale, alpha=self.learning_rate)


def _finite(**values: float) -> None:
    check.non_negative(**values)
    if math.inf in values.values():
        raise ParameterError(f"momentum and weight decay must be finite, but are {values}")

"""What a server does with the mean change of a round: adds it, or takes it for a gradient.

All of it is post-processing of what arrived. Sources: Reddi et al., arXiv:2003.00295, algorithm 2
(FedAdagrad, FedYogi, FedAdam); Hsu et al., arXiv:1909.06335 (FedAvgM).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ParameterError
from .base import State

Kind = Literal["adam", "yogi", "adagrad"]


class ServerRule(Protocol):
    """How the server's tensors follow the mean change, float64[replicas, ...] each."""

    def start(self, params: Mapping[str, Tensor]) -> State:
        """What it keeps beside the parameters, before the first round."""

    def step(
        self, kept: Mapping[str, Tensor], params: Mapping[str, Tensor], change: Mapping[str, Tensor]
    ) -> tuple[State, State]:
        """New parameters, and new kept tensors, of those that `change` names."""


@dataclass(frozen=True, kw_only=True)
class Mean:
    """x + learning_rate * change: federated averaging.

    Attributes:
        learning_rate: > 0.
    """

    learning_rate: float = 1.0

    def __post_init__(self) -> None:
        check.positive(learning_rate=self.learning_rate)

    def start(self, params: Mapping[str, Tensor]) -> State:
        """Nothing."""
        return {}

    def step(
        self, kept: Mapping[str, Tensor], params: Mapping[str, Tensor], change: Mapping[str, Tensor]
    ) -> tuple[State, State]:
        """See `ServerRule`."""
        return {n: _moved(params[n], self.learning_rate * d) for n, d in change.items()}, {}


@dataclass(frozen=True, kw_only=True)
class Momentum:
    """FedAvgM: m = momentum * m + change; x + learning_rate * m.

    Attributes:
        learning_rate: > 0.
        momentum: in [0, 1).
    """

    learning_rate: float = 1.0
    momentum: float = 0.9

    def __post_init__(self) -> None:
        check.positive(learning_rate=self.learning_rate)
        _below_one(momentum=self.momentum)

    def start(self, params: Mapping[str, Tensor]) -> State:
        """The momentum, zero."""
        return {_first(name): torch.zeros_like(value) for name, value in params.items()}

    def step(
        self, kept: Mapping[str, Tensor], params: Mapping[str, Tensor], change: Mapping[str, Tensor]
    ) -> tuple[State, State]:
        """See `ServerRule`."""
        new, own = {}, {}
        for name, moved in change.items():
            first = self.momentum * kept[_first(name)].double() + moved
            own[_first(name)] = first.to(kept[_first(name)])
            new[name] = _moved(params[name], self.learning_rate * first)
        return new, own


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """FedAdam, FedYogi, FedAdagrad: x + learning_rate * m / (sqrt(v) + tau), without correction.

    m = beta1 m + (1 - beta1) change. v, of d = change^2: adagrad v + d; adam
    beta2 v + (1 - beta2) d; yogi v - (1 - beta2) d sign(v - d). v starts at tau^2.

    Attributes:
        kind: which of the three.
        learning_rate: > 0; tau: > 0; beta1, beta2: in [0, 1).
    """

    kind: Kind
    learning_rate: float = 1e-3
    tau: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.99

    def __post_init__(self) -> None:
        check.one_of(get_args(Kind), kind=self.kind)
        check.positive(learning_rate=self.learning_rate, tau=self.tau)
        _below_one(beta1=self.beta1, beta2=self.beta2)

    def start(self, params: Mapping[str, Tensor]) -> State:
        """Zero for m, tau^2 for v."""
        found: State = {}
        for name, value in params.items():
            found[_first(name)] = torch.zeros_like(value)
            found[_second(name)] = torch.full_like(value, self.tau**2)
        return found

    def step(
        self, kept: Mapping[str, Tensor], params: Mapping[str, Tensor], change: Mapping[str, Tensor]
    ) -> tuple[State, State]:
        """See `ServerRule`."""
        new, own = {}, {}
        for name, moved in change.items():
            first, second = kept[_first(name)], kept[_second(name)]
            m = self.beta1 * first.double() + (1.0 - self.beta1) * moved
            v = self._second(second.double(), moved.square())
            own[_first(name)], own[_second(name)] = m.to(first), v.to(second)
            new[name] = _moved(params[name], self.learning_rate * m / (v.sqrt() + self.tau))
        return new, own

    def _second(self, v: Tensor, square: Tensor) -> Tensor:
        if self.kind == "adagrad":
            return v + square
        if self.kind == "adam":
            return self.beta2 * v + (1.0 - self.beta2) * square
        return v - (1.0 - self.beta2) * square * torch.sign(v - square)


def _first(name: str) -> str:
    return f"server first {name}"


def _second(name: str) -> str:
    return f"server second {name}"


def _moved(value: Tensor, by: Tensor) -> Tensor:
    return (value.double() + by).to(value)


def _below_one(**values: float) -> None:
    check.probability(**values)
    for name, value in values.items():
        if value == 1.0:
            raise ParameterError(
                f"{name} must be below 1, but is 1: nothing would ever be forgotten"
            )

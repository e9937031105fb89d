"""Federated prompts: some parameters are averaged by the server, the others stay with the client.

`prompt_fl`, `fed_otp` and `fed_pgp` are cases of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ConfigError
from ...mechanisms.base import Key
from ...mechanisms.dpsgd import DpSgd
from ..clients import ClientData
from ..counters import Counter
from ..kernels.base import Loss, Params, cross_entropy, difference, unflatten
from ..kernels.prompts import Prompts
from ..optimizers import Optimizer, Sgd
from ..plan import steps
from ..private_training import train_privately
from ..training import train
from .base import Received, State
from .fedavg import local_order
from .noise_inside import NoiseInside

Make = Callable[[Params], Optimizer]


def published_sgd(
    learning_rate: float = 1e-3, *, momentum: float = 0.9, weight_decay: float = 5e-4
) -> Make:
    """The optimiser of the published prompt systems, made anew for each local training."""
    return lambda params: Sgd(learning_rate, momentum, weight_decay, params)


@dataclass(frozen=True, kw_only=True)
class PrivateSteps:
    """Local training with DP-SGD on all parameters together, shared and own.

    Attributes:
        mechanism: clip bound, noise, sampling rate and divisor.
        steps: in each round, >= 1.
    """

    mechanism: DpSgd
    steps: int

    def __post_init__(self) -> None:
        check.count(steps=self.steps)

    def event(self) -> dpe.DpEvent:
        """Cost of one round; add or remove one record of a client."""
        return self.mechanism.event(self.steps)


@dataclass(frozen=True, kw_only=True)
class LocalTraining:
    """What a client does in a round.

    Attributes:
        optimizer: makes the optimiser from the parameters.
        epochs, batch_size: without noise, >= 1.
        private: DP-SGD, instead of epochs and batches.
    """

    optimizer: Make = published_sgd()
    epochs: int = 1
    batch_size: int = 32
    private: PrivateSteps | None = None

    def __post_init__(self) -> None:
        check.count(epochs=self.epochs, batch_size=self.batch_size)


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptFederation:
    """Local training of prompts, and the mean of the changes of the shared ones.

    What stays with a client is bounded by private training alone: noise at uploads or at their sum
    says nothing about a personal prompt that is served later.

    Attributes:
        kernel: the prompts.
        shared: names of the parameters that are uploaded and averaged; none for local training
            alone.
        divisor: of the sum of the uploads; public, such as the number of clients.
        training: of the clients.
        loss: of a record.
    """

    kernel: Prompts
    shared: tuple[str, ...]
    divisor: float
    training: LocalTraining = LocalTraining()
    loss: Loss = cross_entropy

    def __post_init__(self) -> None:
        check.positive(divisor=self.divisor)
        unknown = set(self.shared) - set(self.kernel.shapes())
        if unknown:
            raise ConfigError(
                f"shared names {sorted(unknown)}, but the parameters are "
                f"{list(self.kernel.shapes())}"
            )

    @property
    def upload_shape(self) -> tuple[int, ...]:
        """The changes of the shared parameters in one vector."""
        return (sum(prod(shape) for shape in self._shapes().values()),)

    @property
    def keeps_rows(self) -> bool:
        """A sum is enough."""
        return False

    @property
    def weights_are_public(self) -> bool:
        """Every client counts the same."""
        return True

    @property
    def takes_noisy_sums(self) -> bool:
        """The divisor is public."""
        return True

    def protection(self, release: str = "trained prompts") -> NoiseInside:
        """The account of private training.

        Raises:
            ConfigError: training is not private.
        """
        if self.training.private is None:
            raise ConfigError(
                "local training adds no noise, so it has no account.\n  Give private training, or "
                "run with another protection: none, or noise at the sum."
            )
        return NoiseInside(event=self.training.private.event(), release=release)

    def start(self, replicas: Tensor, key: Key) -> State:
        """One set of shared parameters per replica."""
        counter = Counter.of(key, "shared prompts")
        first = self.kernel.initial(counter, torch.zeros_like(replicas), replicas)
        return self._pick(first, shared=True)

    def personal(self, data: ClientData, key: Key) -> Params:
        """The parameters that stay, drawn by client."""
        counter = Counter.of(key, "own prompts")
        own = self.kernel.initial(counter, data.clients, data.replicas)
        return self._pick(own, shared=False)

    def broadcast(self, state: State) -> State:
        """The shared parameters."""
        return state

    def weights(self, data: ClientData) -> Tensor:
        """All equal: sizes are private."""
        return torch.ones_like(data.lengths, dtype=torch.float64)

    def update(
        self,
        received: Mapping[str, Tensor],
        personal: Params,
        data: ClientData,
        *,
        round: int,
        key: Key,
    ) -> tuple[Tensor, Params]:
        """Train everything; upload what changed of the shared, keep the rest."""
        params = {
            name: (received[name] if name in self.shared else personal[name]).clone(
                memory_format=torch.contiguous_format
            )
            for name in self.kernel.shapes()
        }
        how, optimizer = self.training, self.training.optimizer(params)
        if how.private is not None:
            train_privately(
                self.kernel,
                params,
                data,
                mechanism=how.private.mechanism,
                steps=how.private.steps,
                loss=self.loss,
                optimizer=optimizer,
                key=key.child("private training"),
                round=round,
            )
        else:
            order = local_order(key, round)
            plan = steps(data, epochs=how.epochs, batch_size=how.batch_size, order=order)
            train(self.kernel, params, data, plan, loss=self.loss, optimizer=optimizer)
        own = self._pick(params, shared=False)
        if not self.shared:
            return next(iter(params.values())).new_zeros(len(data), 0), own
        return difference(self._pick(params, shared=True), received), own

    def serve(self, state: State, received: Received, *, round: int, key: Key) -> State:
        """Add the mean change."""
        if received.total is None:
            raise ConfigError("the server needs the sum of the uploads, but got none")
        if not self.shared:
            return state
        change = unflatten(received.total / self.divisor, self._shapes())
        return {name: (value.double() + change[name]).to(value) for name, value in state.items()}

    def prompts(self, state: Mapping[str, Tensor], personal: Params, data: ClientData) -> Params:
        """What each row would be served with, float[rows, ...]: for evaluation."""
        place = torch.searchsorted(data.replicas.unique(sorted=True), data.replicas)
        return {
            name: state[name][place] if name in self.shared else personal[name]
            for name in self.kernel.shapes()
        }

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {n: shape for n, shape in self.kernel.shapes().items() if n in self.shared}

    def _pick(self, params: Params, *, shared: bool) -> Params:
        return {n: value for n, value in params.items() if (n in self.shared) == shared}

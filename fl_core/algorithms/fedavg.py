"""FedAvg: clients train the server's model and upload the difference.

Source: McMahan et al., arXiv:1602.05629.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ConfigError
from ...mechanisms.base import Key
from ..clients import ClientData
from ..counters import Counter
from ..kernels.base import Kernel, Loss, Params, cross_entropy, difference, flatten, unflatten
from ..optimizers import Optimizer, PlainSgd
from ..plan import Order, steps
from ..private_training import train_privately
from ..training import train
from .base import Received, State
from .noise_inside import NoiseInside
from .personal_training import PrivateTraining


@dataclass(frozen=True, kw_only=True)
class FedAvg:
    """Averaged differences of locally trained models.

    Attributes:
        kernel: the model.
        epochs, batch_size: local training, >= 1.
        optimizer: makes the optimiser of one local training from its parameters; it starts anew
            in every round.
        divisor: of the sum of the uploads. "examples" is McMahan's weighted mean, for runs without
            differential privacy only: both weights and divisor then depend on the data. A number
            is public, e.g. the expected cohort, and every weight is 1.
        server_learning_rate: factor of the mean difference, > 0.
        order: order of a row's records instead of the run's own (round is the third argument).
        private: train with DP-SGD instead, so that uploads are post-processing; `protection()` is
            its account. epochs, batch_size and order are not used.
    """

    kernel: Kernel
    epochs: int = 1
    batch_size: int = 16
    optimizer: Callable[[Params], Optimizer]
    divisor: float | Literal["examples"]
    server_learning_rate: float = 1.0
    loss: Loss = cross_entropy
    order: Callable[[ClientData, int, int], Tensor] | None = None
    private: PrivateTraining | None = None

    def __post_init__(self) -> None:
        check.count(epochs=self.epochs, batch_size=self.batch_size)
        check.positive(server_learning_rate=self.server_learning_rate)
        if self.divisor != "examples":
            check.positive(divisor=self.divisor)

    def protection(self, release: str = "models trained with DP-SGD") -> NoiseInside:
        """The account of private training.

        Raises:
            ConfigError: training is not private.
        """
        if self.private is None:
            raise ConfigError(
                "local training adds no noise, so it has no account.\n  Give `private`, or use "
                "another protection."
            )
        return NoiseInside(event=self.private.event(), release=release)

    @property
    def upload_shape(self) -> tuple[int, ...]:
        """All parameters in one vector."""
        return (sum(prod(shape) for shape in self.kernel.shapes().values()),)

    @property
    def keeps_rows(self) -> bool:
        """A sum is enough."""
        return False

    @property
    def weights_are_public(self) -> bool:
        """Unless clients are weighted by their examples."""
        return self.divisor != "examples"

    @property
    def takes_noisy_sums(self) -> bool:
        """Likewise."""
        return self.divisor != "examples"

    def start(self, replicas: Tensor, key: Key) -> State:
        """One initial model per replica."""
        nobody = torch.zeros_like(replicas)
        return self.kernel.initial(Counter.of(key, "model"), nobody, replicas)

    def personal(self, data: ClientData, key: Key) -> Params:
        """Nothing stays at the clients."""
        return {}

    def broadcast(self, state: State) -> State:
        """The model."""
        return state

    def weights(self, data: ClientData) -> Tensor:
        """Number of records, or 1."""
        return (
            data.lengths.double() if self.divisor == "examples" else data.lengths.double() * 0 + 1
        )

    def update(
        self,
        received: Mapping[str, Tensor],
        personal: Params,
        data: ClientData,
        *,
        round: int,
        key: Key,
    ) -> tuple[Tensor, Params]:
        """Train a copy, and upload what changed."""
        params = {name: _own(received[name]) for name in self.kernel.shapes()}
        if self.private is not None:
            train_privately(
                self.kernel,
                params,
                data,
                mechanism=self.private.mechanism,
                steps=self.private.steps,
                loss=self.loss,
                optimizer=self.optimizer(params),
                key=key.child("private training"),
                round=round,
            )
            return difference(params, received), {}
        plan = steps(
            data,
            epochs=self.epochs,
            batch_size=self.batch_size,
            order=local_order(key, round, self.order),
        )
        train(self.kernel, params, data, plan, loss=self.loss, optimizer=self.optimizer(params))
        return difference(params, received), {}

    def serve(self, state: State, received: Received, *, round: int, key: Key) -> State:
        """Add the mean difference."""
        assert received.total is not None
        if self.divisor == "examples":
            divisor = received.weight.clamp(min=1.0).unsqueeze(1)
        else:
            divisor = torch.full_like(received.weight, self.divisor).unsqueeze(1)
        shapes = self.kernel.shapes()
        before = flatten({name: state[name] for name in shapes})
        after = before.double() + (self.server_learning_rate / divisor) * received.total
        return unflatten(after.to(before), shapes)


def plain_sgd(learning_rate: float) -> Callable[[Params], Optimizer]:
    """An optimiser without state, for any parameters."""
    return lambda params: PlainSgd(learning_rate)


def local_order(
    key: Key, round: int, own: Callable[[ClientData, int, int], Tensor] | None = None
) -> Order:
    """The order of records in each epoch: `own`, or by the counters of the run."""
    if own is not None:
        return lambda data, epoch: own(data, epoch, round)
    counter = Counter.of(key, "order", round=round)
    return lambda data, epoch: counter.order(data.clients, data.replicas, data.lengths, epoch=epoch)


def _own(value: Tensor) -> Tensor:
    """A copy to train on; kernels are fast on contiguous memory only."""
    return value.clone(memory_format=torch.contiguous_format)

"""FedProto: clients share class prototypes, never models.

Each client trains a residual adapter and a head on its own frozen features; the adapter is pulled
towards the global prototype of the record's class. Source: Tan et al., arXiv:2105.00243 (plain
per-class mean at the server, as in the authors' code).

Below the method are the functions of the comparison in `simulate.py`, whose rows are (variant,
seed, client); it sums the distance over dimensions where the method takes their mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...accountant import check
from ...mechanisms.base import Key
from ..kernels.base import Context, Outputs, Params
from ..kernels.base import cross_entropy as entropy
from . import losses
from .base import State
from .method import PrototypeMethod, Uploads, kept


@dataclass(frozen=True, kw_only=True)
class FedProto(PrototypeMethod):
    """Cross-entropy, and the mean squared distance to the global prototype of the own class.

    Weight of arXiv:2604.27833; the authors use 1 for MNIST, .1 for CIFAR-10, SGD .01 with momentum
    .5, batch 4, 1 epoch, 100 rounds and more.

    Attributes:
        weight: of the distance, >= 0.
        average_rounds: broadcast the mean over all rounds so far. Free and better with frozen
            features, where every round releases the same means under fresh noise.
    """

    title: ClassVar[str] = "FedProto"
    sends: ClassVar[tuple[str, ...]] = ("prototypes",)
    keeps_rows: ClassVar[bool] = False
    weight: float = 0.1
    average_rounds: bool = False

    def __post_init__(self) -> None:
        check.non_negative(weight=self.weight)

    def start(self, replicas: Tensor, *, classes: int, dim: int, key: Key) -> State:
        """No prototypes."""
        shape, device = (len(replicas), classes, dim), replicas.device
        return {
            "prototypes": torch.zeros(shape, dtype=torch.float64, device=device),
            "heard": torch.zeros(len(replicas), 1, 1, dtype=torch.float64, device=device),
        }

    def serve(self, state: State, uploads: Uploads, *, round: int, key: Key) -> State:
        """The mean over clients; every client counts the same."""
        heard = state["heard"] + 1.0 if self.average_rounds else torch.ones_like(state["heard"])
        old = state["prototypes"]
        new = {"prototypes": old + (uploads.mean()[:, :, 0] - old) / heard, "heard": heard}
        return state | {name: kept(state[name], value, uploads) for name, value in new.items()}

    def context(self, received: Mapping[str, Tensor]) -> Params:
        """Prototypes and which of them exist."""
        prototypes = received["prototypes"]
        return {"prototypes": prototypes, "held": losses.held(prototypes)}

    def loss(self, outputs: Outputs, y: Tensor, context: Context) -> Tensor:
        """Cross-entropy and distance."""
        away = losses.own_distance(outputs.features, y, context["prototypes"], context["held"])
        return entropy(outputs, y, context) + self.weight * away


@dataclass
class LocalModels:
    """Stacked parameters, one row per client and replica.

    Attributes:
        down: float[rows, dim, width]; up: float[rows, width, dim]; the residual adapter.
        head: float[rows, dim, classes]; bias: float[rows, 1, classes].
    """

    down: Tensor
    up: Tensor
    head: Tensor
    bias: Tensor

    def features(self, x: Tensor) -> Tensor:
        """Adapted features, float[rows, n, dim]; equal to `x` before training."""
        return torch.baddbmm(x, torch.relu(x @ self.down), self.up)

    def logits(self, x: Tensor) -> Tensor:
        """float[rows, n, classes]."""
        return torch.baddbmm(self.bias, self.features(x), self.head)

    def parameters(self) -> list[Tensor]:
        """All parameters, in a fixed order."""
        return [self.down, self.up, self.head, self.bias]


def initial_models(keys: list[Key], *, dim: int, width: int, classes: int) -> LocalModels:
    """One model per key; `up` is zero, so that the adapter starts as the identity."""
    down = torch.stack([k.child("down").normal(dim, width) for k in keys]) / dim**0.5
    head = torch.stack([k.child("head").normal(dim, classes) for k in keys]) / dim**0.5
    rows = len(keys)
    models = LocalModels(
        down=down.float(),
        up=torch.zeros(rows, width, dim),
        head=head.float(),
        bias=torch.zeros(rows, 1, classes),
    )
    for parameter in models.parameters():
        parameter.requires_grad_()
    return models


def aggregate(uploads: Tensor) -> Tensor:
    """Broadcasts, float[..., rounds, classes, dim], of float[..., rounds, clients, classes, dim].

    The mean over clients, averaged over all rounds so far: the encoder is frozen, so every round
    releases the same means under fresh noise. Post-processing of what the server has.
    """
    per_round = uploads.mean(dim=-3)
    seen = torch.arange(1, per_round.shape[-3] + 1, dtype=per_round.dtype)
    return per_round.cumsum(dim=-3) / seen[:, None, None]


def train_locally(
    models: LocalModels,
    x: Tensor,
    y: Tensor,
    prototypes: Tensor,
    *,
    weight: Tensor,
    orders: Tensor,
    batch_size: int,
    learning_rate: float,
) -> None:
    """Train every row on its own records, in place.

    Args:
        models: rows of parameters.
        x: float[rows, n, dim] frozen features.
        y: int64[rows, n] labels.
        prototypes: float[rows, classes, dim], the broadcast that each row received.
        weight: float[rows, 1], pull towards the prototype; 0 for local-only rows.
        orders: int64[epochs, rows, n], the order of the records in each epoch.
        batch_size: records per step; the last batch may be short.
        learning_rate: of plain SGD.
    """
    take = torch.arange(x.shape[0]).unsqueeze(1)
    for order in orders:
        for batch in order.split(batch_size, dim=1):
            inputs, labels = x[take, batch], y[take, batch]
            adapted = models.features(inputs)
            logits = torch.baddbmm(models.bias, adapted, models.head)
            fit = cross_entropy(logits.transpose(1, 2), labels, reduction="none")
            pull = (adapted - prototypes[take, labels]).square().sum(dim=2)
            loss = (fit + weight * pull).mean(dim=1).sum()  # rows are independent: sum, not mean
            gradients = torch.autograd.grad(loss, models.parameters())
            with torch.no_grad():
                for parameter, gradient in zip(models.parameters(), gradients, strict=True):
                    parameter -= learning_rate * gradient


def accuracy(models: LocalModels, x: Tensor, y: Tensor) -> Tensor:
    """float[rows]: share of float[rows, n, dim] that the row's own head classifies right."""
    with torch.no_grad():
        return (models.logits(x).argmax(dim=2) == y).double().mean(dim=1)


def prototype_accuracy(prototypes: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """float[rows]: share of `x` whose nearest prototype (cosine) is that of its class."""
    scores = torch.nn.functional.normalize(prototypes, dim=2) @ x.transpose(1, 2)
    return (scores.argmax(dim=1) == y).double().mean(dim=1)

"""FedProto: clients share class prototypes, never models.

Each client trains a residual adapter and a head on its own frozen features; the adapter is pulled
towards the global prototype of the record's class. Source: Tan et al., arXiv:2105.00243 (plain
per-class mean at the server, as in the authors' code).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant import check
from ...mechanisms.base import Key
from ..kernels.base import Context, Outputs, Params, cross_entropy
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
        return cross_entropy(outputs, y, context) + self.weight * away


def prototype_accuracy(prototypes: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """float[rows]: share of `x` whose nearest prototype (cosine) is that of its class."""
    scores = torch.nn.functional.normalize(prototypes, dim=2) @ x.transpose(1, 2)
    return (scores.argmax(dim=1) == y).double().mean(dim=1)

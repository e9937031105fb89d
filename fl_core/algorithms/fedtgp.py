"""FedTGP: the server trains one prototype per class to be near its own uploads and far from others.

Source: Zhang et al., AAAI 2024, arXiv:2401.03230, and the authors' program: an embedding per class
goes through a small network; the loss is the cross-entropy of negative distances between uploads
and prototypes, with a margin added to the true class. The margin is the largest, over classes, of
the distance between a class's mean upload and the nearest other class's, but no more than a
bound. Clients add the squared distance to the trained prototype of the record's class.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy as cross_entropy_of

from ...accountant import check
from ...mechanisms.base import Key
from ..counters import Counter
from ..kernels.base import Context, Outputs, Params, cross_entropy
from ..kernels.layers import Linear, Relu
from ..kernels.stacked import Stacked
from . import losses
from .base import State
from .method import PrototypeMethod, Uploads, kept
from .server_training import Batch, batches

_EMBEDDING, _PROTOTYPES = "embedding", "prototypes"


@dataclass(frozen=True, kw_only=True)
class FedTgp(PrototypeMethod):
    """Numbers of arXiv:2604.27833; the authors' program has weight 1 (10 for CIFAR-10), lr .01.

    Attributes:
        weight: of the distance at the clients, >= 0.
        margin: bound of the margin, > 0, in the units of a feature.
        server_epochs: >= 1; the authors' default is 1000, 100 in their runs.
        server_batch: uploads per step of the server, >= 1.
        server_rate: learning rate of the server's SGD, > 0.
        hidden: width of the server's network; that of a feature if not given.
    """

    title: ClassVar[str] = "FedTGP"
    sends: ClassVar[tuple[str, ...]] = (_PROTOTYPES,)
    weight: float = 1.0
    margin: float = 100.0
    server_epochs: int = 100
    server_batch: int = 10
    server_rate: float = 0.01
    hidden: int | None = None

    def __post_init__(self) -> None:
        check.non_negative(weight=self.weight)
        check.positive(margin=self.margin, server_rate=self.server_rate)
        check.count(server_epochs=self.server_epochs, server_batch=self.server_batch)
        if self.hidden is not None:
            check.count(hidden=self.hidden)

    def start(self, replicas: Tensor, *, classes: int, dim: int, key: Key) -> State:
        """Normal embeddings, layers as torch's, and no prototypes yet."""
        nobody = torch.zeros_like(replicas)
        network = self._network(dim)
        drawn = Counter.of(key, "tgp embedding").normal(nobody, replicas, classes * dim)
        return network.initial(Counter.of(key, "tgp network"), nobody, replicas) | {
            _EMBEDDING: drawn.float().unflatten(1, (classes, dim)),
            _PROTOTYPES: torch.zeros(len(replicas), classes, dim, device=replicas.device),
        }

    def serve(self, state: State, uploads: Uploads, *, round: int, key: Key) -> State:
        """Train the generator, by plain SGD."""
        margin = self.margins(uploads)
        network = self._network(state[_EMBEDDING].shape[-1])
        names = [_EMBEDDING, *network.shapes()]
        params = {name: state[name].clone().requires_grad_() for name in names}
        plan = batches(
            uploads,
            epochs=self.server_epochs,
            batch_size=self.server_batch,
            round=round,
            key=key,
            purpose="tgp order",
        )
        with torch.enable_grad():
            for batch in plan:
                total = _loss(_generate(network, params), batch, margin).sum()
                gradients = torch.autograd.grad(total, list(params.values()))
                with torch.no_grad():
                    for value, gradient in zip(params.values(), gradients, strict=True):
                        value.sub_(gradient, alpha=self.server_rate)
        new = {name: value.detach() for name, value in params.items()}
        new[_PROTOTYPES] = _generate(network, new)
        return state | {name: kept(state[name], value, uploads) for name, value in new.items()}

    def margins(self, uploads: Uploads) -> Tensor:
        """float32[replicas]: what is added to the distance of the true class."""
        known = uploads.known()[..., 0]
        count = known.sum(dim=1).clamp(min=1).unsqueeze(-1)
        means = uploads.prototypes[..., 0, :].sum(dim=1) / count
        apart = torch.cdist(means, means)
        present = known.any(dim=1)
        other = present.unsqueeze(1) & ~torch.eye(
            apart.shape[1], dtype=torch.bool, device=apart.device
        )
        nearest = apart.masked_fill(~other, torch.inf).amin(dim=2)
        nearest = nearest.masked_fill(~present | ~nearest.isfinite(), 0.0)
        return nearest.amax(dim=1).clamp(max=self.margin).float()

    def context(self, received: Context) -> Params:
        """Prototypes and which of them exist."""
        prototypes = received[_PROTOTYPES]
        return {_PROTOTYPES: prototypes, "held": losses.held(prototypes)}

    def loss(self, outputs: Outputs, y: Tensor, context: Context) -> Tensor:
        """Cross-entropy and distance."""
        away = losses.own_distance(outputs.features, y, context[_PROTOTYPES], context["held"])
        return cross_entropy(outputs, y, context) + self.weight * away

    def _network(self, dim: int) -> Stacked:
        width = dim if self.hidden is None else self.hidden
        return Stacked((), (Linear("middle", dim, width), Relu(), Linear("last", width, dim)))


def _generate(network: Stacked, params: Params) -> Tensor:
    """float[replicas, classes, dim]."""
    x = params[_EMBEDDING]
    for layer in network.head:
        x = layer.forward(params, x)[0]
    return x


def _loss(prototypes: Tensor, batch: Batch, margin: Tensor) -> Tensor:
    """float[replicas]."""
    square = (
        batch.x.square().sum(dim=-1, keepdim=True)
        - 2.0 * batch.x @ prototypes.mT
        + prototypes.square().sum(dim=-1).unsqueeze(1)
    )
    distance = square.clamp(min=1e-12).sqrt()
    margins = margin.view(-1, 1, 1).expand(*batch.y.shape, 1)
    distance = distance.scatter_add(2, batch.y.unsqueeze(2), margins)
    each = cross_entropy_of(-distance.transpose(1, 2), batch.y, reduction="none")
    return (each * batch.weights).sum(dim=1)

"""MPFT: the server trains an adapter and a head on the uploaded prototypes; clients distil from it.

Source: Zhang et al., arXiv:2410.07738, in the form of arXiv:2604.27833 (one mean per class; the
paper also uploads random or k-means samples, which are records or near them). In the published
program of arXiv:2604.27833 the teacher leaves out the adapter that the server has just trained;
here it is used.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant import check
from ...mechanisms.base import Key
from ..counters import Counter
from ..kernels.base import Context, Outputs, Params, cross_entropy
from ..kernels.layers import Linear, Relu, Residual
from ..kernels.stacked import Stacked
from . import losses
from .base import State
from .method import PrototypeMethod, Uploads, kept
from .server_training import batches


def _network(dim: int, width: int, hidden: int, classes: int) -> Stacked:
    head = (Linear("head1", dim, hidden), Relu(), Linear("head2", hidden, classes))
    return Stacked((Residual("adapter", dim, width),), head)


_ANY = _network(1, 1, 1, 1)  # sizes are those of the parameters; layers need them for a start only
_SERVER, _HEARD, _GUIDE = "server.", "server.heard", "guide"


@dataclass(frozen=True, kw_only=True)
class Mpft(PrototypeMethod):
    """Numbers of arXiv:2604.27833; the authors train with AdamW 1e-3, batch 32, 200 rounds.

    Attributes:
        hidden: width of the head at the server, >= 1.
        reduction: size of a feature over the width of the server's adapter, >= 1.
        temperature: of the distillation, > 0; weight: of it, >= 0.
        server_epochs, server_batch: >= 1.
        server_rate: learning rate of the server's SGD, > 0.
    """

    title: ClassVar[str] = "MPFT"
    sends: ClassVar[tuple[str, ...]] = (*(f"{_SERVER}{n}" for n in _ANY.shapes()), _HEARD)
    guided: ClassVar[bool] = True
    hidden: int = 512
    reduction: int = 8
    temperature: float = 4.0
    weight: float = 0.3
    server_epochs: int = 20
    server_batch: int = 64
    server_rate: float = 1e-3

    def __post_init__(self) -> None:
        check.count(
            hidden=self.hidden,
            reduction=self.reduction,
            server_epochs=self.server_epochs,
            server_batch=self.server_batch,
        )
        check.positive(temperature=self.temperature, server_rate=self.server_rate)
        check.non_negative(weight=self.weight)

    def start(self, replicas: Tensor, *, classes: int, dim: int, key: Key) -> State:
        """An untrained model, of which nobody has been heard."""
        network = _network(dim, max(1, dim // self.reduction), self.hidden, classes)
        nobody = torch.zeros_like(replicas)
        params = network.initial(Counter.of(key, "mpft model"), nobody, replicas)
        return {f"{_SERVER}{name}": value for name, value in params.items()} | {
            _HEARD: torch.zeros(len(replicas), 1, device=replicas.device)
        }

    def serve(self, state: State, uploads: Uploads, *, round: int, key: Key) -> State:
        """Cross-entropy on the uploads, by plain SGD; the model goes on from round to round."""
        params = {name: state[f"{_SERVER}{name}"].clone() for name in _ANY.shapes()}
        plan = batches(
            uploads,
            epochs=self.server_epochs,
            batch_size=self.server_batch,
            round=round,
            key=key,
            purpose="mpft order",
        )
        for x, y, weights in plan:
            _ANY.descend(params, x, y, weights, cross_entropy, {}, learning_rate=self.server_rate)
        new = {f"{_SERVER}{name}": value for name, value in params.items()}
        new[_HEARD] = torch.ones_like(state[_HEARD])
        return state | {name: kept(state[name], value, uploads) for name, value in new.items()}

    def guide(self, context: Context, x: Tensor) -> Params:
        """The server's logits for a batch of frozen features."""
        params = {name: context[f"{_SERVER}{name}"] for name in _ANY.shapes()}
        return {_GUIDE: _ANY.outputs(params, x).logits}

    def loss(self, outputs: Outputs, y: Tensor, context: Context) -> Tensor:
        """Cross-entropy and distillation."""
        gap = losses.distillation(outputs.logits, context[_GUIDE], self.temperature)
        return cross_entropy(outputs, y, context) + self.weight * context[_HEARD] * gap

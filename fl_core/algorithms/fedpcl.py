"""FedPCL: contrast with the global prototypes and with every other client's.

Source: Tan et al., arXiv:2209.10083, in the form of arXiv:2604.27833: cross-entropy of cosines
over a temperature, once to the global prototypes and once, averaged, to each client's set. There
is no other loss: the head is not trained, and a record is classified by the nearest of the
client's own raw prototypes. All clients receive all sets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...accountant import check
from ...mechanisms.base import Key
from ..kernels.base import Context, Outputs, Params
from . import losses
from .base import State
from .method import PrototypeMethod, Uploads, check_clients, kept


@dataclass(frozen=True, kw_only=True)
class FedPcl(PrototypeMethod):
    """The authors run it with Adam 1e-3, batch 32, 60 rounds, 5 clients.

    Attributes:
        clients: how many upload, >= 1, public.
        temperature: > 0.
    """

    title: ClassVar[str] = "FedPCL"
    sends: ClassVar[tuple[str, ...]] = ("prototypes", "sets")
    classifies_by: ClassVar[Literal["head", "prototypes"]] = "prototypes"
    clients: int
    temperature: float = 0.07

    def __post_init__(self) -> None:
        check.count(clients=self.clients)
        check.positive(temperature=self.temperature)

    def start(self, replicas: Tensor, *, classes: int, dim: int, key: Key) -> State:
        """No prototypes."""
        shape = (len(replicas), self.clients, classes, dim)
        sets = torch.zeros(shape, dtype=torch.float64, device=replicas.device)
        return {"prototypes": sets[:, 0].clone(), "sets": sets}

    def serve(self, state: State, uploads: Uploads, *, round: int, key: Key) -> State:
        """Means; what a client did not send is filled with the mean."""
        check_clients(uploads, self.clients, self.title)
        mean = uploads.mean()[:, :, 0]
        own = torch.where(uploads.known(), uploads.prototypes[..., 0, :], mean.unsqueeze(1))
        silent = self.clients - own.shape[1]
        sets = torch.cat([own, mean.unsqueeze(1).expand(-1, silent, -1, -1)], dim=1)
        new = {"prototypes": mean, "sets": sets}
        return state | {name: kept(state[name], value, uploads) for name, value in new.items()}

    def context(self, received: Mapping[str, Tensor]) -> Params:
        """The global set and the clients', as one list of sets."""
        sets = torch.cat([received["prototypes"].unsqueeze(1), received["sets"]], dim=1)
        return {
            "directions": losses.unit(sets).flatten(1, 2).mT,
            "known": losses.held(sets),
        }

    def loss(self, outputs: Outputs, y: Tensor, context: Context) -> Tensor:
        """See the top."""
        known = context["known"]  # [rows, 1 + clients, classes]
        near = losses.unit(outputs.features) @ context["directions"] / self.temperature
        scores = near.unflatten(2, known.shape[1:])
        each = losses.classify(scores, y, known)
        return each[..., 0] + each[..., 1:].mean(dim=-1)

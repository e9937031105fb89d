"""What one prototype method brings: its loss, its server step and what it broadcasts."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...accountant.errors import ConfigError
from ...mechanisms.base import Key
from ..kernels.base import Context, Outputs, Params
from . import losses
from .base import State

Assignment = Literal["class", "finch", "broadcast"]
"""How records are given to the uploaded centres of their class: there is one; by clusters of the
client's own records; or by what was broadcast, which is the server's and so costs nothing."""


@dataclass(frozen=True)
class Uploads:
    """What the server got in a round, after noise.

    Attributes:
        prototypes: float64[replicas, clients, classes, centres, dim]; zero where nothing came. One
            "client", the mean, if the method does not need each of them.
        arrived: bool[replicas, clients].
        replicas: int64[replicas]: their numbers.
    """

    prototypes: Tensor
    arrived: Tensor
    replicas: Tensor

    def mean(self) -> Tensor:
        """float64[replicas, classes, centres, dim]: over the clients that were heard."""
        count = self.arrived.sum(dim=1).clamp(min=1).view(-1, 1, 1, 1)
        return self.prototypes.sum(dim=1) / count

    def known(self) -> Tensor:
        """bool[replicas, clients, classes, centres]: prototypes that are not all zero."""
        return (self.prototypes != 0).any(dim=-1) & self.arrived.view(*self.arrived.shape, 1, 1)

    def by_class(self) -> tuple[Tensor, Tensor]:
        """All prototypes of a class together, and which of them are known.

        Returns:
            float64[replicas, classes, clients * centres, dim] and a bool of its first three axes.
        """
        return self.prototypes.transpose(1, 2).flatten(2, 3), self.known().transpose(1, 2).flatten(
            2
        )


class PrototypeMethod(ABC):
    """A published method. Frozen dataclasses with these members; all are public numbers."""

    title: ClassVar[str]
    sends: ClassVar[tuple[str, ...]]  # names of the state that are broadcast
    keeps_rows: ClassVar[bool] = True  # whether the server needs each upload, not their mean
    averages_models: ClassVar[bool] = False  # in its published form
    classifies_by: ClassVar[Literal["head", "prototypes"]] = "head"
    guided: ClassVar[bool] = False  # whether `guide` gives something

    @property
    def centres(self) -> int:
        """Uploaded vectors per class."""
        return 1

    @property
    def assignment(self) -> Assignment:
        """Which records are averaged in each of them."""
        return "class"

    @abstractmethod
    def start(self, replicas: Tensor, *, classes: int, dim: int, key: Key) -> State:
        """The server's tensors before the first round, float[replicas, ...]; shapes are final."""

    @abstractmethod
    def serve(self, state: State, uploads: Uploads, *, round: int, key: Key) -> State:
        """The server's tensors after a round. A replica from which nobody was heard keeps them."""

    @abstractmethod
    def loss(self, outputs: Outputs, y: Tensor, context: Context) -> Tensor:
        """Each record's loss, float[rows, batch]."""

    def context(self, received: Mapping[str, Tensor]) -> Params:
        """What the loss needs of a broadcast, computed once per local training."""
        return dict(received)

    def guide(self, context: Context, x: Tensor) -> Params:
        """What the loss needs besides, of the frozen features float[rows, batch, dim]."""
        return {}

    def assign(self, x: Tensor, y: Tensor, received: Mapping[str, Tensor], classes: int) -> Tensor:
        """int64[rows, n]: class times centres plus centre, for y int64[rows, n]; -1 stays."""
        return y


def kept(state: Tensor, new: Tensor, uploads: Uploads) -> Tensor:
    """`new` where a replica was heard from, else `state`, float[replicas, ...] each."""
    heard = uploads.arrived.any(dim=1).view(-1, *[1] * (new.dim() - 1))
    return torch.where(heard, new.to(state), state)


def directions(clusters: Tensor, known: Tensor) -> Params:
    """Context of cosine losses: unit prototypes, class by class, and which of them exist.

    Args:
        clusters: float[rows, classes, centres, dim].
        known: float[rows, classes, centres].
    """
    return {"directions": losses.unit(clusters).flatten(1, 2).mT, "known": known.flatten(1)}


def check_clients(uploads: Uploads, clients: int, title: str) -> None:
    """Raise `ConfigError` if more clients upload than the server has room for."""
    found = uploads.arrived.shape[1]
    if found > clients:
        raise ConfigError(
            f"{title} was given clients = {clients}, but {found} upload.\n"
            f"  Set clients to {found}: the number is public and fixes the size of a broadcast."
        )

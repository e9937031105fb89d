"""What an algorithm says; who runs it, and where, is not its business."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ...mechanisms.base import Key
from ..clients import ClientData
from ..kernels.base import Params

State = dict[str, Tensor]
"""Name -> float[replicas, ...]: what the server keeps, or what it sends."""


@dataclass(frozen=True)
class Received:
    """Uploads of one round, after noise.

    Attributes:
        total: float64[replicas, *shape]: sum of the weighted uploads, or None.
        rows: float[replicas, clients, *shape]: each upload; zero for a client that sent nothing
            that could be used; or None.
        arrived: bool[replicas, clients]: whose upload could be used.
        weight: float64[replicas]: sum of the weights.
    """

    total: Tensor | None
    rows: Tensor | None
    arrived: Tensor
    weight: Tensor


class Algorithm(Protocol):
    """One federated method. All tensors have a leading row or replica axis.

    A round: every client of the cohort gets the broadcast, calls `update` and uploads; the server
    calls `serve`. Only uploads and broadcasts leave their owner.
    """

    @property
    def upload_shape(self) -> tuple[int, ...]:
        """Shape of one client's upload."""

    @property
    def keeps_rows(self) -> bool:
        """Whether `serve` needs each upload; else it gets their sum, and memory stays small."""

    @property
    def weights_are_public(self) -> bool:
        """Whether neither the weights nor the divisor of the sum depend on anybody's records.

        Only then may uploads be noised: weights would change the sensitivity, and leave in clear.
        """

    @property
    def takes_noisy_sums(self) -> bool:
        """Whether `serve` uses nothing but the sum of the uploads, over a public divisor.

        Only then may a server noise the sum instead of each upload.
        """

    def start(self, replicas: Tensor, key: Key) -> State:
        """The server's state before the first round; int64[replicas] are their numbers."""

    def personal(self, data: ClientData, key: Key) -> Params:
        """What each client keeps between rounds, float[rows, ...]; empty if nothing."""

    def broadcast(self, state: State) -> State:
        """What the clients get."""

    def weights(self, data: ClientData) -> Tensor:
        """float64[rows]: weight of each upload in the sum; all 1 if `weights_are_public`."""

    def update(
        self,
        received: Mapping[str, Tensor],
        personal: Params,
        data: ClientData,
        *,
        round: int,
        key: Key,
    ) -> tuple[Tensor, Params]:
        """Local work of some rows.

        Args:
            received: the broadcast of each row's replica, float[rows, ...]; empty tensors' names
                are those of `broadcast`.
            personal: the rows' own state.
            data: the rows, longest first.
            round: >= 0.
            key: root of the run; add purpose, and let counters add round, client and replica.

        Returns:
            uploads before noise, float[rows, *upload_shape], and the new personal state.
        """

    def serve(self, state: State, received: Received, *, round: int, key: Key) -> State:
        """The server's state after a round."""

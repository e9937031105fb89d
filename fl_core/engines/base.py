"""What an engine does: the clients' part of a round, for the rows of a cohort."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from torch import Tensor

from ..kernels.base import Params


class Work(NamedTuple):
    """What some rows computed.

    Attributes:
        rows: int64[k].
        uploads: float[k, *shape], with the noise of the clients; None if they are lost.
        raw: the same before noise, if it was asked for: for tests of our own code.
    """

    rows: Tensor
    uploads: Tensor | None
    raw: Tensor | None


class Engine(Protocol):
    """Runs `Algorithm.update` and the clients' noise; keeps the clients' own state."""

    def work(
        self, rows: Tensor, sent: Mapping[str, Tensor], round: int, *, raw: bool
    ) -> Iterator[Work]:
        """The clients' part of a round, in chunks of any size and order.

        Args:
            rows: int64[k]: the cohort.
            sent: the broadcast, float[replicas, ...].
            round: >= 0.
            raw: whether to hand out uploads before noise.
        """

    def personal(self) -> Params:
        """The clients' state, all rows, in order."""

    def restore(self, personal: Params) -> None:
        """Go on from this state."""

    def close(self) -> None:
        """Give back what it holds."""

"""The account of runs whose clients add noise while they train: what leaves is post-processing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import dp_accounting.dp_event as dpe
from torch import Tensor

from ...accountant import check
from ...accountant.adjacency import Unit
from ...accountant.errors import ConfigError
from ...accountant.event_json import to_dict
from ...accountant.ledger import LedgerEntry
from ...mechanisms.base import Key
from ..clients import ClientData
from ..cohort import Cohort, Everyone
from ..row_key import row_fingerprint
from .base import Algorithm


@dataclass(frozen=True, kw_only=True)
class NoiseInside:
    """A `Protection` that changes nothing and writes down what local training costs.

    Attributes:
        event: what `period` rounds cost one record of a client.
        release: what the ledger calls it.
        period: rounds that the event is for; it is written before the first of them.
        names: names of the clients by number; their numbers if not given.
    """

    event: dpe.DpEvent
    release: str
    period: int = 1
    names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check.count(period=self.period)

    @property
    def unit(self) -> Unit:
        """A record of a client."""
        return "example"

    @property
    def trust(self) -> str:
        """Nobody."""
        return "clients add noise while they train; nobody sees anything before it"

    def check(self, algorithm: Algorithm, data: ClientData, cohort: Cohort) -> None:
        """The algorithm must add this noise; over several rounds, everybody must take part.

        Raises:
            ConfigError: late comers would not be accounted, uploads are weighted by what the
                clients hold, or it is another algorithm's account.
        """
        if not algorithm.weights_are_public:
            raise ConfigError(
                "uploads are weighted or divided by what the clients hold: these counts would "
                "leave without noise.\n  Use equal weights and a public divisor."
            )
        if self.period > 1 and not isinstance(cohort, Everyone):
            raise ConfigError(
                f"the cost of {self.period} rounds is written before the first of them, for those "
                f"who take part in it, but the run draws: {cohort.text}.\n  Use Everyone()."
            )
        part: Any = algorithm
        if not hasattr(part, "protection"):
            part = getattr(algorithm, "client", None)
        own = part.protection() if hasattr(part, "protection") else None
        if own is None or (own.event, own.period) != (self.event, self.period):
            raise ConfigError(
                f"{type(algorithm).__name__} does not add the noise that this account is of.\n"
                "  Take the account of what trains: its protection()."
            )

    def entries(
        self, data: ClientData, rows: Tensor, round: int, key: Key
    ) -> Iterable[LedgerEntry]:
        """One entry per client at the first round of a period."""
        if round % self.period:
            return
        event, noise = to_dict(self.event), key.child("noise inside").fingerprint
        for client, replica in zip(
            data.clients[rows].tolist(), data.replicas[rows].tolist(), strict=True
        ):
            yield LedgerEntry(
                release=self.release,
                client=str(client) if self.names is None else self.names[client],
                label="",
                round=round,
                event=event,
                noise=row_fingerprint(noise, round, client, replica),
            )

    def rows(self, uploads: Tensor, data: ClientData, round: int, key: Key) -> Tensor:
        """Unchanged."""
        return uploads

    def totals(self, sums: Tensor, replicas: Tensor, round: int, key: Key) -> Tensor:
        """Unchanged."""
        return sums

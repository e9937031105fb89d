"""Where noise meets a run: at each upload, or at the sum. What it costs goes to the ledger first.

The third point, inside local training, belongs to the algorithm (`DpSgd` in its optimiser); what
leaves then is post-processing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ..accountant.errors import ConfigError
from ..accountant.event_json import to_dict
from ..accountant.ledger import EVERYONE, LedgerEntry
from ..mechanisms.base import Key
from .clients import ClientData
from .cohort import Cohort
from .row_key import NotRowwiseError, of_rows, one_row, row_fingerprint


class Protection(Protocol):
    """Noise at one point of a run."""

    def check(self, cohort: Cohort) -> None:
        """Raise `ConfigError` if the mechanism accounts another cohort than the run draws."""

    def entries(
        self, data: ClientData, rows: Tensor, round: int, key: Key
    ) -> Iterable[LedgerEntry]:
        """What the releases of these rows cost; written before they are made."""

    def rows(self, uploads: Tensor, data: ClientData, round: int, key: Key) -> Tensor:
        """Uploads as they leave the clients, float[rows, *shape]."""

    def totals(self, sums: Tensor, replicas: Tensor, round: int, key: Key) -> Tensor:
        """Sums as the server releases them, float64[replicas, *shape]."""


@dataclass(frozen=True, kw_only=True)
class PerUpload:
    """Each client noises what it sends.

    Attributes:
        mechanism: `perturb(rows, key)` if what is uploaded is a bounded statistic of it already,
            else `release(rows, key)`, which clips first.
        release: what the ledger calls it.
        labels: names of the classes that an upload's first axis stands for; a record is in one of
            them. Empty if any record can enter all of an upload.
        names: names of the clients by number; their numbers if not given.
    """

    mechanism: Any
    release: str
    labels: tuple[str, ...] = ()
    names: Sequence[str] | None = None

    def check(self, cohort: Cohort) -> None:
        """Any cohort: the server sees who takes part, so nothing is amplified."""

    def entries(
        self, data: ClientData, rows: Tensor, round: int, key: Key
    ) -> Iterable[LedgerEntry]:
        """One entry per client and label."""
        event = to_dict(self.mechanism.event())
        for client, replica in zip(
            data.clients[rows].tolist(), data.replicas[rows].tolist(), strict=True
        ):
            noise = row_fingerprint(key.child("noise"), round, client, replica)
            name = str(client) if self.names is None else self.names[client]
            for number, label in enumerate(self.labels or ("",)):
                yield LedgerEntry(
                    release=self.release,
                    client=name,
                    label=label,
                    round=round,
                    event=event,
                    noise=noise if noise == "system" or not label else f"{noise}/{number}",
                )

    def rows(self, uploads: Tensor, data: ClientData, round: int, key: Key) -> Tensor:
        """With noise by row."""
        apply = getattr(self.mechanism, "perturb", None) or self.mechanism.release
        noise = key.child("noise")
        try:
            found: Tensor = apply(uploads, of_rows(noise, data, round))
        except NotRowwiseError:
            pairs = zip(data.clients.tolist(), data.replicas.tolist(), strict=True)
            keys = [one_row(noise, round, client, replica) for client, replica in pairs]
            each = [apply(row.unsqueeze(0), k)[0] for row, k in zip(uploads, keys, strict=True)]
            found = torch.stack(each) if each else uploads
        return found

    def totals(self, sums: Tensor, replicas: Tensor, round: int, key: Key) -> Tensor:
        """Unchanged."""
        return sums


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """A trusted server, or a secure sum, noises the sum of clipped uploads: client-level privacy.

    Attributes:
        mechanism: clips rows, noises a sum; its divisor is the algorithm's.
    """

    mechanism: Any

    def check(self, cohort: Cohort) -> None:
        """The mechanism's rate must be the one that the cohort is drawn with.

        Raises:
            ConfigError: it is not.
        """
        rate = self.mechanism.sampling_rate
        if rate < 1.0 and cohort.sampling_rate != rate:
            raise ConfigError(
                f"the mechanism accounts a Poisson sample of rate {rate!r}, but the run draws: "
                f"{cohort.text}.\n  Draw with Poisson({rate!r}), or account without sampling "
                "(sampling_rate = 1)."
            )

    def entries(
        self, data: ClientData, rows: Tensor, round: int, key: Key
    ) -> Iterable[LedgerEntry]:
        """One entry, also for an empty cohort: noise leaves then, too."""
        noise = row_fingerprint(key.child("noise"), round, 0, 0)
        yield LedgerEntry(
            release="sum of uploads",
            client=EVERYONE,
            label="",
            round=round,
            event=to_dict(self.mechanism.event()),
            noise=noise,
        )

    def rows(self, uploads: Tensor, data: ClientData, round: int, key: Key) -> Tensor:
        """Clipped."""
        clipped: Tensor = self.mechanism.contribution(uploads)
        return clipped

    def totals(self, sums: Tensor, replicas: Tensor, round: int, key: Key) -> Tensor:
        """With noise by replica."""
        noise = key.child("noise")
        each = [
            self.mechanism.noisy_sum(total, one_row(noise, round, 0, int(replica)))
            for total, replica in zip(sums, replicas, strict=True)
        ]
        return torch.stack(each)


@dataclass(frozen=True, kw_only=True)
class Unprotected:
    """No noise. Needs a name in the ledger all the same: it costs everything.

    Attributes:
        release: what the ledger calls it.
    """

    release: str = "uploads without noise"

    def check(self, cohort: Cohort) -> None:
        """Anything goes."""

    def entries(
        self, data: ClientData, rows: Tensor, round: int, key: Key
    ) -> Iterable[LedgerEntry]:
        """One entry: nothing is proven about this run."""
        yield LedgerEntry(
            release=self.release,
            client=EVERYONE,
            label="",
            round=round,
            event=to_dict(dpe.NonPrivateDpEvent()),
            noise="system",
        )

    def rows(self, uploads: Tensor, data: ClientData, round: int, key: Key) -> Tensor:
        """Unchanged."""
        return uploads

    def totals(self, sums: Tensor, replicas: Tensor, round: int, key: Key) -> Tensor:
        """Unchanged."""
        return sums

"""Where noise meets a run: at each upload, or at the sum. What it costs goes to the ledger first.

The third point, inside local training, belongs to the algorithm (`DpSgd` in its optimiser); what
leaves then is post-processing.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ..accountant.adjacency import Unit
from ..accountant.errors import ConfigError
from ..accountant.event_json import to_dict
from ..accountant.ledger import EVERYONE, LedgerEntry
from ..mechanisms.base import Key
from .algorithms.base import Algorithm
from .clients import ClientData
from .cohort import Cohort
from .row_key import NotRowwiseError, of_rows, one_row, row_fingerprint


class Protection(Protocol):
    """Noise at one point of a run."""

    @property
    def unit(self) -> Unit | None:
        """Whose data the mechanism bounds; None if it bounds nobody's."""

    @property
    def trust(self) -> str:
        """Who sees uploads before noise, in words, for the record."""

    def check(self, algorithm: Algorithm, data: ClientData, cohort: Cohort) -> None:
        """Raise `ConfigError` if the mechanism accounts another run than this one."""

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

    @property
    def unit(self) -> Unit:
        """That of the mechanism."""
        return _unit(self.mechanism)

    @property
    def trust(self) -> str:
        """Nobody."""
        return "nobody sees an upload before noise"

    def check(self, algorithm: Algorithm, data: ClientData, cohort: Cohort) -> None:
        """Any cohort: the server sees who takes part, so nothing is amplified.

        Raises:
            ConfigError: the mechanism is not one for uploads, weights depend on the data, or
                labels or names do not fit.
        """
        _checked(self.mechanism, "per_upload", algorithm)
        _apply(self.mechanism)
        if self.labels and len(self.labels) != algorithm.upload_shape[0]:
            raise ConfigError(
                f"labels name {len(self.labels)} parts of an upload, but its shape is "
                f"{algorithm.upload_shape}"
            )
        if self.names is not None and len(self.names) <= int(data.clients.max()):
            raise ConfigError(
                f"names are given for {len(self.names)} clients, but there is a client number "
                f"{int(data.clients.max())}"
            )

    def entries(
        self, data: ClientData, rows: Tensor, round: int, key: Key
    ) -> Iterable[LedgerEntry]:
        """One entry per client and label."""
        event, own = to_dict(self.mechanism.event()), key.child("noise").fingerprint
        for client, replica in zip(
            data.clients[rows].tolist(), data.replicas[rows].tolist(), strict=True
        ):
            noise = row_fingerprint(own, round, client, replica)
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
        apply = _apply(self.mechanism)
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

    @property
    def unit(self) -> Unit:
        """That of the mechanism."""
        return _unit(self.mechanism)

    @property
    def trust(self) -> str:
        """The server, or the secure sum in its place."""
        return "the server is trusted with uploads before noise, or a secure sum stands for it"

    def check(self, algorithm: Algorithm, data: ClientData, cohort: Cohort) -> None:
        """The sum must be all that is used, over a public divisor, of the cohort accounted.

        Raises:
            ConfigError: it is not.
        """
        _checked(self.mechanism, "aggregate", algorithm)
        if not algorithm.takes_noisy_sums or algorithm.keeps_rows:
            raise ConfigError(
                f"{type(algorithm).__name__} uses more than the sum of the uploads, or a divisor "
                "that is not public: noise at the sum would not protect it.\n"
                "  Noise each upload (PerUpload)."
            )
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
        replica = int(data.replicas.min())
        noise = row_fingerprint(key.child("noise").fingerprint, round, 0, replica)
        yield LedgerEntry(
            release="sum of uploads",
            client=EVERYONE,
            label="",
            round=round,
            event=to_dict(self.mechanism.event()),
            noise=noise,
        )

    def rows(self, uploads: Tensor, data: ClientData, round: int, key: Key) -> Tensor:
        """Clipped, each as one vector."""
        clipped: Tensor = self.mechanism.contribution(uploads.flatten(1))
        return clipped.view_as(uploads)

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

    @property
    def unit(self) -> None:
        """Nobody's data are bounded."""
        return None

    @property
    def trust(self) -> str:
        """Everybody."""
        return "uploads leave without noise"

    def check(self, algorithm: Algorithm, data: ClientData, cohort: Cohort) -> None:
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


def _unit(mechanism: Any) -> Unit:
    unit: Unit | None = getattr(mechanism, "unit", None)
    if unit is None:
        raise ConfigError(
            f"{type(mechanism).__name__} does not say whose data it bounds.\n"
            '  Give it an attribute `unit`: "example" or "client".'
        )
    return unit


def _checked(mechanism: Any, point: str, algorithm: Algorithm) -> None:
    """Raise `ConfigError` for a mechanism of another point, or weights that depend on data."""
    found = getattr(mechanism, "point", None)
    if found != point:
        raise ConfigError(
            f"{type(mechanism).__name__} adds its noise at the point {found!r}, but is used at "
            f"{point!r}.\n  Use PerUpload for uploads and Aggregate for their sum."
        )
    if not algorithm.weights_are_public:
        raise ConfigError(
            "uploads are weighted or divided by what the clients hold, but are accounted as "
            "equal.\n  Use equal weights and a public divisor, or no protection."
        )


def _apply(mechanism: Any) -> Callable[[Tensor, Key], Tensor]:
    """How uploads get their noise: an upload that is clipped here is one vector."""
    if hasattr(mechanism, "perturb"):
        perturb: Callable[[Tensor, Key], Tensor] = mechanism.perturb
        return perturb
    return lambda uploads, key: mechanism.release(uploads.flatten(1), key).view_as(uploads)

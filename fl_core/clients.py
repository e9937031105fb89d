"""`ClientData`: the records of all clients in one resident pool, and who holds which of them.

A row is one client in one replica of a run. Replicas share the pool, so an audit with 200 worlds
costs 200 lists of indices, not 200 copies of the data.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..accountant.errors import ConfigError


@dataclass(frozen=True, kw_only=True, eq=False)
class ClientData:
    """Rows of indices into a pool of records.

    Attributes:
        x: float[records, ...]; the pool.
        y: int64[records].
        index: int64[rows, longest]: records of each row, then zeros.
        lengths: int64[rows]: number of records of each row; 0 is allowed.
        clients: int64[rows]: number of the client, below 2**32; part of its random numbers.
        replicas: int64[rows]: number of the replica, likewise.
        virtual: records may be held twice, by one client or by several. Nothing is then proven per
            example, since a release per client is accounted as if records were disjoint.
    """

    x: Tensor
    y: Tensor
    index: Tensor
    lengths: Tensor
    clients: Tensor
    replicas: Tensor
    virtual: bool = False

    def __len__(self) -> int:
        return len(self.lengths)

    @classmethod
    def of(
        cls,
        x: Tensor,
        y: Tensor,
        parts: Sequence[Sequence[int] | np.ndarray],
        *,
        clients: Sequence[int] | None = None,
        replicas: Sequence[int] | None = None,
        virtual: bool = False,
    ) -> "ClientData":
        """One row per part.

        Args:
            x: float[records, ...].
            y: int64[records].
            parts: the indices of the records that each row holds.
            clients: number of each row's client; in order if not given.
            replicas: number of each row's replica; all 0 if not given.
            virtual: whether a record may be held more than once in a replica.

        Raises:
            ConfigError: lengths differ, an index is no whole number or outside the pool, a record
                is held twice though the clients are not virtual, or two rows are the same client
                of the same replica and so would draw the same random numbers.
        """
        count = len(parts)
        who = torch.as_tensor(range(count) if clients is None else clients, dtype=torch.int64)
        which = torch.as_tensor([0] * count if replicas is None else replicas, dtype=torch.int64)
        if len(x) != len(y) or len(who) != count or len(which) != count:
            raise ConfigError(
                f"{len(x)} records with {len(y)} labels, {count} parts, {len(who)} clients and "
                f"{len(which)} replicas do not fit together"
            )
        numbers = torch.stack([who, which])
        if count and not 0 <= int(numbers.min()) <= int(numbers.max()) < 2**32:
            raise ConfigError("clients and replicas are numbers from 0 to 2**32 - 1")
        if len(torch.unique(torch.stack([who, which]), dim=1).T) != count:
            raise ConfigError("two rows are the same client of the same replica")
        lengths = torch.tensor([len(part) for part in parts], dtype=torch.int64)
        index = torch.zeros(count, int(lengths.max()) if count else 0, dtype=torch.int64)
        if count and int(lengths.sum()):
            held = torch.arange(index.shape[1]) < lengths.unsqueeze(1)
            flat = np.concatenate([_whole(part) for part in parts])
            if flat.min() < 0 or flat.max() >= len(x):
                raise ConfigError(f"a row holds a record outside the pool of {len(x)} records")
            index[held] = torch.from_numpy(flat)
            place = which.repeat_interleave(lengths).numpy().astype(np.int64) * len(x) + flat
            if not virtual and len(np.unique(place)) < len(place):
                raise ConfigError(
                    "a record is held twice in one replica, by one client or by two.\n"
                    "  Deal records out once, or say virtual=True: then nothing is proven per "
                    "example."
                )
        return cls(
            x=x, y=y, index=index, lengths=lengths, clients=who, replicas=which, virtual=virtual
        )

    def take(self, rows: Tensor) -> "ClientData":
        """These rows, in this order; the pool stays the same."""
        lengths = self.lengths[rows]
        longest = int(lengths.max()) if len(lengths) else 0
        return replace(
            self,
            index=self.index[rows, :longest],
            lengths=lengths,
            clients=self.clients[rows],
            replicas=self.replicas[rows],
        )

    def replicate(self, count: int) -> "ClientData":
        """`count` replicas of replica 0, replica by replica.

        Raises:
            ConfigError: there are other replicas already.
        """
        if len(self) and int(self.replicas.max()) > 0:
            raise ConfigError("these rows are replicas already; replicate those of replica 0")
        each = torch.arange(count).repeat_interleave(len(self))
        return replace(
            self,
            index=self.index.repeat(count, 1),
            lengths=self.lengths.repeat(count),
            clients=self.clients.repeat(count),
            replicas=each.to(self.clients),
        )

    def to(self, device: torch.device | str) -> "ClientData":
        """The same on another device."""
        return replace(
            self,
            x=self.x.to(device),
            y=self.y.to(device),
            index=self.index.to(device),
            lengths=self.lengths.to(device),
            clients=self.clients.to(device),
            replicas=self.replicas.to(device),
        )


def _whole(part: Sequence[int] | np.ndarray) -> np.ndarray:
    found = np.asarray(part)
    if found.size and found.dtype.kind not in "iu":
        raise ConfigError(f"parts must be whole numbers, but one is of type {found.dtype}")
    return found.astype(np.int64)

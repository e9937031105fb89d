"""A key whose draws belong to rows: row i gets the same noise in any chunk and any order."""

from dataclasses import dataclass
from math import prod

import numpy as np
from torch import Tensor

from ..accountant.errors import ParameterError
from ..mechanisms.base import Key
from .clients import ClientData
from .counters import Counter


class NotRowwiseError(ParameterError):
    """A mechanism draws something that counters do not give; run it row by row."""


@dataclass(frozen=True)
class RowKey:
    """Seeded noise of many rows at once, by (round, client, replica).

    Attributes:
        root: key of the run and the purpose.
        round: when.
        clients, replicas: int64[rows].
    """

    root: Key
    round: int
    clients: Tensor
    replicas: Tensor

    @property
    def fingerprint(self) -> str:
        """That of the root and the round; rows add their own numbers (`row_fingerprint`)."""
        return f"{self.root.fingerprint}/{self.round}"

    def child(self, *names: str | int) -> "RowKey":
        """The key of a narrower purpose."""
        return RowKey(self.root.child(*names), self.round, self.clients, self.replicas)

    def normal(self, *shape: int) -> Tensor:
        """float64[rows, ...] of independent standard normals.

        Raises:
            ParameterError: the first axis is not that of the rows.
        """
        if not shape or shape[0] != len(self.clients):
            raise ParameterError(
                f"noise of {len(self.clients)} rows must have them as its first axis, "
                f"but is asked for as {list(shape)}"
            )
        counter = Counter.of(self.root, "normal", round=self.round)
        flat = counter.normal(self.clients, self.replicas, prod(shape[1:]))
        return flat.view(shape)

    def generator(self) -> np.random.Generator:
        """Not available: a generator's numbers would depend on the order of the rows."""
        raise NotRowwiseError("this mechanism draws from a generator: run it row by row")


def row_fingerprint(fingerprint: str, round: int, client: int, replica: int) -> str:
    """What the ledger calls the noise of one row under a key; "system" if it is fresh."""
    return fingerprint if fingerprint == "system" else f"{fingerprint}/{replica}/{round}/{client}"


def of_rows(key: Key, data: ClientData, round: int) -> Key:
    """The rows' key: fresh noise stays fresh, seeded noise goes by row."""
    if key.fingerprint == "system":
        return key
    return RowKey(key, round, data.clients, data.replicas)


def one_row(key: Key, round: int, client: int, replica: int) -> Key:
    """The key of one row, for mechanisms that need a generator."""
    return key.child("row", replica, round, client)

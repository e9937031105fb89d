"""The local engine: chunks of rows, longest first, one after another."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ...mechanisms.base import Key
from ..algorithms.base import Algorithm
from ..clients import ClientData
from ..kernels.base import Params
from ..protection import Protection
from .base import Work


class Local:
    """All rows in this process.

    Args:
        algorithm: the method.
        data: the rows.
        key: root of the run.
        protection: the clients' noise.
        replicas: int64[replicas], sorted: the numbers that a broadcast's first axis stands for.
        chunk: rows that are trained at once.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        data: ClientData,
        key: Key,
        protection: Protection,
        replicas: Tensor,
        chunk: int,
    ) -> None:
        self._algorithm, self._data, self._key = algorithm, data, key
        self._protection, self._chunk = protection, chunk
        self._place = torch.searchsorted(replicas.to(data.replicas.device), data.replicas)
        self._personal = algorithm.personal(data, key)

    def work(
        self, rows: Tensor, sent: Mapping[str, Tensor], round: int, *, raw: bool
    ) -> Iterator[Work]:
        """See `Engine`. Rows of like length share a chunk, so little of it is padding."""
        data = self._data
        rows = rows.to(data.lengths.device)
        longest_first = data.lengths[rows].argsort(descending=True, stable=True)
        for chunk in rows[longest_first].split(self._chunk) if len(rows) else ():
            some = data.take(chunk)
            own = {n: v[chunk] for n, v in self._personal.items()}
            received = {n: _to_rows(v, self._place[chunk]) for n, v in sent.items()}
            found, own = self._algorithm.update(received, own, some, round=round, key=self._key)
            for n, v in own.items():
                self._personal[n][chunk] = v
            noisy = self._protection.rows(found, some, round, self._key)
            yield Work(chunk, noisy, found if raw else None)

    def personal(self) -> Params:
        """See `Engine`."""
        return self._personal

    def restore(self, personal: Params) -> None:
        """See `Engine`."""
        self._personal = personal

    def close(self) -> None:
        """See `Engine`: nothing is held."""


def _to_rows(value: Tensor, place: Tensor) -> Tensor:
    """What each row's replica was sent; a view if there is one replica only."""
    return value.expand(len(place), *value.shape[1:]) if len(value) == 1 else value[place]

"""Ray: long-lived actors, each with a shard of the rows, and one message per shard and round.

A message per client, not the launcher, is what makes simulators slow. The pool of records goes
into Ray's object store once. `pip install 'privassay[ray]'`.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ConfigError
from ...mechanisms.base import Key
from ..algorithms.base import Algorithm
from ..clients import ClientData
from ..kernels.base import Params
from ..protection import Protection
from .base import Work
from .local import Local


class _Shard:
    """Lives in a worker process: a `Local` engine on the shard's own numbering of rows."""

    def __init__(self, threads: int, *parts: Any) -> None:
        torch.set_num_threads(threads)
        self._local = Local(*parts)

    def work(self, rows: Tensor, sent: Params, round: int, raw: bool) -> Work:
        """All rows of the shard's cohort in one answer."""
        found = list(self._local.work(rows, sent, round, raw=raw))
        return Work(
            torch.cat([some.rows for some in found]),
            torch.cat([some.uploads for some in found]),
            torch.cat([some.raw for some in found if some.raw is not None]) if raw else None,
        )

    def personal(self) -> Params:
        """The shard's state."""
        return self._local.personal()

    def restore(self, personal: Params) -> None:
        """Go on from this state."""
        # What Ray hands over is read-only memory of its store.
        self._local.restore({name: value.clone() for name, value in personal.items()})


class RayShards:
    """The rows of a run on Ray actors. Use it as a context manager: it stops its actors.

    Args:
        algorithm, data, key, protection, replicas, chunk: as for `Local`.
        shards: number of actors, >= 1; row i belongs to shard i modulo shards.
        threads: of torch in each actor.

    Raises:
        ConfigError: Ray is not installed.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        data: ClientData,
        key: Key,
        protection: Protection,
        replicas: Tensor,
        chunk: int,
        *,
        shards: int,
        threads: int = 1,
    ) -> None:
        check.count(shards=shards, threads=threads)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no request leaves
        try:
            import ray
        except ImportError:
            raise ConfigError(
                "the Ray engine needs Ray: pip install 'privassay[ray]', or use the local engine"
            ) from None
        self._ray: Any = ray
        self._shards = min(shards, len(data))
        self._count = len(data)
        self._started = not ray.is_initialized()
        if self._started:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        actor: Any = self._ray.remote(_Shard)
        rows = torch.arange(len(data))
        self._actors = [
            actor.remote(
                threads,
                algorithm,
                data.take(rows[shard :: self._shards]),
                key,
                protection,
                replicas,
                chunk,
            )
            for shard in range(self._shards)
        ]

    def work(
        self, rows: Tensor, sent: Mapping[str, Tensor], round: int, *, raw: bool
    ) -> Iterator[Work]:
        """See `Engine`; answers come in the order of the shards."""
        broadcast = self._ray.put(dict(sent))
        waiting = []
        for shard, actor in enumerate(self._actors):
            mine = rows[rows % self._shards == shard]
            if len(mine):
                there = actor.work.remote(mine // self._shards, broadcast, round, raw)
                waiting.append((shard, there))
        for shard, answer in waiting:
            found: Work = self._ray.get(answer)
            yield found._replace(rows=found.rows * self._shards + shard)

    def personal(self) -> Params:
        """See `Engine`."""
        parts = self._ray.get([actor.personal.remote() for actor in self._actors])
        found: Params = {}
        for name, first in parts[0].items():
            found[name] = first.new_empty(self._count, *first.shape[1:])
            for shard, part in enumerate(parts):
                found[name][shard :: self._shards] = part[name]
        return found

    def restore(self, personal: Params) -> None:
        """See `Engine`."""
        self._ray.get(
            [
                actor.restore.remote({n: v[shard :: self._shards] for n, v in personal.items()})
                for shard, actor in enumerate(self._actors)
            ]
        )

    def close(self) -> None:
        """Stop the actors, and Ray if it was started here."""
        for actor in self._actors:
            self._ray.kill(actor)
        if self._started:
            self._ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

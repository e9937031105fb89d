"""Ray: long-lived actors, each with a shard of the rows, and one message per shard and round.

A message per client, not the launcher, is what makes simulators slow. The pool of records goes
into Ray's object store once. An actor that is lost is started again and asked once more, with the
same random numbers and the clients' state of the last checkpoint; if it is lost again, its uploads
are missing. `pip install 'privassay[ray]'`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ...accountant import check
from ...mechanisms.base import Key
from ..algorithms.base import Algorithm
from ..clients import ClientData
from ..kernels.base import Params
from ..protection import Protection
from .base import Work
from .local import Local
from .ray_start import apart, started, together


class _Shard:
    """Lives in a worker process: a `Local` engine on the shard's own numbering of rows."""

    def __init__(
        self,
        threads: int,
        pool: tuple[Any, Any],
        algorithm: Algorithm,
        data: ClientData,
        *rest: Any,
    ) -> None:
        torch.set_num_threads(threads)
        self._local = Local(algorithm, together(pool, data), *rest)

    def work(self, rows: Tensor, sent: Params, round: int, raw: bool) -> Work:
        """All rows of the shard's cohort in one answer."""
        found = list(self._local.work(rows, sent, round, raw=raw))
        return Work(
            torch.cat([some.rows for some in found]),
            torch.cat([some.uploads for some in found if some.uploads is not None]),
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
    """The rows of a run on Ray actors: `run(..., engine=partial(RayShards, shards=4))`.

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
        self._ray, self._started = started("the Ray engine needs", "use the local engine")
        self._shards = min(shards, len(data))
        self._count = len(data)
        self._threads = threads
        self._last: Params | None = None
        pool, self._rows = apart(data)
        self._pool = self._ray.put(pool)
        self._algorithm, self._rest = algorithm, (key, protection, replicas, chunk)
        self._actors = [self._start(shard) for shard in range(self._shards)]

    def work(
        self, rows: Tensor, sent: Mapping[str, Tensor], round: int, *, raw: bool
    ) -> Iterator[Work]:
        """See `Engine`; answers come in the order of the shards."""
        given = (self._ray.put(dict(sent)), round, raw)
        waiting = []
        for shard, actor in enumerate(self._actors):
            mine = rows[rows % self._shards == shard]
            if len(mine):
                there = mine // self._shards
                waiting.append((shard, there, actor.work.remote(there, *given)))
        for shard, there, answer in waiting:
            found = self._answer(shard, there, answer, given)
            yield found._replace(rows=found.rows * self._shards + shard)

    def _answer(self, shard: int, rows: Tensor, answer: Any, given: tuple[Any, ...]) -> Work:
        """The shard's work; of a lost one its second attempt, or nothing."""
        for again in (True, False):
            try:
                found: Work = self._ray.get(answer)
                return found
            except self._ray.exceptions.RayActorError:
                self._actors[shard] = self._start(shard)
                if self._last is not None:
                    self._actors[shard].restore.remote(self._part(self._last, shard))
                if again:
                    answer = self._actors[shard].work.remote(rows, *given)
        return Work(rows, None, None)

    def _start(self, shard: int) -> Any:
        mine = self._rows.take(torch.arange(self._count)[shard :: self._shards])
        actor: Any = self._ray.remote(_Shard)
        return actor.remote(self._threads, self._pool, self._algorithm, mine, *self._rest)

    def _part(self, personal: Params, shard: int) -> Params:
        return {name: value[shard :: self._shards] for name, value in personal.items()}

    def personal(self) -> Params:
        """See `Engine`."""
        parts = self._ray.get([actor.personal.remote() for actor in self._actors])
        found: Params = {}
        for name, first in parts[0].items():
            found[name] = first.new_empty(self._count, *first.shape[1:])
            for shard, part in enumerate(parts):
                found[name][shard :: self._shards] = part[name]
        self._last = found
        return found

    def restore(self, personal: Params) -> None:
        """See `Engine`."""
        self._last = personal
        self._ray.get(
            [
                actor.restore.remote(self._part(personal, shard))
                for shard, actor in enumerate(self._actors)
            ]
        )

    def close(self) -> None:
        """Stop the actors, and Ray if it was started here."""
        for actor in self._actors:
            self._ray.kill(actor)
        if self._started:
            self._ray.shutdown()

"""Shadow training in several Ray processes: each chunk of models is one task.

The pool goes into Ray's object store once. A process that is lost is started again, and asked
again for what it had not answered. `pip install 'privassay[ray]'`.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from ..accountant.errors import ConfigError
from ..fl_core.clients import ClientData
from ..fl_core.kernels.base import Params
from .shadow_batches import Key
from .shadow_recipe import Recipe

_AGAIN = 2  # times that a lost process is started anew


class _Trainer:
    """Lives in a worker process."""

    def __init__(self, pool: tuple[Any, Any], recipe: Recipe, data: ClientData, key: Key) -> None:
        torch.set_num_threads(1)
        # Ray's store is read-only; torch wants memory of its own.
        x, y = (torch.from_numpy(part.copy()) for part in pool)
        self._recipe, self._data, self._key = recipe, replace(data, x=x, y=y), key

    def train(self, first: int, last: int) -> Params:
        """Models first .. last - 1."""
        return self._recipe.train(self._data.take(torch.arange(first, last)), self._key)


def train_on_ray(
    recipe: Recipe, data: ClientData, key: Key, chunks: Sequence[range], *, shards: int
) -> Iterator[tuple[range, Params]]:
    """The chunks' models, in the order in which they are finished.

    Args:
        recipe: how each model is trained.
        data: the rows, on the processor.
        key: of all randomness.
        chunks: rows of `data`.
        shards: number of processes, >= 1.

    Raises:
        ConfigError: Ray is not installed, or a process was lost again and again.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no request leaves
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "shards need Ray: pip install 'privassay[ray]', or leave shards out"
        ) from None
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    actors: list[Any] = []
    try:
        pool = data.x.numpy(), data.y.numpy()
        rest = replace(data, x=data.x[:0], y=data.y[:0])
        # Put by hand and held to the end: what Ray puts for a call may be gone when it is repeated.
        given = [ray.put(part) for part in (pool, recipe, rest, key)]
        actor: Any = ray.remote(_Trainer).options(max_restarts=_AGAIN, max_task_retries=_AGAIN)
        actors += [actor.remote(*given) for _ in range(min(shards, len(chunks)))]
        waiting = {
            actors[number % len(actors)].train.remote(rows.start, rows.stop): rows
            for number, rows in enumerate(chunks)
        }
        while waiting:
            done, _ = ray.wait(list(waiting))
            for answer in done:
                try:
                    params = ray.get(answer)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from None
                except ray.exceptions.RayActorError as error:
                    raise ConfigError(
                        f"a Ray process was lost and could not be replaced ({_AGAIN} attempts).\n"
                        "  Give fewer shards or a smaller chunk if memory ran out. Ray says: "
                        f"{error}"
                    ) from None
                yield waiting.pop(answer), {n: v.clone() for n, v in params.items()}
    finally:
        for one in actors:
            ray.kill(one)
        if started:
            ray.shutdown()

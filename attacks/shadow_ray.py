"""Shadow training in several Ray processes: each chunk of models is one task.

The pool goes into Ray's object store once. A process that is lost is started again, and asked
again for what it had not answered. `pip install 'privassay[ray]'`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ..accountant.errors import ConfigError
from ..fl_core.clients import ClientData
from ..fl_core.engines.ray_start import apart, started, together
from ..fl_core.kernels.base import Params
from .shadow_batches import Key
from .shadow_recipe import Recipe

_AGAIN = 2  # times that a lost process is started anew


class _Trainer:
    """Lives in a worker process."""

    def __init__(self, pool: tuple[Any, Any], recipe: Recipe, data: ClientData, key: Key) -> None:
        torch.set_num_threads(1)
        self._recipe, self._data, self._key = recipe, together(pool, data), key

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
    ray, here = started("shards need", "leave shards out")
    actors: list[Any] = []
    try:
        pool, rest = apart(data)
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
        if here:
            ray.shutdown()

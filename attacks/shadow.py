"""Shadow models: many trainings of one recipe, each on its own draw of the records, as one.

The adversary trains models as the target was trained and learns from them what a member's answer
looks like (Shokri et al., arXiv:1610.05820; Carlini et al., arXiv:2112.03570). Here all of them
are rows of one stacked training, and each can also be a target whose references are the others.

    design = equal_coins(labels, models=128, seed=0)
    shadows = train_shadows(recipe, x, y, design, key=key, folder=cache)
    answers = shadows.answers(x, y)
    references = shadows.references(answers, targets=32, refs=16)
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..accountant import check
from ..accountant.errors import ConfigError, DesignError
from ..fl_core.data.membership import MembershipDesign
from ..fl_core.kernels.base import Params
from .shadow_batches import Key
from .shadow_cache import Cache
from .shadow_models import Shadows
from .shadow_recipe import Recipe

Say = Callable[[str], None]

_CHUNK = 32  # models whose parameters and batches stay in a processor's cache


def train_shadows(
    recipe: Recipe,
    x: Tensor,
    y: Tensor,
    design: MembershipDesign,
    *,
    key: Key,
    device: torch.device | str = "cpu",
    chunk: int | None = None,
    shards: int | None = None,
    folder: Path | None = None,
    say: Say | None = None,
) -> Shadows:
    """One model per replica of the design.

    Args:
        recipe: as the target is trained.
        x: float[records, ...] or whole numbers such as tokens, the pool of the design.
        y: int64[records].
        design: which records each model is trained on; of a partition with one client
            (`shadow_design.everyone`), since a shadow is trained in one place.
        key: of initial models, batches and noise; seeded.
        device: of the training; a kernel with a frozen module must be there already.
        chunk: models that are trained at once, and kept in one file; 32 on a processor, all on
            another device if not given. Of no influence on results beyond rounding.
        shards: number of Ray processes that share the chunks; None trains here.
        folder: keeps finished chunks under the hash of everything that determines them, so that
            a training that was killed goes on after its last finished chunk, and a finished one
            is not repeated. None keeps nothing.
        say: gets one line per chunk.

    Raises:
        DesignError: the design has several clients, or a model diverged.
        ConfigError: a fresh key, a device that is missing, Ray with another device, pool and
            design that do not fit.
    """
    say = say if say is not None else _silent
    if len(design.base) != 1:
        raise DesignError(
            f"the design deals its records out to {len(design.base)} clients, but a shadow is "
            "trained in one place.\n  Design over shadow_design.everyone(labels)."
        )
    if key.fingerprint == "system":
        raise ConfigError("shadows need a seeded key: their membership must fit their training")
    place = _device(device)
    if shards is not None and place.type != "cpu":
        raise ConfigError(f"Ray shards train on processors, but the device is {place}")
    size = chunk if chunk is not None else (_CHUNK if place.type == "cpu" else design.replicas)
    if shards is not None:
        check.count(shards=shards)
        size = min(size, -(-design.replicas // shards))
    check.count(chunk=size)
    pool = x.to(recipe.dtype) if x.is_floating_point() else x
    data = design.client_data(pool, y).to(place)
    cache = None
    if folder is not None:
        cache = Cache.of(folder, recipe, data, design_sha256=design.sha256, key=key)

    ends = [*range(size, design.replicas, size), design.replicas]
    chunks = [range(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    found: dict[range, Params] = {}
    for rows in chunks:
        kept = cache.load(rows, say) if cache is not None else None
        if kept is not None:
            found[rows] = kept
            say(f"models {rows.start} to {rows.stop - 1} from the cache")
    todo = [rows for rows in chunks if rows not in found]
    trained: Iterator[tuple[range, Params]]
    if shards is not None and todo:
        from .shadow_ray import train_on_ray

        trained = train_on_ray(recipe, data, key, todo, shards=shards)
    else:
        trained = ((rows, recipe.train(data.take(_of(rows, place)), key)) for rows in todo)
    for rows, params in trained:
        if cache is not None:
            cache.save(rows, params, say)
        found[rows] = params
        say(f"models {rows.start} to {rows.stop - 1} of {design.replicas} trained")
    parts = [found[rows] for rows in chunks]
    params = {
        name: torch.cat([part[name].to(place) for part in parts]) for name in recipe.kernel.shapes()
    }
    return Shadows(kernel=recipe.kernel, params=params, member=held(design), kind=design.kind)


def held(design: MembershipDesign) -> Tensor:
    """bool[replicas, records]: whether each record of the pool is in each replica's training."""
    member = np.zeros((design.replicas, len(design.base.labels)), dtype=bool)
    member[:, design.base.records] = True
    member[:, design.candidates] = design.member
    return torch.from_numpy(member)


def _of(rows: range, place: torch.device) -> Tensor:
    return torch.arange(rows.start, rows.stop, device=place)


def _device(device: torch.device | str) -> torch.device:
    place = torch.device(device)
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError('device="cuda", but torch finds none here. Say device="cpu".')
    return place


def _silent(line: str) -> None:
    pass

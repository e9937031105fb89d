"""Controls of functional theft: served prompts and those who ask them, stand-in encoder."""

from functools import cache

import torch
from torch import Tensor

from ...attacks.prompts.class_feature_theft import ClassFeatureTheft
from ...attacks.prompts.distillation import PromptDistillation, Queries, likeness, theft
from ...attacks.prompts.released import Records, Released
from ...mechanisms.base import SeededKey
from .control import Found
from .prompt_stand_in import (
    SCALE,
    chosen,
    drawn,
    stand_in,
    subsets,
    tuned,
    untouched,
)

_TARGETS, _SERVED, _QUERIES = 12, 24, 300
_STOLEN = 0.75  # of the accuracy that tuning gained


@cache
def _served(seed: int) -> tuple[Released, Released, Queries, Records, Tensor]:
    """Prompts that may be served, others, queries answered by the first, records to evaluate."""
    world, draw = stand_in(), drawn(seed, 8)
    order = torch.randperm(len(world.y), generator=draw)
    member = subsets(draw, _SERVED + _TARGETS, 500, 200)
    found = tuned(
        world.kernel, world.x, world.y, chosen(order[:500], member), epochs=60, rate=0.1,
        key=SeededKey(seed),
    )  # fmt: skip
    prompts = Released(kernel=world.kernel, prompts=found)
    served, others = (
        prompts.rows(torch.arange(_SERVED)),
        prompts.rows(torch.arange(_SERVED, _SERVED + _TARGETS)),
    )
    asked, rest = order[500 : 500 + _QUERIES], order[500 + _QUERIES :]
    place = torch.randperm(_SERVED, generator=draw)[:_TARGETS]
    return (
        served,
        others,
        Queries(
            x=world.x[asked],
            answers=served.rows(place).answers(Records(world.x[asked], world.y[asked])).logits,
        ),
        Records(world.x[rest], world.y[rest]),
        place,
    )


def _asked(seed: int, told: bool) -> Queries:
    """Without data other prompts answer, which are none of the candidates."""
    _, others, queries, _, _ = _served(seed)
    if told:
        return queries
    asked = Records(queries.x, torch.zeros(len(queries.x), dtype=torch.int64))
    return Queries(x=queries.x, answers=others.answers(asked).logits)


def distillation(seed: int, told: bool) -> Found:
    """A hit: nearest to the served prompt, and `_STOLEN` of what tuning gained.

    Without data nothing can be gained from other prompts' answers; there the first half is a hit.
    """
    served, _, _, records, place = _served(seed)
    view = _asked(seed, told)
    attack = PromptDistillation(kernel=served.kernel, steps=200)
    students = attack.reconstruct(view)
    right = likeness(students, served).argmax(dim=1) == place
    if told:
        found = theft(
            served.rows(place), students, untouched(), records, queries=len(view.x)
        ).gain_share
        right = right & (found >= _STOLEN)
    return Found(hits=int(right.sum()), trials=_TARGETS, chance=1.0 / _SERVED)


def class_feature_theft(seed: int, told: bool) -> Found:
    """A hit: nearest to the served prompt, and the same answer to every other picture."""
    served, _, _, records, place = _served(seed)
    attack, view = ClassFeatureTheft(scale=SCALE), _asked(seed, told)
    right = attack.score(view, served).argmax(dim=1) == place
    if told:
        mine = attack.logits(attack.reconstruct(view), records.x).argmax(dim=-1)
        true = served.rows(place).answers(records).logits.argmax(dim=-1)
        right = right & ((mine == true).double().mean(dim=1) > 0.99)
    return Found(hits=int(right.sum()), trials=_TARGETS, chance=1.0 / _SERVED)

"""Release ledger: every tensor that leaves a client, and whether it is noised.

The program is run on a data set and on a neighbour, each with several keys. An entry that changes
with the data but not with the key leaves as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...accountant.errors import ParameterError
from ..base import Key, SeededKey
from .finding import Finding

Step = Callable[[Any, Key], Mapping[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Left:
    """One tensor that left.

    Attributes:
        name: as the program calls it.
        reads_data: whether it differs between the two data sets.
        noised: whether it differs between keys.
        bare: entries that read the data and are the same for every key; -1 where already the shape
            reads the data.
        size: entries.
    """

    name: str
    reads_data: bool
    noised: bool
    bare: int
    size: int


def _equal(one: Tensor, other: Tensor) -> Tensor:
    return (one == other) | (torch.isnan(one.double()) & torch.isnan(other.double()))


def outbox(step: Step, data: Any, neighbour: Any, keys: Sequence[Key] = ()) -> tuple[Left, ...]:
    """What leaves, one entry a tensor, in the order of the program.

    Args:
        step: (data, key) -> {name: tensor}: everything that leaves the client.
        data: a data set.
        neighbour: another, which should move every statistic.
        keys: at least two; four seeded ones by default. Give more where noise is discrete, or one
            that happens to be drawn alike would pass for none.
    """
    keys = tuple(keys) or tuple(SeededKey(i).child("probe") for i in range(4))
    if len(keys) < 2:
        raise ParameterError("at least two keys are needed to see noise")
    here = [dict(step(data, key)) for key in keys]
    there = [dict(step(neighbour, key)) for key in keys]
    names = list(dict.fromkeys(name for found in here + there for name in found))
    return tuple(_left(name, here, there) for name in names)


def _left(name: str, here: list[dict[str, Tensor]], there: list[dict[str, Tensor]]) -> Left:
    found = [run.get(name) for run in here + there]
    shapes = {None if value is None else tuple(value.shape) for value in found}
    size = max(0 if value is None else value.numel() for value in found)
    if len(shapes) > 1:  # which tensors there are, or how large, depends on data or key
        return Left(name=name, reads_data=True, noised=False, bare=-1, size=size)
    first, second = (torch.stack([run[name] for run in runs]) for runs in (here, there))
    steady = _equal(first[1:], first[:1]).all(dim=0) & _equal(second[1:], second[:1]).all(dim=0)
    reads = ~_equal(first, second).all(dim=0)
    return Left(
        name=name,
        reads_data=bool(reads.any()),
        noised=bool((~steady).any()),
        bare=int((reads & steady).sum()),
        size=size,
    )


def unnoised(step: Step, data: Any, neighbour: Any, keys: Sequence[Key] = ()) -> Finding:
    """Fires where something that reads the data leaves without noise."""
    left = outbox(step, data, neighbour, keys)
    bare = [item for item in left if item.bare]
    if not bare:
        return Finding(
            probe="release ledger",
            fired=False,
            text=f"{len(left)} tensors leave; those that read the data are noised",
            measured=0.0,
            declared=0.0,
        )
    shown = ", ".join(
        f"{item.name} (its shape)" if item.bare < 0 else f"{item.name} ({item.bare}/{item.size})"
        for item in bare
    )
    return Finding(
        probe="release ledger",
        fired=True,
        text=f"un-noised entries that read the data leave: {shown}; no bound exists",
        measured=float(len(bare)),
        declared=0.0,
    )

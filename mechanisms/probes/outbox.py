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
from .inputs import named_tensors, no_neighbour, same_data

SCREENED, CONFIRMED = 4, 142
PROBE = "release ledger"
Step = Callable[[Any, Key], Mapping[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Left:
    """One tensor that left.

    Attributes:
        name: as the program calls it.
        reads_data: whether it differs between the two data sets.
        noised: whether it differs between keys.
        bare: entries that read the data and are the same for every key, or that are missing (NaN)
            because of the data; -1 where already the shape reads the data.
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

    Choices and other discrete noise can be drawn alike by chance. So what seems bare with four
    keys is run again with `CONFIRMED`: then an entry of a pure epsilon-DP release passes for bare
    with probability at most (1 + e^-epsilon)^(-2 CONFIRMED), 1e-6 for epsilon 3, since it is one
    value on the data and another on the neighbour each time.

    Args:
        step: (data, key) -> {name: tensor}: everything that leaves the client.
        data: a data set.
        neighbour: another, which should move every statistic.
        keys: at least two, instead of these.
    """
    if keys:
        return _run(step, data, neighbour, keys)
    source = SeededKey(0).child("ledger")
    left = _run(step, data, neighbour, [source.child(i) for i in range(SCREENED)])
    if any(item.bare > 0 for item in left):
        left = _run(step, data, neighbour, [source.child(i) for i in range(CONFIRMED)])
    return left


def _run(step: Step, data: Any, neighbour: Any, keys: Sequence[Key]) -> tuple[Left, ...]:
    if len(keys) < 2:
        raise ParameterError(f"at least two keys are needed to see noise, but got {len(keys)}")
    here = [named_tensors(step(data, key), "step") for key in keys]
    there = [named_tensors(step(neighbour, key), "step") for key in keys]
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
    # Noise does not hide which entries are missing (NaN).
    here_missing, there_missing = torch.isnan(first.double()), torch.isnan(second.double())
    missing = (here_missing == here_missing[:1]).all(dim=0)
    missing &= (there_missing == there_missing[:1]).all(dim=0) & (
        here_missing[0] != there_missing[0]
    )
    return Left(
        name=name,
        reads_data=bool(reads.any()),
        noised=bool((~steady).any()),
        bare=int(((reads & steady) | missing).sum()),
        size=size,
    )


def unnoised(step: Step, data: Any, neighbour: Any, keys: Sequence[Key] = ()) -> Finding:
    """Fires where something that reads the data leaves without noise."""
    if same_data(data, neighbour):
        return no_neighbour(PROBE)
    left = outbox(step, data, neighbour, keys)
    bare = [item for item in left if item.bare]
    if not bare:
        reads = any(item.reads_data for item in left)
        return Finding(
            probe=PROBE,
            fired=False,
            text=f"{len(left)} tensors leave; those that read the data are noised"
            if reads
            else f"{len(left)} tensors leave; nothing differed on the neighbour, so that the probe "
            "proves nothing",
            measured=0.0,
            declared=0.0,
        )
    shown = ", ".join(
        f"{item.name} (its shape)" if item.bare < 0 else f"{item.name} ({item.bare}/{item.size})"
        for item in bare
    )
    return Finding(
        probe=PROBE,
        fired=True,
        text=f"un-noised entries that read the data leave: {shown}; no bound exists",
        fix="noise it, or do not let it leave; a public value must not be computed from the data",
        measured=float(len(bare)),
        declared=0.0,
    )


def unpaid(
    left: Sequence[Left], *, charged: Mapping[str, float], costs: Mapping[str, float]
) -> Finding:
    """Fires where what leaves and reads the data costs more than the program's own account lists.

    Args:
        left: what leaves, from `outbox`.
        charged: name of a tensor -> epsilon, what the program's account lists.
        costs: name of each tensor that may leave -> epsilon that it takes for the noise it has.

    Raises:
        ParameterError: a tensor that reads the data has no cost.
    """
    reads = [item.name for item in left if item.reads_data]
    unknown = sorted(set(reads) - costs.keys())
    if unknown:
        raise ParameterError(f"costs of {unknown} are needed: they leave and read the data")
    spent, listed = sum(costs[name] for name in reads), sum(charged.values())
    free = [name for name in reads if name not in charged]
    fired = spent > listed * (1.0 + 1e-9)
    return Finding(
        probe=PROBE,
        fired=fired,
        text=f"{', '.join(reads)} read the data and cost {spent:.6g}; the account lists "
        f"{listed:.6g}" + (f", and nothing for {', '.join(free)}" if free else ""),
        fix="charge every release that reads the data, or do not make it" if fired else "",
        measured=spent,
        declared=listed,
    )

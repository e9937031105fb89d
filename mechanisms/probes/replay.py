"""Replay: with every noised release held fixed, does anything else that leaves follow the data?

What is computed from noised releases alone is free post-processing. The program is run on a data
set and then on a neighbour, where it is handed the noised values of the first run: what still
changes has another way to the data, however long that is.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from ...accountant.errors import ParameterError
from ..base import Key, SeededKey
from .finding import Finding
from .inputs import named_tensors, no_neighbour, same_data

Privatise = Callable[[str, Tensor], Tensor]
Program = Callable[[Any, Privatise], Mapping[str, Tensor]]
PROBE = "replay"


def post_processing(program: Program, data: Any, neighbour: Any, *, key: Key | None = None
                    ) -> Finding:  # fmt: skip
    """Fires where something that leaves depends on the data beside the noised releases.

    Args:
        program: (data, privatise) -> {name: tensor}: everything that leaves. It hands each value
            that an account covers to privatise(name, value), and goes on with what comes back.
        data: a data set.
        neighbour: another, that moves every statistic.
        key: of the noise of the first run.

    >>> import torch
    >>> def program(rows, privatise):
    ...     mean = privatise("mean", rows.mean(dim=0))
    ...     return {"mean": mean, "norm": mean.norm()}
    >>> post_processing(program, torch.ones(3, 2), torch.zeros(3, 2)).fired
    False
    """
    source = SeededKey(0).child("probe") if key is None else key
    released: list[tuple[str, Tensor]] = []

    def record(name: str, value: Tensor) -> Tensor:
        noise = source.child(name, len(released)).normal(*value.shape).to(value)
        released.append((name, value + noise))
        return released[-1][1].clone()

    if same_data(data, neighbour):
        return no_neighbour(PROBE)
    before = named_tensors(program(data, record), "program")
    if not released:
        raise ParameterError(
            "the program hands nothing to privatise; without a noised release there is nothing to "
            "hold fixed. Call privatise(name, value) where it adds noise."
        )
    position = 0

    def replay(name: str, value: Tensor) -> Tensor:
        nonlocal position
        if position >= len(released):
            raise _Diverged(f"a release {name} more on the neighbour")
        known, noised = released[position]
        if known != name or noised.shape != value.shape:
            raise _Diverged(
                f"release {position} is {name} {list(value.shape)} on the neighbour, and "
                f"{known} {list(noised.shape)} before"
            )
        position += 1
        return noised.clone()

    try:
        after = named_tensors(program(neighbour, replay), "program")
    except _Diverged as error:
        return _finding([str(error)], len(released))
    moved = sorted(before.keys() ^ after.keys())
    moved += [name for name in before if name in after and not _same(before[name], after[name])]
    if position < len(released):
        moved.append(f"number of releases ({position} on the neighbour, {len(released)} before)")
    return _finding(moved, len(released))


class _Diverged(Exception):
    """The neighbour's run asks for other releases."""


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def _finding(moved: list[str], releases: int) -> Finding:
    if not moved:
        text = f"what leaves is a function of the {releases} noised releases"
    else:
        text = (
            f"with all {releases} noised releases held fixed, the data still change: "
            + ", ".join(moved)
        )
    return Finding(
        probe=PROBE,
        fired=bool(moved),
        text=text,
        fix="compute it from noised releases and public values only, or noise it" if moved else "",
        measured=float(len(moved)),
        declared=0.0,
    )

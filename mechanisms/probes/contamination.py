"""Contamination: what one client holds must not reach another before anything is aggregated."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...accountant.errors import ParameterError
from ..base import Key, SeededKey
from .finding import Finding

Clients = Callable[[Tensor, Key], Mapping[str, Tensor]]


def contamination(step: Clients, data: Tensor, *, key: Key | None = None) -> Finding:
    """Fires where changing client j's data changes another client's state.

    Args:
        step: (data float[clients, ...], key) -> {name: tensor[clients, ...]}, the state of each
            client before aggregation; the key must be seeded.
        data: of at least two clients.
        key: the same in every run.
    """
    key = SeededKey(0).child("probe") if key is None else key
    clients = len(data)
    if clients < 2:
        raise ParameterError("contamination needs at least two clients")
    before = dict(step(data, key))
    for j in range(clients):
        for what, changed in _changes(data, j):
            after = dict(step(changed, key))
            for name, value in before.items():
                other = after[name]
                same = (value == other) | (torch.isnan(value) & torch.isnan(other))
                moved = ~same.reshape(clients, -1).all(dim=1)
                moved[j] = False
                if bool(moved.any()):
                    i = int(moved.nonzero()[0])
                    return Finding(
                        probe="contamination",
                        fired=True,
                        text=f"with the data of client {j} {what}, {name} of client {i} changes",
                        measured=float(moved.sum()),
                        declared=0.0,
                    )
    return Finding(
        probe="contamination",
        fired=False,
        text=f"no state of {clients} clients depends on another's data",
        measured=0.0,
        declared=0.0,
    )


def _changes(data: Tensor, j: int) -> list[tuple[str, Tensor]]:
    zeroed, opposite = data.clone(), data.clone()
    zeroed[j] = 0.0
    opposite[j] = -data[j]
    return [("zeroed", zeroed), ("negated", opposite)]


def surviving_steps(run: Callable[[Sequence[Any]], Tensor], batches: Sequence[Tensor]) -> Finding:
    """Fires where a batch that was trained on leaves no trace in the result.

    Args:
        run: batches -> result.
        batches: at least one; each is negated in turn.
    """
    base = run(batches)
    alive = []
    for i, batch in enumerate(batches):
        changed = [*batches[:i], -batch, *batches[i + 1 :]]
        alive.append(not torch.equal(base, run(changed)))
    return Finding(
        probe="contamination",
        fired=not all(alive),
        text=f"{sum(alive)} of {len(alive)} steps survive in the result",
        measured=float(sum(alive)),
        declared=float(len(alive)),
    )

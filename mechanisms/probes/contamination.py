"""Contamination: what one client holds must not reach another before anything is aggregated."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...accountant.errors import ParameterError
from ..base import Key, SeededKey
from .finding import Finding
from .inputs import named_tensors

FROM_THE_LAST = "start each step from the weights that the step before it left"
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
    before = named_tensors(step(data, key), "step")
    for j in range(clients):
        for what, changed in _changes(data, j):
            after = named_tensors(step(changed, key), "step")
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
                        fix="give each client its own weights, optimiser, buffers and randomness",
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
        text=f"{sum(alive)} of {len(alive)} batches leave a trace in the result",
        fix="" if all(alive) else FROM_THE_LAST,
        measured=float(sum(alive)),
        declared=float(len(alive)),
    )


def surviving_rounds(run: Callable[[Any, Sequence[Any]], Any], start: Any, batches: Sequence[Any]
                     ) -> Finding:  # fmt: skip
    """Fires where a round of several batches is not the same as shorter rounds one after another.

    A step whose weights are thrown away still acts through momentum, so that a batch alone leaves
    a trace (`surviving_steps` is silent). But a round that is cut in two then keeps one step more.

    Args:
        run: (state, batches) -> state; all that a step hands to the next, in a tuple of tensors.
        start: the state before.
        batches: at least two.
    """
    if len(batches) < 2:
        raise ParameterError(f"a round of one batch cannot be cut; got {len(batches)} batches")
    whole = run(start, batches)
    kept = 1
    for cut in range(1, len(batches)):
        parts = run(run(start, batches[:cut]), batches[cut:])
        kept += all(torch.allclose(a, b, rtol=1e-9, atol=1e-12)
                    for a, b in zip(whole, parts, strict=True))  # fmt: skip
    fired = kept < len(batches)
    return Finding(
        probe="contamination",
        fired=fired,
        text=f"{kept} of {len(batches)} steps survive in the weights of a round",
        fix=FROM_THE_LAST if fired else "",
        measured=float(kept),
        declared=float(len(batches)),
    )

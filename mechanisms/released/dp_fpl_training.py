"""Around DP-FPL's releases: momentum, weights loaded again, seeded noise, lists of members.

Each defective part takes a switch, so that its correct twin is the same function.
Source: arXiv:2501.13904 and its public code at cce74b4.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Training(NamedTuple):
    """What the program keeps from one round to the next.

    Attributes:
        shared: float[clients, length, width], each client's copy of the global prompt.
        personal: float[clients, length, width], the personal prompts.
        buffers: float[clients, 2, length, width], momentum of both as each client left it; a buffer
            that all clients share is the last row.
    """

    shared: Tensor
    personal: Tensor
    buffers: Tensor


def start(shared: Tensor, personal: Tensor) -> Training:
    """No momentum yet; one global prompt, float[length, width], for all clients of `personal`."""
    copies = shared.expand_as(personal)
    return Training(copies, personal, torch.zeros_like(torch.stack([copies, personal], dim=1)))


def momentum_steps(buffers: Tensor, gradients: Tensor, *, momentum: float, shared: bool) -> Tensor:
    """P7: the step of each client, float[clients, ...], which is its momentum buffer afterwards.

    With one buffer for all it is stepped once per client, in turn: clients get different multiples
    of the same gradient, and each other's history.
    """
    if not shared:
        return momentum * buffers + gradients
    buffer, steps = buffers[-1], []
    for gradient in gradients:
        buffer = momentum * buffer + gradient
        steps.append(buffer)
    return torch.stack(steps)


def shared_momentum(
    starts: Tensor, gradients: Tensor, *, lr: float, momentum: float, shared: bool
) -> Tensor:
    """P7: the first step of all clients, float[clients, ...]; `shared`: one buffer for all."""
    none = torch.zeros_like(gradients)
    return starts - lr * momentum_steps(none, gradients, momentum=momentum, shared=shared)


def train_round(
    start: Tensor, gradients: Tensor, *, lr: float, momentum: float, reload: bool
) -> Tensor:
    """P16: SGD over the batches of a round, float[batches, ...].

    With `reload`, as released, each batch starts from the weights stored before the step before it:
    earlier batches act through momentum only, and without momentum not at all.
    """
    weights, buffer = start, torch.zeros_like(start)
    for gradient in gradients:
        buffer = momentum * buffer + gradient
        base = start if reload else weights
        weights = base - lr * buffer
    return weights


def global_generator_noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    """P12: what the global generator of torch gives after manual_seed(seed), float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def seeded_draws(seed: int, shapes: dict[str, tuple[int, ...]], batch: int) -> dict[str, Tensor]:
    """P12: normals of the `batch`-th batch of a run, from one generator seeded at its start."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(batch + 1):
        drawn = {
            name: torch.randn(shape, generator=generator, dtype=torch.float64)
            for name, shape in shapes.items()
        }
    return drawn


def promptfl_stddev(stddev: float, clients: int) -> float:
    """P17: noise on the mean gradient in row `promptfl`, noised at the client and at the server.

    >>> round(promptfl_stddev(1.0, 10), 3)
    0.332
    """
    return stddev * math.sqrt(1.0 / clients + 1.0 / clients**2)


def called_members(sizes: tuple[int, ...]) -> tuple[dict[int, int], dict[int, int], set[int]]:
    """P8: (members, non-members, trained on) of the released membership harness.

    Clients hold records of one class each, numbered on; training keeps as many of each as the
    smallest client has, and the "members" are what the largest one lost by that.
    """
    keep = min(sizes)
    first = [sum(sizes[:i]) for i in range(len(sizes))]
    trained = {first[i] + j for i in range(len(sizes)) for j in range(keep)}
    big = sizes.index(max(sizes))
    members = {first[big] + j: big for j in range(keep, sizes[big])}
    outsiders = {sum(sizes) + j: j % len(sizes) for j in range(len(members))}
    return members, outsiders, trained

"""Local training with DP-SGD, many rows at once."""

import torch
from torch import Tensor

from ..accountant import check
from ..accountant.errors import ConfigError
from ..mechanisms.base import Key
from ..mechanisms.dpsgd import DpSgd
from .clients import ClientData
from .counters import Counter
from .kernels.base import Context, Kernel, Loss, Params, flatten, unflatten
from .kernels.per_record import blocks
from .kernels.separation import require_separate
from .optimizers import Optimizer
from .row_key import of_rows


def train_privately(
    kernel: Kernel,
    params: Params,
    data: ClientData,
    *,
    mechanism: DpSgd,
    steps: int,
    loss: Loss,
    optimizer: Optimizer,
    key: Key,
    round: int = 0,
    context: Context | None = None,
    max_records: int = 4096,
) -> None:
    """Take DP-SGD steps, in place. What it costs each row is `mechanism.event(steps)`.

    In every step each row draws a Poisson sample of its records, sums their clipped gradients, adds
    noise, divides by the public `mechanism.expected_batch` and hands the result to its optimiser.
    All rows take all steps, also rows without records: noise leaves them, too. A record whose
    gradient is not finite adds zero. Sample and noise of a row depend on (key, step, round, client,
    replica) and on nothing else; of a system key they are fresh.

    Sums have the type of the parameters. "Arithmetic is exact", as the proof assumes, is nearer to
    the truth with float64.

    Args:
        kernel: the model.
        params: float[rows, ...] each, as `kernel.shapes()` names them.
        data: the rows, in any order.
        mechanism: clip bound, noise, sampling rate and divisor.
        steps: >= 1.
        loss: each record's own loss.
        optimizer: post-processing of the noisy gradients; made for these parameters.
        key: of the run and the purpose; the same key and round must not train twice.
        round: of the run.
        context: float[rows, ...] each, for the loss. Nothing of a row's records may be in it,
            unless it is paid for.
        max_records: at most so many records in one call of the kernel; bounds the memory.

    Raises:
        ParameterError: steps or max_records is not a whole number >= 1.
        ConfigError: the parameters are not the kernel's, a row holds a record twice, or a record's
            gradient depends on other records (`require_separate`).
    """
    check.count(steps=steps, max_records=max_records)
    extra = dict(context or {})
    _require_rows(kernel, params, data, extra)
    if not len(data):
        return
    if len(data.x):
        require_separate(kernel, params, data.x[:3], data.y[:3], loss, extra)
    for step in range(steps):
        own = key.child("step", step)
        records, weights = _drawn(mechanism, data, own, round)
        sums = {name: torch.zeros_like(params[name]) for name in kernel.shapes()}
        for rows, some in blocks(len(records), records.shape[1], max_records):
            batch, weight = records[rows, some], weights[rows, some]
            width = int((weight > 0).sum(dim=1).max())
            batch, weight = batch[:, :width], weight[:, :width]
            if width:
                part = kernel.clipped_sums(
                    {name: value[rows] for name, value in params.items()},
                    data.x[batch],
                    data.y[batch],
                    weight.to(next(iter(params.values()))),
                    loss,
                    {name: value[rows] for name, value in extra.items()},
                    clip_norm=mechanism.clip_norm,
                )
                for name, value in part.items():
                    sums[name][rows] += value
        noisy = mechanism.noisy_mean(flatten(sums), of_rows(own, data, round))
        optimizer.update(params, unflatten(noisy, kernel.shapes()), slice(0, len(data)))


def _drawn(mechanism: DpSgd, data: ClientData, key: Key, round: int) -> tuple[Tensor, Tensor]:
    """int64[rows, most] records of each row's sample, then others; float64 weights 1 and 0."""
    longest = data.index.shape[1]
    if key.fingerprint == "system":
        taken = mechanism.sample((len(data), longest), key).to(data.index.device)
    else:
        counter = Counter.of(key.child("sample"), round=round)
        drawn = counter.uniform(data.clients, data.replicas, longest)
        taken = drawn < mechanism.sampling_rate
    place = torch.arange(longest, device=data.index.device)
    taken = taken & (place < data.lengths.unsqueeze(1))
    counts = taken.sum(dim=1, keepdim=True)
    most = int(counts.max())
    # The sampled ones first, in their own order.
    order = (~taken).to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
    return data.index.gather(1, order), (place[:most] < counts).double()


def _require_rows(kernel: Kernel, params: Params, data: ClientData, extra: Params) -> None:
    shapes = kernel.shapes()
    wanted = {name: (len(data), *shape) for name, shape in shapes.items()}
    given = {name: tuple(value.shape) for name, value in params.items()}
    if given != wanted:
        raise ConfigError(f"the parameters must be {wanted}, but are {given}")
    for name, value in extra.items():
        if len(value) != len(data):
            raise ConfigError(
                f"context {name!r} has {len(value)} rows, but there are {len(data)} clients"
            )
    # Twice in a row it would count twice, and clipping would bound half of what it adds.
    longest = data.index.shape[1]
    place = torch.arange(longest, device=data.index.device)
    # Padding gets numbers that nothing else has.
    held = torch.where(place < data.lengths.unsqueeze(1), data.index, -1 - place)
    ordered = held.sort(dim=1).values
    twice = (ordered[:, 1:] == ordered[:, :-1]).any(dim=1)
    if bool(twice.any()):
        row = int(twice.nonzero()[0, 0])
        raise ConfigError(
            f"row {row} holds a record twice, so it would add more than the clip bound. "
            "Give each record once."
        )

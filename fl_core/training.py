"""Local training of many rows at once."""

from collections.abc import Iterable

from torch import Tensor

from .clients import ClientData
from .kernels.base import Context, Kernel, Loss, Params, rows_of
from .optimizers import Optimizer, PlainSgd
from .plan import Step


def train(
    kernel: Kernel,
    params: Params,
    data: ClientData,
    plan: Iterable[Step],
    *,
    loss: Loss,
    optimizer: Optimizer,
    context: Context | None = None,
) -> None:
    """Take the steps of `plan`, in place.

    Args:
        kernel: the model.
        params: float[rows, ...] each.
        data: the rows' records; only the pool is used.
        plan: the steps.
        loss: each record's loss.
        optimizer: how a gradient changes parameters.
        context: float[rows, ...] each, for the loss.
    """
    for step in plan:
        some = rows_of(params, step.rows)
        extra = rows_of(context or {}, step.rows)
        x, y = _batch(data, step)
        # The type of the parameters: records may be whole numbers, such as tokens.
        weights = step.weights.to(next(iter(some.values())).dtype)
        if isinstance(optimizer, PlainSgd):
            kernel.descend(some, x, y, weights, loss, extra, learning_rate=optimizer.learning_rate)
        else:
            gradients = kernel.gradients(some, x, y, weights, loss, extra)
            optimizer.update(some, gradients, step.rows)


def _batch(data: ClientData, step: Step) -> tuple[Tensor, Tensor]:
    flat = step.records.flatten()
    x = data.x.index_select(0, flat).unflatten(0, step.records.shape)
    return x, data.y.index_select(0, flat).view(step.records.shape)

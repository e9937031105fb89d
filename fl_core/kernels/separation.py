"""A check by experiment that a record's gradient depends on that record alone."""

import torch
from torch import Tensor

from ...accountant.errors import ConfigError
from .base import Context, Kernel, Loss, Params, flatten

_HUGE = 1e15  # no clipping, which would hide a factor


def require_separate(
    kernel: Kernel, params: Params, x: Tensor, y: Tensor, loss: Loss, context: Context
) -> None:
    """Raise `ConfigError` if a record's gradient changes with the records beside it.

    Clipping bounds what a record adds, not what it does to the gradients of others. A loss that
    averages over the batch, or a model that normalises over it, would void the proof without any
    sign. One record is put beside others, and into a larger batch; its gradient must stay.

    Args:
        kernel: the model.
        params: float[rows, ...] each, 1 or more rows; only two are used.
        x: [records, ...], a few records; with less than two nothing can be seen.
        y: int64[records].
        loss: each record's loss.
        context: float[rows, ...] each, for the loss.

    Raises:
        ConfigError: the gradient changes.
    """
    rows = min(2, len(next(iter(params.values()))))
    some = {name: value[:rows] for name, value in params.items()}
    extra = {name: value[:rows] for name, value in context.items()}
    like = next(iter(some.values()))

    def first_of(*beside: int) -> Tensor:
        """Gradient of record 0 in row 0, with these records beside it and in the other row."""
        batches = torch.tensor([(0, *beside), (*reversed(beside), 1)][:rows]) % len(x)
        batches = batches.to(x.device)
        weights = like.new_zeros(batches.shape)
        weights[:, 0] = 1.0
        sums = kernel.clipped_sums(
            some, x[batches], y[batches], weights, loss, extra, clip_norm=_HUGE
        )
        return flatten(sums)[0].double()

    wanted = first_of(1)
    # Another shape may be summed in another order, in bfloat16 too; the same shape is not.
    for found, tolerance in ((first_of(2), 1e-3), (first_of(1, 2), 1e-2), (first_of(2, 1), 1e-2)):
        change, size = float((found - wanted).norm()), float(wanted.norm())
        if change > tolerance * size:
            raise ConfigError(
                f"the gradient of a record changes by {change:.3g} of {size:.3g} with the other "
                "records of its batch, so clipping does not bound what one record does. The loss "
                "must return each record's own value (no mean over the batch), and the model must "
                "treat each record alone."
            )

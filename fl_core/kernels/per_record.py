"""Clipped sums of gradients that are held record by record, and who holds how many at once.

The way for gradients that are small, such as those of low-rank factors. Where they are large,
`stacked` has a shorter one.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from ...accountant.errors import ConfigError
from .base import Clipped, Params


def squares(gradients: Mapping[str, Tensor]) -> Tensor:
    """float64[rows, batch]: squared norms, all parameters together, of float[rows, batch, ...]."""
    parts = [
        torch.linalg.vector_norm(value.flatten(2), dim=-1, dtype=torch.float64).square_()
        for value in gradients.values()
    ]
    return torch.stack(parts).sum(dim=0)


def weighted_sums(gradients: Mapping[str, Tensor], clipped: Clipped) -> Params:
    """float[rows, ...]: sum over the records of float[rows, batch, ...], each times its factor."""
    found = {}
    for name, value in gradients.items():
        flat = value.flatten(2)
        if clipped.broken is not None:
            flat = flat.masked_fill(clipped.broken.unsqueeze(-1), 0.0)
        total = torch.bmm(clipped.factor.to(flat).unsqueeze(1), flat)
        found[name] = total.view(len(value), *value.shape[2:])
    return found


def blocks(rows: int, batch: int, limit: int) -> Iterator[tuple[slice, slice]]:
    """Parts of at most `limit` records: whole rows if they fit, else parts of one row.

    >>> list(blocks(3, 2, 4))
    [(slice(0, 2, None), slice(0, 2, None)), (slice(2, 4, None), slice(0, 2, None))]
    """
    tall, wide = max(1, limit // max(batch, 1)), min(limit, max(batch, 1))
    for row in range(0, rows, tall):
        for record in range(0, batch, wide):
            yield slice(row, row + tall), slice(record, record + wide)


def require_records_apart(module: nn.Module) -> None:
    """Raise `ConfigError` unless the module treats each record alone, and always alike.

    Raises:
        ConfigError: a submodule is in training mode, where dropout draws and statistics run; or
            it normalises over the batch.
    """
    for name, part in module.named_modules():
        kind = f"{name or 'the module'} ({type(part).__name__})"
        if part.training:
            raise ConfigError(
                f"{kind} is in training mode: dropout would draw from torch's own stream, and "
                "running statistics would mix records. Call module.eval(); it does not stop "
                "gradients. Use GroupNorm or LayerNorm where statistics must be learned."
            )
        # Without running statistics it uses those of the batch, in evaluation mode too.
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None:
            raise ConfigError(
                f"{kind} normalises over the batch, so one record changes the gradients of "
                "others. Use GroupNorm or LayerNorm, or keep running statistics."
            )

"""Sums of records and the noise on them: both in doubles, whatever the type of the records.

A narrower sum forgets records and noise: 4112 ones add up to 4096 in bfloat16, and noise of 1 is
not seen there. What is rounded after the noise is post-processing; what is rounded before it can
move by more than one record does.
"""

import torch
from torch import Tensor

from ..accountant.errors import ParameterError
from .base import Key, require_floating


def total(contributions: Tensor) -> Tensor:
    """float64[..., dim]: the sum over records of float[..., n, dim]; n may be 0."""
    return contributions.sum(dim=-2, dtype=torch.float64)


def poisson_sample(shape: tuple[int, ...], rate: float, key: Key) -> Tensor:
    """bool[shape]: who takes part, each on its own with probability `rate`."""
    return torch.from_numpy(key.child("sample").generator().random(shape)) < rate


def sampled_total(contributions: Tensor, rate: float, key: Key) -> Tensor:
    """float64[..., dim]: the sum over a Poisson sample of float[..., n, dim]."""
    taken = poisson_sample(tuple(contributions.shape[:-1]), rate, key).to(contributions.device)
    return total(torch.where(taken.unsqueeze(-1), contributions, 0.0))


def members(labels: Tensor, classes: int) -> Tensor:
    """bool[..., classes, n]: who is in which class; a negative label is in none."""
    return labels.unsqueeze(-2) == torch.arange(classes, device=labels.device).unsqueeze(-1)


def class_sums(contributions: Tensor, labels: Tensor, classes: int) -> Tensor:
    """float64[..., classes, dim]: the sum of float[..., n, dim] over each class."""
    return members(labels, classes).to(torch.float64) @ contributions.double()


def require_doubles(sums: Tensor) -> None:
    """Raise `ParameterError` for whole numbers, and for sums that were rounded already."""
    require_floating(sums)
    if sums.dtype != torch.float64:
        raise ParameterError(
            f"sums must be float64, but are {sums.dtype}: rounded before the noise, they can move "
            "by more than one record does.\n  Give the statistic as it was computed, in doubles."
        )


def noisy(sums: Tensor, stddev: float | Tensor, key: Key) -> Tensor:
    """`sums`, float64[..., dim], with independent normal noise of standard deviation `stddev`.

    Args:
        sums: doubles, as `total` and `class_sums` give them.
        stddev: one number, or float64[dim], in the units of a sum.
        key: of this release alone.

    Raises:
        ParameterError: sums that were rounded already, or whole numbers.
    """
    require_doubles(sums)
    scale = torch.as_tensor(stddev, dtype=torch.float64, device=sums.device)
    return sums + scale * key.normal(*sums.shape).to(sums)


def noisy_given(sums: Tensor, stddev: float, key: Key) -> Tensor:
    """`noisy` for sums that the caller added up: float32 too, and given back in their own type.

    Raises:
        ParameterError: whole numbers, or a type below float32, in which a sum forgets records.
    """
    require_floating(sums)
    if torch.finfo(sums.dtype).bits < 32:
        raise ParameterError(
            f"the sum is {sums.dtype}, which forgets records: 4112 ones add up to 4096 in "
            "bfloat16.\n  Add up in doubles: contribution(rows).double().sum(dim=-2)."
        )
    return noisy(sums.double(), stddev, key).to(sums.dtype)


def restored(released: Tensor, payload: Tensor) -> Tensor:
    """`released`, float64, in the type of `payload`, but in none below float32.

    In bfloat16 the noise would be there, but not be seen under a large sum. Whole numbers have no
    room for it at all: then it stays in doubles.
    """
    if not payload.is_floating_point():
        return released
    return released.to(torch.promote_types(payload.dtype, torch.float32))

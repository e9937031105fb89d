"""What a client of a prototype federation computes from its records before noise."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ...accountant.errors import ConfigError
from ..clients import ClientData
from ..kernels.base import Kernel, Params, rows_of
from .method import PrototypeMethod
from .releases import PrototypeRelease

_AT_ONCE = 2**23  # numbers in the features of the rows that are worked on at once


def check_records(data: ClientData, *, dim: int, classes: int) -> None:
    """Raise `ConfigError` if features or labels are not those that were declared."""
    if data.x.dim() != 2 or data.x.shape[1] != dim:
        raise ConfigError(f"features must be float[records, {dim}], but are {list(data.x.shape)}")
    if len(data.y) and not 0 <= int(data.y.min()) <= int(data.y.max()) < classes:
        raise ConfigError(
            f"labels must be 0..{classes - 1}, but reach from {int(data.y.min())} to "
            f"{int(data.y.max())}"
        )


def features_of(data: ClientData, kernel: Kernel | None, personal: Params) -> tuple[Tensor, Tensor]:
    """Features before any clip, float64[rows, longest, dim], and labels, -1 for padding.

    Args:
        data: the rows.
        kernel: whose adapted features; the frozen ones if None.
        personal: parameters of the rows.
    """
    x, y = data.x[data.index], data.y[data.index]
    inside = torch.arange(y.shape[1], device=y.device) < data.lengths.unsqueeze(1)
    if kernel is not None:
        x = kernel.outputs(personal, x).features
    return x.double(), torch.where(inside, y, -1)


def class_statistic(
    release: PrototypeRelease,
    method: PrototypeMethod,
    data: ClientData,
    *,
    classes: int,
    received: Mapping[str, Tensor],
    kernel: Kernel | None,
    personal: Params,
) -> Tensor:
    """The statistic of each row, float64[rows, classes * centres, width].

    Args:
        release: what is computed per class.
        method: gives records to centres.
        data: the rows.
        classes: number of classes.
        received: the last broadcast, float[rows, ...] each.
        kernel: whose adapted features; the frozen ones if None.
        personal: parameters of the rows.
    """
    longest, dim = data.index.shape[1], data.x.shape[1]
    step = max(1, _AT_ONCE // max(1, longest * max(dim, longest)))
    found = []
    for first in range(0, len(data), step):
        rows = slice(first, first + step)
        some = data.take(torch.arange(len(data), device=data.lengths.device)[rows])
        x, labels = features_of(some, kernel, rows_of(personal, rows))
        labels = method.assign(x, labels, rows_of(received, rows), classes)
        found.append(release.statistic(x, labels, classes * method.centres))
    return torch.cat(found)

"""Rows clipped and put on a grid of whole numbers, without ever getting longer."""

import torch
from torch import Tensor

LARGEST = 2**30
"""Most steps of a clip bound: squares and sums of such rows stay within 64 bits."""
LARGEST_NOISE = 2.0**50
"""Largest noise scale in steps: noisy sums stay exact as doubles."""


def clipped_steps(rows: Tensor, *, bound: int, step: float, order: int) -> Tensor:
    """int64[..., dim]: rows / step, scaled to norm at most `bound` and cut to whole numbers.

    Cutting towards zero cannot lengthen a row, so the bound holds for the whole numbers; it is
    checked again in whole-number arithmetic, since the norm before was rounded.

    Args:
        rows: float[..., dim]; a row that is not finite becomes zero.
        bound: largest norm, in steps.
        step: width of the grid.
        order: 1 or 2, which norm.
    """
    finite = torch.isfinite(rows).all(dim=-1, keepdim=True)
    rows = torch.where(finite, rows, 0.0).double()
    # Of unit size first: the squares, or the steps, of large numbers overflow.
    largest = rows.abs().amax(dim=-1, keepdim=True)
    shape = rows / torch.where(largest > 0.0, largest, 1.0)
    reach = bound / torch.linalg.vector_norm(shape, ord=order, dim=-1, keepdim=True)
    inside = largest / step <= reach
    steps = torch.where(inside, rows / step, torch.where(largest > 0.0, shape * reach, 0.0))
    whole = steps.trunc().to(torch.int64)
    # The norm was rounded, in many dimensions by many steps: off the largest entry, until it fits.
    while bool((over := _excess(whole, bound, order) > 0).any()):
        place = whole.abs().argmax(dim=-1, keepdim=True)
        largest_step = whole.gather(-1, place)
        size = largest_step.abs()
        slope = 1 if order == 1 else (2 * size).clamp(min=1)  # what one step takes off, at most
        wanted = (_excess(whole, bound, order) + slope - 1) // slope
        off = torch.where(over, torch.minimum(wanted, size), 0)
        whole = whole.scatter(-1, place, largest_step - off * largest_step.sign())
    return whole


def _excess(whole: Tensor, bound: int, order: int) -> Tensor:
    """int64[..., 1]: the norm to the power of `order` above that of `bound`; exact."""
    if order == 1:
        return whole.abs().sum(dim=-1, keepdim=True) - bound
    return whole.square().sum(dim=-1, keepdim=True) - bound * bound

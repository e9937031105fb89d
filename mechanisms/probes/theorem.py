"""Theorem-to-code checks: a number or a tensor of the program against what the theorem says."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ...accountant import check
from .finding import Finding

PROBE = "theorem to code"
MAKE_IT_AGREE = "make code and theorem say the same"


def agrees(measured: Tensor, expected: Tensor, *, what: str, tolerance: float = 1e-6) -> Finding:
    """Fires where two tensors differ by more than `tolerance` of the expected one's norm."""
    check.positive(tolerance=tolerance)
    if measured.shape != expected.shape:
        text = f"{what} has shape {list(measured.shape)}, not {list(expected.shape)}"
        return Finding(probe=PROBE, fired=True, text=text, fix=MAKE_IT_AGREE)
    gap = float(torch.linalg.vector_norm((measured - expected).double()))
    size = float(torch.linalg.vector_norm(expected.double()))
    fired = not gap <= tolerance * max(size, 1.0)
    return Finding(
        probe=PROBE,
        fired=fired,
        text=f"{what} is off by {gap:.4g}, its own norm being {size:.4g}",
        fix=MAKE_IT_AGREE if fired else "",
        measured=gap,
        declared=0.0,
    )


def at_least(measured: float, wanted: float, *, what: str) -> Finding:
    """Fires where a number is below what is wanted."""
    fired = not measured >= wanted
    return Finding(
        probe=PROBE,
        fired=fired,
        fix=MAKE_IT_AGREE if fired else "",
        text=f"{what}: {measured:.4g}, wanted {wanted:.4g} or more",
        measured=measured,
        declared=wanted,
    )


def at_most(measured: float, wanted: float, *, what: str) -> Finding:
    """Fires where a number is above what is wanted."""
    fired = not measured <= wanted
    return Finding(
        probe=PROBE,
        fired=fired,
        fix=MAKE_IT_AGREE if fired else "",
        text=f"{what}: {measured:.4g}, wanted {wanted:.4g} or less",
        measured=measured,
        declared=wanted,
    )


def gradient_vanishes(loss: Callable[[Tensor], Tensor], point: Tensor) -> Finding:
    """Fires where the gradient of a loss is not zero at the point that should minimise it."""
    at = point.detach().clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(at), at)
    size = float(torch.linalg.vector_norm(gradient))
    fired = not size <= 1e-6 * math.sqrt(at.numel())
    return Finding(
        probe=PROBE,
        fired=fired,
        fix="check the shapes in the loss: something is broadcast" if fired else "",
        text=f"the gradient at the minimum has norm {size:.4g}",
        measured=size,
        declared=0.0,
    )

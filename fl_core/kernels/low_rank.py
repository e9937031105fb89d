"""The low-rank term of one linear layer, for many rows in one product."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class _LowRank(torch.autograd.Function):
    """base + scaling (x A^T) B^T, each row with its own A and B.

    A and B come expanded by an axis of groups: the records of a row that need a gradient of their
    own, or one group of all. The backward pass gives a gradient for each group, so gradients per
    record cost what gradients per row cost. Source of the layer: Hu et al., arXiv:2106.09685.
    """

    @staticmethod
    def forward(ctx: Any, base: Tensor, x: Tensor, a: Tensor, b: Tensor, scaling: float) -> Tensor:
        """Output of the layer.

        Args:
            ctx: torch's own.
            base: float[rows * batch, ..., out], the frozen layer's output.
            x: float[rows * batch, ..., in], its input.
            a: float[rows, groups, rank, in], the same in each group.
            b: float[rows, groups, out, rank], likewise.
            scaling: factor of the term.
        """
        # In the type of A and B, also where the encoder runs in a shorter one.
        with torch.autocast(x.device.type, enabled=False):
            flat = x.reshape(len(a), -1, x.shape[-1]).to(a)
            hidden = flat @ a[:, 0].mT
            below = base.reshape(len(a), -1, base.shape[-1]).to(a)
            found = torch.baddbmm(below, hidden, b[:, 0].mT, alpha=scaling)
        ctx.save_for_backward(flat, hidden, a, b)
        ctx.scaling, ctx.like = scaling, x
        return found.view(base.shape).to(base)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients at base, x, A and B; the last two by group."""
        (gradient,) = gradients
        flat, hidden, a, b = ctx.saved_tensors
        rows, groups = a.shape[:2]
        above = gradient.reshape(rows, -1, gradient.shape[-1]).to(a)
        inner = above @ (ctx.scaling * b[:, 0])
        at_x = None
        if ctx.needs_input_grad[1]:
            at_x = (inner @ a[:, 0]).view(ctx.like.shape).to(ctx.like)

        def apart(value: Tensor) -> Tensor:
            return value.reshape(rows * groups, -1, value.shape[-1])

        at_a = at_b = None
        if ctx.needs_input_grad[2]:
            at_a = (apart(inner).mT @ apart(flat)).view(a.shape)
        if ctx.needs_input_grad[3]:
            at_b = (apart(above).mT @ apart(hidden)).mul_(ctx.scaling).view(b.shape)
        return gradient, at_x, at_a, at_b, None


with_term: Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor] = _LowRank.apply
"""(base, x, a, b, scaling) -> the layer's output with the term."""

"""What a stacked model can do, whatever computes it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ParameterError
from ..counters import Counter

Params = dict[str, Tensor]
"""Name -> float[rows, ...]."""

Context = Mapping[str, Tensor]
"""What a loss needs besides the batch, float[rows, ...] each: prototypes, weights, ..."""


NARROW = 16
"""Columns below which products and softmax are worked transposed: four to twenty times as fast."""


@dataclass(frozen=True)
class Outputs:
    """What a model says about a batch.

    Attributes:
        features: float[rows, batch, dim], the input of the head.
        logits: float[rows, batch, classes].
    """

    features: Tensor
    logits: Tensor


Loss = Callable[[Outputs, Tensor, Context], Tensor]
"""(outputs, y int64[rows, batch], context) -> float[rows, batch]: each record's own loss."""


class Kernel(Protocol):
    """Forward and backward of many models at once.

    `weights` is float[rows, batch]: a record's weight in its row's loss, >= 0, 0 for padding.
    """

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter of one row."""

    def initial(self, counter: Counter, clients: Tensor, replicas: Tensor) -> Params:
        """Parameters of these rows."""

    def outputs(self, params: Params, x: Tensor) -> Outputs:
        """Without gradients; x is float[rows, batch, ...]."""

    def gradients(
        self, params: Params, x: Tensor, y: Tensor, weights: Tensor, loss: Loss, context: Context
    ) -> Params:
        """Gradient of each row's weighted loss."""

    def clipped_sums(
        self,
        params: Params,
        x: Tensor,
        y: Tensor,
        weights: Tensor,
        loss: Loss,
        context: Context,
        *,
        clip_norm: float,
    ) -> Params:
        """Weighted sum of the records' gradients, each clipped to `clip_norm` first.

        The norm is over all parameters together. A record whose gradient (or whose input of a
        linear map) is not finite, or longer than 1.8e19, adds nothing.
        """

    def descend(
        self,
        params: Params,
        x: Tensor,
        y: Tensor,
        weights: Tensor,
        loss: Loss,
        context: Context,
        *,
        learning_rate: float,
    ) -> None:
        """One step of plain SGD, in place."""


class ByGradients:
    """`descend` for kernels without a shorter way than their gradients."""

    def descend(
        self: Kernel,
        params: Params,
        x: Tensor,
        y: Tensor,
        weights: Tensor,
        loss: Loss,
        context: Context,
        *,
        learning_rate: float,
    ) -> None:
        """See `Kernel`."""
        for name, value in self.gradients(params, x, y, weights, loss, context).items():
            params[name].sub_(value, alpha=learning_rate)


def rows_of(params: Mapping[str, Tensor], rows: slice) -> Params:
    """Views of some rows; writing to them writes to `params`."""
    return {name: value[rows] for name, value in params.items()}


def flatten(params: Mapping[str, Tensor]) -> Tensor:
    """float[rows, total]: all parameters of a row after another, in order of the names given."""
    return torch.cat([value.flatten(1) for value in params.values()], dim=1)


def difference(after: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> Tensor:
    """float[rows, total]: `flatten(after) - flatten(before)`, in one pass over the memory."""
    rows = len(next(iter(after.values())))
    sizes = [value[0].numel() for value in after.values()]
    flat = next(iter(after.values())).new_empty(rows, sum(sizes))
    for part, (name, value) in zip(flat.split(sizes, dim=1), after.items(), strict=True):
        torch.sub(value.flatten(1), before[name].flatten(1), out=part)
    return flat


def unflatten(flat: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> Params:
    """The inverse of `flatten`: views of float[rows, total]."""
    sizes = [torch.Size(shape).numel() for shape in shapes.values()]
    parts = flat.split(sizes, dim=1)
    return {
        name: part.unflatten(1, shape) if shape else part[:, 0]
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


def cross_entropy(outputs: Outputs, y: Tensor, context: Context) -> Tensor:
    """float[rows, batch]: cross-entropy of the logits; needs no context."""
    loss: Tensor = torch.nn.functional.cross_entropy(
        outputs.logits.transpose(1, 2), y, reduction="none"
    )
    return loss


def output_gradients(
    outputs: Outputs, y: Tensor, weights: Tensor, loss: Loss, context: Context
) -> tuple[Tensor | None, Tensor]:
    """Gradients of the weighted loss with respect to features (None if zero) and logits.

    Losses are written forward only; autograd differentiates these two small tensors. The most
    frequent loss has a closed form.
    """
    if loss is cross_entropy:
        logits = outputs.logits
        narrow = logits.shape[2] < NARROW
        gradient = logits.mT.softmax(dim=1).mT if narrow else logits.softmax(dim=-1)
        gradient.scatter_add_(2, y.unsqueeze(2), gradient.new_full((), -1.0).expand(*y.shape, 1))
        return None, gradient.mul_(weights.unsqueeze(2))
    features = outputs.features.detach().requires_grad_()
    logits = outputs.logits.detach().requires_grad_()
    with torch.enable_grad():
        total = (loss(Outputs(features, logits), y, context) * weights).sum()
        found = torch.autograd.grad(total, (features, logits), allow_unused=True)
    return found[0], torch.zeros_like(logits) if found[1] is None else found[1]


class Clipped(NamedTuple):
    """What each record's gradient is multiplied by.

    Attributes:
        factor: float[rows, batch]: weight times clip factor.
        broken: bool[rows, batch]: gradients that are not finite, to be replaced by zero; None if
            there are none.
    """

    factor: Tensor
    broken: Tensor | None


def one_each(weights: Tensor) -> Tensor:
    """float[rows, batch]: 1 for a record, 0 for padding."""
    return (weights > 0).to(weights)


LARGEST_SQUARE = torch.finfo(torch.float32).max
"""Of a gradient that is clipped; what is longer adds nothing.

Its factor would be so small that rounding it could lengthen the clipped gradient.
"""


def clip_factors(squares: Tensor, weights: Tensor, clip_norm: float) -> Clipped:
    """Factors that bound each gradient's norm by `clip_norm`, then weigh it.

    Args:
        squares: float64[rows, batch]: squared norm of each record's gradient.
        weights: float[rows, batch]; their type is that of the gradients.
        clip_norm: >= 1e-15.

    Raises:
        ParameterError: clip_norm is smaller, or not finite.
    """
    check.positive(clip_norm=clip_norm)
    if clip_norm < 1e-15:
        raise ParameterError(
            f"clip_norm must be at least 1e-15, but is {clip_norm!r}: rounding would exceed it. "
            "Scale the loss up."
        )
    # Rounding of the factor and of the product must not lengthen a gradient beyond the bound.
    bound = clip_norm * (1.0 - 2.0 * torch.finfo(weights.dtype).eps)
    factor = (bound / squares.sqrt()).clamp(max=1.0) * weights
    broken = ~(squares <= LARGEST_SQUARE)  # also NaN
    if not bool(broken.any()):
        return Clipped(factor.to(weights), None)
    return Clipped(factor.masked_fill(broken, 0.0).to(weights), broken)

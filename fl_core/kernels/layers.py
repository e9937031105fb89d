"""Layers of stacked models, with hand-written backward passes.

A backward pass does not build gradients. It gives, for each linear map, its input and the
gradient at its output; from these two a mean gradient, a per-record norm or a clipped sum is one
product, and per-record gradients are never held. Source of the norms: Goodfellow,
arXiv:1510.01799.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .base import NARROW, Params


class Factors(NamedTuple):
    """One linear map of a batch: its gradient is input^T output, its bias' gradient output.

    Attributes:
        input: float[rows, batch, in].
        output: float[rows, batch, out], the gradient of the loss at the map's output.
    """

    input: Tensor
    output: Tensor


class Layer(Protocol):
    """A map of float[rows, batch, in] to float[rows, batch, out]."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter; two axes are a matrix [in, out], [1, out] is a bias."""

    def forward(self, params: Params, x: Tensor) -> tuple[Tensor, Tensor]:
        """Output, and what `backward` needs besides x."""

    def backward(
        self,
        params: Params,
        x: Tensor,
        saved: Tensor,
        gradient: Tensor,
        found: dict[str, Factors],
        *,
        needs_input: bool,
    ) -> Tensor | None:
        """Gradient at the input if needed; factors go into `found` under the matrix' name."""


@dataclass(frozen=True)
class Linear:
    """x W + b; the parameters are `name.weight`, float[in, out], and `name.bias`, float[1, out]."""

    name: str
    fan_in: int
    fan_out: int
    bias: bool = True

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Matrix and bias."""
        found: dict[str, tuple[int, ...]] = {f"{self.name}.weight": (self.fan_in, self.fan_out)}
        return found | ({f"{self.name}.bias": (1, self.fan_out)} if self.bias else {})

    def forward(self, params: Params, x: Tensor) -> tuple[Tensor, Tensor]:
        """Output twice: nothing else is needed."""
        weight = params[f"{self.name}.weight"]
        if self.fan_out < NARROW <= x.shape[1]:
            y = weight.mT @ x.mT
            y = (y.add_(params[f"{self.name}.bias"].mT) if self.bias else y).mT
        else:
            y = torch.baddbmm(params[f"{self.name}.bias"], x, weight) if self.bias else x @ weight
        return y, y

    def backward(
        self,
        params: Params,
        x: Tensor,
        saved: Tensor,
        gradient: Tensor,
        found: dict[str, Factors],
        *,
        needs_input: bool,
    ) -> Tensor | None:
        """See `Layer`."""
        found[self.name] = Factors(x, gradient)
        return gradient @ params[f"{self.name}.weight"].mT if needs_input else None


@dataclass(frozen=True)
class Relu:
    """max(x, 0)."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """None."""
        return {}

    def forward(self, params: Params, x: Tensor) -> tuple[Tensor, Tensor]:
        """Output twice."""
        y = x.relu()
        return y, y

    def backward(
        self,
        params: Params,
        x: Tensor,
        saved: Tensor,
        gradient: Tensor,
        found: dict[str, Factors],
        *,
        needs_input: bool,
    ) -> Tensor | None:
        """See `Layer`."""
        return torch.ops.aten.threshold_backward(gradient, saved, 0.0) if needs_input else None


@dataclass(frozen=True)
class Residual:
    """Adapter x + relu(x down) up without bias: float[dim, width] and float[width, dim]."""

    name: str
    dim: int
    width: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Two matrices."""
        return {
            f"{self.name}.down.weight": (self.dim, self.width),
            f"{self.name}.up.weight": (self.width, self.dim),
        }

    def forward(self, params: Params, x: Tensor) -> tuple[Tensor, Tensor]:
        """Output, and the hidden activations."""
        hidden = (x @ params[f"{self.name}.down.weight"]).relu_()
        return torch.baddbmm(x, hidden, params[f"{self.name}.up.weight"]), hidden

    def backward(
        self,
        params: Params,
        x: Tensor,
        saved: Tensor,
        gradient: Tensor,
        found: dict[str, Factors],
        *,
        needs_input: bool,
    ) -> Tensor | None:
        """See `Layer`."""
        found[f"{self.name}.up"] = Factors(saved, gradient)
        inner = gradient @ params[f"{self.name}.up.weight"].mT
        inner = torch.ops.aten.threshold_backward(inner, saved, 0.0)
        found[f"{self.name}.down"] = Factors(x, inner)
        if not needs_input:
            return None
        return torch.baddbmm(gradient, inner, params[f"{self.name}.down.weight"].mT)


@dataclass(frozen=True)
class SoftClip:
    """z min(1, R / (|z| + tau R)): the norm of each record stays below R.

    Source: arXiv:2604.27833 (distillation-guided clipping).

    Attributes:
        radius: R > 0; softness: tau >= 0.
    """

    radius: float
    softness: float = 0.05

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """None."""
        return {}

    def forward(self, params: Params, x: Tensor) -> tuple[Tensor, Tensor]:
        """Output, and the norms."""
        norms: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x * (self.radius / (norms + self.softness * self.radius)).clamp(max=1.0), norms

    def backward(
        self,
        params: Params,
        x: Tensor,
        saved: Tensor,
        gradient: Tensor,
        found: dict[str, Factors],
        *,
        needs_input: bool,
    ) -> Tensor | None:
        """See `Layer`. Outside the ball also the factor depends on x."""
        if not needs_input:
            return None
        below = saved + self.softness * self.radius
        scale = self.radius / below
        along = (gradient * x).sum(dim=-1, keepdim=True) / saved.clamp(min=1e-30)
        outside = scale * (gradient - x * along / below)
        return torch.where(scale < 1.0, outside, gradient)

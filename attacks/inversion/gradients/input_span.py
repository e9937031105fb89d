"""The rows of an adapter's gradient lie in the span of what passed the layer.

The gradient of a low-rank factor A (and of a whole weight) is a sum of outer products with the
layer's inputs; that of B one with their images A x. With fewer inputs than rows the span of the
inputs is seen exactly, and every possible input can be tested against it, one by one. With more,
the span is cut: the test is then a ranking and not exact. Source of the idea: Petrov et al.,
arXiv:2405.15586; for adapters arXiv:2601.17533.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ....accountant import check
from .view import GradientView


@dataclass(frozen=True, kw_only=True)
class InputSpan:
    """Possible inputs of a layer, tested against the span of its gradients' rows.

    Attributes:
        names: gradients of shape [rank, in] whose rows are combinations of the same inputs, such
            as the `lora_A.weight` of query and value in the first block.
        tolerance: singular values below this share of the largest are noise of the arithmetic.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server",)
    needs: ClassVar[tuple[str, ...]] = (
        "each client's gradient or update of the adapters",
        "the public model",
        "for A a factor B that is not zero; for B anything, also in the first step",
    )
    cost: ClassVar[str] = "one product with every possible input"
    source: ClassVar[str] = "arXiv:2405.15586, section 4; arXiv:2601.17533"
    names: tuple[str, ...]
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        check.positive(tolerance=self.tolerance)

    def reconstruct(self, view: GradientView) -> Tensor:
        """float64[trials, rows, in]: an orthonormal basis of the span; zero rows fill it up."""
        rows = torch.cat([view.matrix(name) for name in self.names], dim=1)
        _, sizes, basis = torch.linalg.svd(rows, full_matrices=False)
        real = sizes > self.tolerance * sizes[:, :1].clamp(min=1e-300)
        found: Tensor = basis * real.unsqueeze(2)
        return found

    def score(self, view: GradientView, candidates: Tensor) -> Tensor:
        """float64[trials, M]: minus the share of each possible input outside of the span, 0 to -1.

        Args:
            view: what was seen.
            candidates: float[M, in] or float[trials, M, in].
        """
        return fit(self.reconstruct(view), candidates)


def fit(basis: Tensor, inputs: Tensor) -> Tensor:
    """float64[trials, M]: minus the share of inputs float[..., M, in] outside of a basis.

    Args:
        basis: float64[trials, rows, in], orthonormal or zero rows.
        inputs: float[M, in] or float[trials, M, in].
    """
    inside = (inputs.double() @ basis.mT).square().sum(dim=-1)
    whole = inputs.double().square().sum(dim=-1).clamp(min=1e-300)
    outside: Tensor = (1.0 - inside / whole).clamp(min=0.0).sqrt()
    return -outside

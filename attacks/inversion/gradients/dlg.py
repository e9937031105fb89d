"""Deep leakage from gradients: match the gradient in squared distance, by L-BFGS.

The strongest form where the model is smooth and small; ReLU and large batches defeat it. Source:
Zhu, Liu & Han, arXiv:1906.08935; with the label known or recovered first, arXiv:2001.02610.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ....accountant import check
from .matching import Forward, flat, nearest, simulated
from .view import GradientView


@dataclass(frozen=True, kw_only=True, eq=False)
class DeepLeakage:
    """Records and labels whose gradient is nearest to the one that was seen.

    Attributes:
        forward: the model, public.
        start: float[trials, batch, ...], where the search starts; noise, or public means.
        classes: of the model.
        labels: int64[trials, batch], if they are known or were recovered; else searched, too.
        iterations: of L-BFGS, for each trial.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server",)
    needs: ClassVar[tuple[str, ...]] = ("each client's gradient", "the model it sent")
    cost: ClassVar[str] = "about 100 gradients of gradients per client"
    source: ClassVar[str] = "arXiv:1906.08935, algorithm 1; arXiv:2001.02610"
    forward: Forward
    start: Tensor
    classes: int
    labels: Tensor | None = None
    iterations: int = 60

    def __post_init__(self) -> None:
        check.count(classes=self.classes, iterations=self.iterations)

    def reconstruct(self, view: GradientView) -> Tensor:
        """float64[trials, batch, ...]: one search per trial, in double precision."""
        return torch.cat([self._one(view, trial) for trial in range(view.trials)])

    def _one(self, view: GradientView, trial: int) -> Tensor:
        own = GradientView(
            gradients={n: v[trial : trial + 1].double() for n, v in view.gradients.items()},
            params={n: v[trial : trial + 1].double() for n, v in view.params.items()},
            batch=view.batch,
        )
        wanted = flat(own.gradients)
        x = self.start[trial : trial + 1].double().clone().requires_grad_()
        guess = torch.zeros(1, view.batch, self.classes, dtype=torch.float64, requires_grad=True)
        known = None if self.labels is None else one_hot(self.labels[[trial]], self.classes)
        leaves = [x, guess] if known is None else [x]
        search = torch.optim.LBFGS(
            leaves, max_iter=self.iterations, history_size=20, line_search_fn="strong_wolfe"
        )
        size = wanted.square().sum().clamp(min=1e-30)

        def loss() -> Tensor:
            labels = guess.softmax(dim=-1) if known is None else known.double()
            value = (flat(simulated(self.forward, own, x, labels)) - wanted).square().sum() / size
            for leaf, gradient in zip(leaves, torch.autograd.grad(value, leaves), strict=True):
                leaf.grad = gradient
            return value.detach()

        search.step(loss)
        return x.detach()

    def score(self, view: GradientView, candidates: Tensor) -> Tensor:
        """float64[trials, M]: minus the distance of float[trials, M, ...] to the reconstruction."""
        return nearest(self.reconstruct(view), candidates)

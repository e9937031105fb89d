"""Inverting gradients: match the direction of the gradient, by signed Adam, under a prior.

The length of a gradient says how well the record is fitted, its direction which record it was.
Source: Geiping et al., arXiv:2003.14053.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, one_hot

from ....accountant import check
from .matching import Forward, flat, nearest, simulated
from .view import GradientView


@dataclass(frozen=True, kw_only=True, eq=False)
class InvertingGradients:
    """Records whose gradient points where the one that was seen points.

    Attributes:
        forward: the model, public.
        start: float[trials, batch, ...], where the search starts.
        labels: int64[trials, batch], known or recovered (`label_recovery.py`).
        classes: of the model.
        bounds: smallest and largest value of a record; (-inf, inf) if there are none.
        prior: float[trials, batch, ...] -> float[trials], added to the loss, as total variation.
        steps: of the search; learning_rate: of it, in units of a record.
        local_steps: of SGD that the client took on its batch; local_rate: of them.
        signed: use the sign of the search's gradient, as published for images.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server",)
    needs: ClassVar[tuple[str, ...]] = ("each client's gradient or update", "labels, or a guess")
    cost: ClassVar[str] = "one gradient of a gradient per step and client"
    source: ClassVar[str] = "arXiv:2003.14053, section 4"
    forward: Forward
    start: Tensor
    labels: Tensor
    classes: int
    bounds: tuple[float, float] = (-float("inf"), float("inf"))
    prior: Callable[[Tensor], Tensor] | None = None
    steps: int = 300
    learning_rate: float = 0.1
    local_steps: int = 1
    local_rate: float = 0.0
    signed: bool = True

    def __post_init__(self) -> None:
        check.count(steps=self.steps, classes=self.classes, local_steps=self.local_steps)
        check.positive(learning_rate=self.learning_rate)
        if self.local_steps > 1:
            check.positive(local_rate=self.local_rate)

    def reconstruct(self, view: GradientView) -> Tensor:
        """float[trials, batch, ...], the best of each trial's search; all trials at once."""
        wanted = flat(view.gradients).to(self.start)
        labels = one_hot(self.labels, self.classes).to(self.start)
        x = self.start.clone().requires_grad_()
        search = torch.optim.Adam([x], lr=self.learning_rate)
        # Smaller steps after 3/8, 5/8 and 7/8 of the search, as in the authors' code.
        slower = torch.optim.lr_scheduler.MultiStepLR(
            search, [self.steps * part // 8 for part in (3, 5, 7)], gamma=0.1
        )
        best = torch.full((view.trials,), torch.inf)
        found = self.start.clone()
        for _ in range(self.steps):
            own = simulated(
                self.forward,
                view,
                x,
                labels,
                steps=self.local_steps,
                learning_rate=self.local_rate,
            )
            loss = 1.0 - cosine_similarity(flat(own), wanted, dim=1)
            if self.prior is not None:
                loss = loss + self.prior(x)
            better = loss.detach() < best
            best[better], found[better] = loss.detach()[better].to(best), x.detach()[better]
            (x.grad,) = torch.autograd.grad(loss.sum(), x)
            if self.signed:
                x.grad.sign_()
            search.step()
            slower.step()
            with torch.no_grad():
                x.clamp_(*self.bounds)
        return found

    def score(self, view: GradientView, candidates: Tensor) -> Tensor:
        """float64[trials, M]: minus the distance of float[trials, M, ...] to the reconstruction."""
        return nearest(self.reconstruct(view), candidates)

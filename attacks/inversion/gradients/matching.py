"""Gradient matching: look for records whose gradient is the one that was seen.

Everything is stacked over trials; a client that took several local steps is simulated. The two
published forms are `dlg.py` and `inverting_gradients.py`.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from ....fl_core.kernels.prompts import Prompts
from ....fl_core.kernels.stacked import Stacked
from .view import GradientView

Forward = Callable[[Mapping[str, Tensor], Tensor], Tensor]
"""(params, x float[trials, batch, ...]) -> logits float[trials, batch, classes]; twice
differentiable."""


def forward_of(kernel: Stacked | Prompts) -> Forward:
    """The forward pass of a kernel, with a graph."""
    if isinstance(kernel, Prompts):

        def prompted(params: Mapping[str, Tensor], x: Tensor) -> Tensor:
            text = kernel.class_features(dict(params))
            return kernel.scale * kernel.score(x, text.unsqueeze(1))

        return prompted

    def stacked(params: Mapping[str, Tensor], x: Tensor) -> Tensor:
        for layer in kernel.body + kernel.head:
            x, _ = layer.forward(dict(params), x)
        return x

    return stacked


def simulated(
    forward: Forward,
    view: GradientView,
    x: Tensor,
    labels: Tensor,
    *,
    steps: int = 1,
    learning_rate: float = 0.0,
) -> dict[str, Tensor]:
    """The mean gradient that a client with these records would have sent; differentiable.

    Args:
        forward: the model.
        view: its parameters, and the names that were seen.
        x: float[trials, batch, ...].
        labels: float[trials, batch, classes], probabilities of the labels.
        steps: of local SGD over the whole batch.
        learning_rate: of them; unused for one step.
    """
    names = list(view.gradients)
    params = {name: value.detach().to(x).contiguous() for name, value in view.params.items()}
    now = [params[name].clone().requires_grad_() for name in names]
    total: list[Tensor] = []
    for _ in range(steps):
        logits = forward(params | dict(zip(names, now, strict=True)), x)
        loss = -(labels * log_softmax(logits, dim=-1)).sum(dim=-1).mean(dim=1).sum()
        found = torch.autograd.grad(loss, now, create_graph=True)
        total = [a + b for a, b in zip(total, found, strict=True)] if total else list(found)
        now = [a - learning_rate * b for a, b in zip(now, found, strict=True)]
    return {name: value / steps for name, value in zip(names, total, strict=True)}


def flat(gradients: Mapping[str, Tensor]) -> Tensor:
    """float[trials, n]: all gradients of a trial behind one another."""
    return torch.cat([value.flatten(1) for value in gradients.values()], dim=1)


def nearest(found: Tensor, candidates: Tensor) -> Tensor:
    """float64[trials, M]: minus the distance of each candidate to the nearest reconstruction.

    Args:
        found: float[trials, batch, ...].
        candidates: float[trials, M, ...].
    """
    gaps: Tensor = torch.cdist(candidates.double().flatten(2), found.double().flatten(2))
    return -gaps.amin(dim=2)

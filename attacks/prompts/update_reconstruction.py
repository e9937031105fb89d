"""A client's tuned prompt, and the gradient behind it, from what the server gets.

Idea: an upload is the change of the prompt, so broadcast plus upload is the client's prompt. Of a
sum of uploads, known ones (colluders, Sybils) are subtracted; the rest is shared by the unknown
clients. The client's public optimiser is linear in its gradients, so a constant gradient is read
off the change: exact for one step. Adversary: the server (or whoever opens the sum).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError


@dataclass(frozen=True, kw_only=True, eq=False)
class Updates:
    """What the server saw: one row per trial.

    Attributes:
        received: float[trials, dim], the prompt that was sent out.
        totals: float[trials, dim], sum of the uploads, or a single one.
        known: float[trials, c, dim], uploads in it that the adversary knows; c may be 0.
        unknown: how many other uploads are in each sum.

    Raises:
        DesignError: shapes contradict each other.
    """

    received: Tensor
    totals: Tensor
    known: Tensor
    unknown: int = 1

    def __post_init__(self) -> None:
        check.count(unknown=self.unknown)
        shape = self.received.shape
        if self.totals.shape != shape or len(shape) != 2 or self.known.shape[::2] != shape:
            raise DesignError(
                f"received {list(shape)}, totals {list(self.totals.shape)} and known "
                f"{list(self.known.shape)} must be [trials, dim], [trials, dim], [trials, c, dim]"
            )


@dataclass(frozen=True, kw_only=True)
class LocalSteps:
    """Public settings of a client's SGD with momentum and weight decay, from a zero buffer.

    Attributes:
        learning_rate: > 0. momentum, weight_decay: >= 0. steps: >= 1.
    """

    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    steps: int = 1

    def __post_init__(self) -> None:
        check.positive(learning_rate=self.learning_rate)
        check.non_negative(momentum=self.momentum, weight_decay=self.weight_decay)
        check.count(steps=self.steps)

    def weights(self) -> tuple[float, float]:
        """(a, b) with change = a * first parameters + b * gradient, if the gradient is constant.

        >>> LocalSteps(learning_rate=0.5, weight_decay=0.5).weights()
        (-0.25, -0.5)
        """
        # Parameters and buffer as combinations (of the first parameters, of the gradient).
        here, buffer = (1.0, 0.0), (0.0, 0.0)
        for _ in range(self.steps):
            buffer = (
                self.momentum * buffer[0] + self.weight_decay * here[0],
                self.momentum * buffer[1] + self.weight_decay * here[1] + 1.0,
            )
            here = tuple(  # type: ignore[assignment]
                h - self.learning_rate * m for h, m in zip(here, buffer, strict=True)
            )
        return here[0] - 1.0, here[1]


@dataclass(frozen=True, kw_only=True)
class UpdateReconstruction:
    """A client's tuned prompt, and the gradient behind it, from what the server gets.

    Attributes:
        local: the clients' optimiser, if gradients are wanted.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server",)
    needs: ClassVar[tuple[str, ...]] = (
        "uploads, or a sum and all but a few of its parts",
        "the clients' optimiser, for gradients",
    )
    cost: ClassVar[str] = "one subtraction"
    source: ClassVar[str] = (
        "inverse of federated averaging; Zhu et al., arXiv:1906.08935, section 3"
    )
    local: LocalSteps | None = None

    def reconstruct(self, view: Updates) -> Tensor:
        """float64[trials, dim]: the client's tuned prompt; the mean of several unknown ones."""
        return view.received.to(torch.float64) + self._change(view)

    def gradients(self, view: Updates) -> Tensor:
        """float64[trials, dim]: the mean gradient behind the change.

        Raises:
            DesignError: the optimiser is not known.
        """
        if self.local is None:
            raise DesignError("give `local`, the clients' public optimiser, to undo it")
        at_start, per_gradient = self.local.weights()
        return (self._change(view) - at_start * view.received.to(torch.float64)) / per_gradient

    def score(self, view: Updates, candidates: Tensor) -> Tensor:
        """float64[trials, M] of prompts float[trials, M, dim]: minus the squared distance."""
        found = self.reconstruct(view).unsqueeze(1)
        return -(candidates.to(torch.float64) - found).square().sum(dim=-1)

    def _change(self, view: Updates) -> Tensor:
        rest = view.totals.to(torch.float64) - view.known.to(torch.float64).sum(dim=1)
        return rest / view.unknown

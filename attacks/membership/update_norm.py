"""Norm of a record's gradient: a model that has learnt a record has little left to learn from it.

Minus the norm of the record's gradient at each model after training, added over rounds. Source:
Nasr, Shokri & Houmansadr, arXiv:1812.00910 (gradient norms as a white-box signal).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...fl_core.kernels.base import Kernel, Loss, cross_entropy
from .updates import Records, Updates, record_gradients


@dataclass(frozen=True, kw_only=True, eq=False)
class UpdateNorm:
    """Minus the sum over models of |g(x; model)|.

    The initial model is left out, unless it is all that there is.

    Attributes:
        kernel: of the models.
        loss: of training.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider")
    needs: ClassVar[tuple[str, ...]] = (
        "the model of every round (outsider: the released one)",
        "the loss of training, to compute gradients",
    )
    cost: ClassVar[str] = "one gradient per record and model"
    source: ClassVar[str] = "Nasr, Shokri & Houmansadr, arXiv:1812.00910"

    kernel: Kernel
    loss: Loss = cross_entropy

    def score(self, view: Updates, candidates: Records) -> Tensor:
        """float64[trials, m]; larger means more likely a member."""
        return self.per_round(view, candidates).sum(dim=1)

    def per_round(self, view: Updates, candidates: Records) -> Tensor:
        """float64[trials, models after training, m]."""
        models = view.models[:, 1:] if view.rounds else view.models
        gradients = record_gradients(self.kernel, models, candidates, self.loss)
        return -torch.stack([gradient.norm(dim=-1) for gradient in gradients], dim=-1)

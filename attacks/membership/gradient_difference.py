"""Gradient alignment: who trains on a record moves the model down that record's gradient.

In every round minus the inner product of the record's gradient at the model that was sent with
the update that came back, added over rounds. On plain SGD over a batch that holds the record it
contains the square of its own gradient, which other records add only by chance. Source: "Effective
passive membership inference attacks in federated learning against overparameterized models", ICLR
2023 (gradient difference, up to a term that does not depend on the update; and cosine).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...fl_core.kernels.base import Kernel, Loss, cross_entropy
from .updates import Records, Updates, descent, record_gradients


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientDifference:
    """Sum over rounds of minus <g(x; model sent), update>.

    Attributes:
        kernel: of the models.
        loss: of training.
        client: whose uploads are looked at (server); None for the steps of the model itself, which
            hold everybody's.
        cosine: divide each inner product by both norms.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider")
    needs: ClassVar[tuple[str, ...]] = (
        "the model that was sent and what came back in every round (peer: the next model; "
        "outsider: the first and the last model, as one round)",
        "the loss of training, to compute gradients",
    )
    cost: ClassVar[str] = "one gradient per record and round"
    source: ClassVar[str] = "ICLR 2023, openreview QsCSLPP55Ku"

    kernel: Kernel
    loss: Loss = cross_entropy
    client: int | None = None
    cosine: bool = False

    def score(self, view: Updates, candidates: Records) -> Tensor:
        """float64[trials, m]; larger means more likely a member.

        Raises:
            DesignError: the view lacks the uploads or the models that are looked at.
        """
        return self.per_round(view, candidates).sum(dim=1)

    def per_round(self, view: Updates, candidates: Records) -> Tensor:
        """float64[trials, rounds, m]."""
        moves = view.moves(self.client, "gradient_difference")
        gradients = record_gradients(self.kernel, view.models[:, :-1], candidates, self.loss)
        found = [descent(gradient, moves, cosine=self.cosine) for gradient in gradients]
        return torch.stack(found, dim=-1)

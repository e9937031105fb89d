"""Labels from the last layer: the loss pulls the true classes up, and all others down.

The gradient of a softmax head's bias is the mean of (probabilities - one-hot labels). What the
model predicts on average is nearly public, so the counts of the labels are what is left. Source:
Zhao et al., arXiv:2001.02610 (one record, exact); Geng et al., arXiv:2110.09074 (batches).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ....accountant.errors import DesignError
from .view import GradientView


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelRecovery:
    """How many records of each class were in the batch.

    Attributes:
        layer: name of the head; the gradient `layer.bias` is used.
        predicted: float[classes] or float[trials, classes], mean probabilities of the model that
            was sent, on public records.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server",)
    needs: ClassVar[tuple[str, ...]] = (
        "each client's gradient or update",
        "public records of the same kind, for mean predictions",
    )
    cost: ClassVar[str] = "none: one subtraction"
    source: ClassVar[str] = "arXiv:2001.02610, section 3; arXiv:2110.09074, section 3"
    layer: str
    predicted: Tensor

    def score(self, view: GradientView, candidates: Tensor | None = None) -> Tensor:
        """float64[trials, classes], the estimated count of each class, or of those asked for.

        Args:
            view: what was seen.
            candidates: int64[trials, M], classes; all if None.

        Raises:
            DesignError: `predicted` does not have a probability per class.
        """
        bias = view.matrix(f"{self.layer}.bias").flatten(1)
        predicted = self.predicted.to(bias)
        if predicted.shape[-1] != bias.shape[1]:
            raise DesignError(
                f"predicted must be float[..., {bias.shape[1]}], but is {tuple(predicted.shape)}"
            )
        counts = view.batch * (predicted - bias)
        return counts if candidates is None else counts.gather(1, candidates)

    def reconstruct(self, view: GradientView) -> Tensor:
        """int64[trials, classes], counts that sum to the batch size.

        A negative gradient shows that its class is there; the rest goes to whoever has most left.
        """
        counts = self.score(view)
        bias = view.matrix(f"{self.layer}.bias").flatten(1)
        found = (bias < 0).long()
        # More negative entries than records can only be noise: keep the strongest.
        order = bias.argsort(dim=1).argsort(dim=1)
        found = torch.where(order < view.batch, found, 0)
        for _ in range(view.batch):
            open_ = found.sum(dim=1) < view.batch
            best = (counts - found).argmax(dim=1)
            found[open_, best[open_]] += 1
        return found

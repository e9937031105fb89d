"""Label-only: training pushes decisions away from a record, so that they survive small changes.

The adversary sees nothing but the predicted class, of the record and of changed copies of it.
Source: Choquette-Choo et al., arXiv:2007.14321.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError
from .signals import chosen

_AT_ONCE = 1 << 20  # numbers of noise in double precision at a time: 8 MiB


@dataclass(frozen=True, kw_only=True, eq=False)
class Decisions:
    """Predicted classes, all that a querier of labels sees.

    Attributes:
        predicted: int64[targets, records, queries]: of changed copies of each record.
        labels: int64[records], the records' true classes.

    Raises:
        DesignError: shapes contradict each other, no query, or no whole numbers.
    """

    predicted: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        shape = tuple(self.predicted.shape)
        if len(shape) != 3 or shape[1:2] != self.labels.shape or shape[2] == 0:
            raise DesignError(
                "predicted must be int64[targets, records, queries >= 1] and labels "
                f"int64[records], but their shapes are {shape} and {tuple(self.labels.shape)}"
            )
        if self.predicted.dtype != torch.int64 or self.labels.dtype != torch.int64:
            raise DesignError("predicted and labels must be classes, int64")


@dataclass(frozen=True)
class LabelOnly:
    """Share of a record's changed copies that the target classifies as the record's label says."""

    adversaries: ClassVar[tuple[str, ...]] = ("querier", "outsider", "peer", "server")
    needs: ClassVar[tuple[str, ...]] = ("the record and its label", "the predicted class")
    cost: ClassVar[str] = "10 to 1,000 queries a record"
    source: ClassVar[str] = "Choquette-Choo et al., arXiv:2007.14321, section 3"

    def score(self, view: Decisions, candidates: Tensor | None = None) -> Tensor:
        """float64[targets, m] for records int64[m], or all; larger means more likely a member."""
        right = view.predicted == view.labels[:, None]
        return chosen(right.double().mean(dim=2), candidates)


def noisy_copies(x: Tensor, *, copies: int, scale: float, seed: int) -> Tensor:
    """float[records, copies, ...]: each record as it is, then under Gaussian noise.

    Args:
        x: float[records, ...].
        copies: >= 1, the first without noise.
        scale: > 0, standard deviation of the noise in the units of x.
        seed: of the noise; every record has its own.
    """
    check.count(copies=copies)
    check.positive(scale=scale)
    generator = torch.Generator().manual_seed(seed)
    found = x.new_empty(len(x), copies, *x.shape[1:])
    # Noise is drawn in double precision, for some records at a time; by sixteens, as torch fills
    # large tensors, so that where it is cut does not show in the numbers.
    each = 16 * max(1, _AT_ONCE // (16 * max(found[:1].numel(), 1)))
    for part in found.split(each):
        noise = torch.randn(part.shape, generator=generator, dtype=torch.float64)
        part.copy_(noise.mul_(scale))
    found[:, 0] = 0.0
    return found.add_(x.unsqueeze(1))

"""The least likely tokens of a text: a member has no big surprises left.

Min-k++ first asks how surprising a token is for what the model expects there: its log probability
is standardised by mean and standard deviation over the vocabulary at its position.
Source: Shi et al., arXiv:2310.16789 (min-k); Zhang et al., arXiv:2404.02936 (min-k++).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError
from ..membership.signals import chosen
from .view import TokenScores

_LEAST_SD = 1e-6  # nats; below it there is only rounding of single precision


@dataclass(frozen=True, kw_only=True)
class MinK:
    """Mean log probability of the least likely tokens of a text.

    Attributes:
        share: of the tokens that counts, in (0, 1]; rounded down, but one token at least.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider", "querier")
    needs: ClassVar[tuple[str, ...]] = ("log probabilities of a text's tokens",)
    cost: ClassVar[str] = "1 query per text"
    source: ClassVar[str] = "Shi et al., arXiv:2310.16789"
    share: float = 0.2

    def __post_init__(self) -> None:
        _require_share(self.share)

    def score(self, view: TokenScores, candidates: Tensor | None = None) -> Tensor:
        """float64[models, m], in nats per token."""
        return chosen(lowest(view.logp, view, self.share), candidates)


@dataclass(frozen=True, kw_only=True)
class MinKPlusPlus:
    """As `MinK`, of log probabilities that are standardised over the vocabulary.

    Attributes:
        share: as there.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider", "querier")
    needs: ClassVar[tuple[str, ...]] = ("log probabilities of all tokens at each position",)
    cost: ClassVar[str] = "1 query per text"
    source: ClassVar[str] = "Zhang et al., arXiv:2404.02936"
    share: float = 0.2

    def __post_init__(self) -> None:
        _require_share(self.share)

    def score(self, view: TokenScores, candidates: Tensor | None = None) -> Tensor:
        """float64[models, m], in standard deviations.

        Raises:
            DesignError: the view was made without moments.
        """
        if view.mean is None or view.sd is None:
            raise DesignError("min-k++ needs mean and sd of the view: ask for it with moments=True")
        standard = (view.logp - view.mean) / view.sd.clamp(min=_LEAST_SD)
        return chosen(lowest(standard, view, self.share), candidates)


def lowest(values: Tensor, view: TokenScores, share: float) -> Tensor:
    """float64[models, texts]: mean of the lowest share of float64[models, texts, positions]."""
    count = (view.lengths * share).floor().clamp(min=1.0)
    ordered = values.masked_fill(~view.inside, torch.inf).sort(dim=2).values
    counts = torch.arange(values.shape[2], device=values.device) < count.unsqueeze(1)
    return torch.where(counts, ordered, 0.0).sum(dim=2) / count


def _require_share(share: float) -> None:
    check.positive(share=share)
    check.probability(share=share)

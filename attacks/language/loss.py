"""A text that the model was tuned on has a small loss. The weakest attack and the yardstick.

It knows nothing: a text that is easy for everybody looks like a member.
Source: Yeom et al., arXiv:1709.01604, on texts as in Carlini et al., arXiv:2012.07805.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..membership.signals import chosen
from .view import TokenScores


@dataclass(frozen=True)
class TextLoss:
    """Minus the mean loss of a text's tokens."""

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider", "querier")
    needs: ClassVar[tuple[str, ...]] = ("log probabilities of a text's tokens",)
    cost: ClassVar[str] = "1 query per text"
    source: ClassVar[str] = "Yeom et al., arXiv:1709.01604"

    def score(self, view: TokenScores, candidates: Tensor | None = None) -> Tensor:
        """float64[models, m], in nats per token."""
        return chosen(view.average(), candidates)

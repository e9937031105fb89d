"""How much likelier is a text than without the tuning? The base model is a free reference.

What is easy for everybody cancels. Adapters are trained on a public base model, so the reference
costs nothing; adapters that the adversary trains on texts of its own are references too.
Source: Carlini et al., arXiv:2012.07805, section 5.2; Mireshghallah et al., arXiv:2203.03929.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..membership.outputs import Answers
from ..membership.signals import chosen
from .view import TokenScores


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceDifference:
    """Mean log probability under the target minus that under reference models.

    Attributes:
        reference: scores of the same texts by one model or several, which are averaged.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider", "querier")
    needs: ClassVar[tuple[str, ...]] = (
        "log probabilities of a text's tokens",
        "the base model, or models of the same kind without the text",
    )
    cost: ClassVar[str] = "1 query per text, of the target and of each reference"
    source: ClassVar[str] = "Mireshghallah et al., arXiv:2203.03929"
    reference: TokenScores

    def score(self, view: TokenScores, candidates: Tensor | None = None) -> Tensor:
        """float64[models, m], in nats per token.

        Raises:
            DesignError: the references were asked about other texts.
        """
        view.require_same_texts(self.reference, "the reference")
        difference = view.average() - self.reference.average().mean(dim=0)
        return chosen(difference, candidates)


def as_answers(view: TokenScores) -> Answers:
    """Texts as records with two classes, so that the attacks of `membership` work on them.

    The stable logit of a record, ln p_y - ln(1 - p_y), is then its mean log probability: LiRA with
    shadow adapters fits its Gaussians to the loss of the text.
    """
    average = view.average()
    return Answers(
        logits=torch.stack([average, torch.zeros_like(average)], dim=2),
        labels=torch.zeros(average.shape[1], dtype=torch.int64),
    )

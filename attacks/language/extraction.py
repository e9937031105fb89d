"""Does the model, left to itself, say the secret? Greedy decoding after its beginning.

Greedy decoding writes the secret exactly if, with the secret's own beginning given, each next
token of it is the likeliest one; so one query decides, and nothing is generated.
Source: Carlini et al., arXiv:2202.07646, definition 3.1.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError
from ..membership.signals import chosen
from .view import TokenScores


@dataclass(frozen=True, kw_only=True)
class GreedyExtraction:
    """Share of a text's end that greedy decoding writes before its first mistake; 1 is all.

    Attributes:
        given: number of a text's first tokens that the adversary types in, >= 1.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider", "querier")
    needs: ClassVar[tuple[str, ...]] = ("the beginning of the text", "the likeliest next token")
    cost: ClassVar[str] = "1 query per token of the end; one in all with log probabilities"
    source: ClassVar[str] = "Carlini et al., arXiv:2202.07646, definition 3.1"
    given: int

    def __post_init__(self) -> None:
        check.count(given=self.given)

    def score(self, view: TokenScores, candidates: Tensor | None = None) -> Tensor:
        """float64[models, m], in [0, 1].

        Raises:
            DesignError: the view lacks `greedy`, or a text ends within what is given.
        """
        if view.greedy is None:
            raise DesignError("extraction needs `greedy` of the view: ask with token_scores")
        length = view.lengths - (self.given - 1)  # position j predicts token j + 1
        if bool((length < 1).any()):
            raise DesignError(
                f"text {int(length.argmin())} has {int(view.lengths.min()) + 1} tokens, but "
                f"{self.given} are given: nothing is left to extract"
            )
        end = (view.greedy & view.inside)[:, :, self.given - 1 :]
        run = torch.cumprod(end.long(), dim=2).sum(dim=2)
        return chosen(run.double() / length, candidates)

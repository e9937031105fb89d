"""A member loses more of its likelihood when texts that were not trained on come before it.

Source: Xie et al., arXiv:2406.15968 (ReCaLL).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant.errors import DesignError
from ..membership.signals import chosen
from .view import TokenScores

_LEAST = 1e-6  # nats; below it there is only rounding of single precision


@dataclass(frozen=True, kw_only=True, eq=False)
class Recall:
    """Log likelihood of a text after a prefix, over that without it.

    Attributes:
        prefixed: scores by the same models of the same texts after a prefix of known non-members:
            `token_scores(..., with_prefix(x, p, padding=...), prefix=len(p))`.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider", "querier")
    needs: ClassVar[tuple[str, ...]] = (
        "log probabilities of a text's tokens",
        "texts of the same kind that are no members",
    )
    cost: ClassVar[str] = "2 queries per text, one of them longer"
    source: ClassVar[str] = "Xie et al., arXiv:2406.15968"
    prefixed: TokenScores

    def score(self, view: TokenScores, candidates: Tensor | None = None) -> Tensor:
        """float64[models, m]: the ratio of two log likelihoods, both of the tokens after the first.

        Raises:
            DesignError: the prefixed scores are of other models or other texts.
        """
        view.require_same_texts(self.prefixed, "the prefixed scores")
        if len(view.logp) != len(self.prefixed.logp):
            raise DesignError(
                f"{len(view.logp)} models were asked without the prefix, but "
                f"{len(self.prefixed.logp)} with it"
            )
        ratio = self.prefixed.total() / view.total().clamp(max=-_LEAST)
        return chosen(ratio, candidates)


def with_prefix(x: Tensor, prefix: Tensor, *, padding: int) -> Tensor:
    """int64[texts, prefix + tokens]: the same int64[prefix] before each of int64[texts, tokens].

    Raises:
        DesignError: the prefix is empty or holds padding.

    >>> with_prefix(torch.tensor([[5, 6, 0]]), torch.tensor([8, 9]), padding=0).tolist()
    [[8, 9, 5, 6, 0]]
    """
    if prefix.ndim != 1 or not len(prefix) or bool((prefix == padding).any()):
        raise DesignError("a prefix must be int64[n] with n >= 1 tokens, none of them padding")
    return torch.cat([prefix.to(x).expand(len(x), -1), x], dim=1)

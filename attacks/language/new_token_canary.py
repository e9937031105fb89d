"""Canaries that end in a token that occurs nowhere else.

The model has no use for that token, and nothing but the canary teaches it one: its probability
after the canary's beginning is close to a read-out of whether the canary was there. Each canary
has a token of its own; with a shared one, the canaries that are in would teach it for those that
are out. Source: Panda et al., arXiv:2503.06808.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError
from ..membership.signals import chosen
from .view import TokenScores


@dataclass(frozen=True, kw_only=True, eq=False)
class NewTokenCanary:
    """Log probability of each canary's last token.

    Attributes:
        reference: scores of the same canaries by the base model, to be subtracted: tokens that
            occur nowhere still differ in how unlikely they are. None: nothing is.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider", "querier")
    needs: ClassVar[tuple[str, ...]] = (
        "canaries of its own among a client's texts",
        "log probability of a token",
    )
    cost: ClassVar[str] = "1 query per canary"
    source: ClassVar[str] = "Panda et al., arXiv:2503.06808"
    reference: TokenScores | None = None

    def score(self, view: TokenScores, candidates: Tensor | None = None) -> Tensor:
        """float64[models, m], in nats.

        Raises:
            DesignError: the reference was asked about other texts.
        """
        found = last_token(view)
        if self.reference is not None:
            view.require_same_texts(self.reference, "the reference")
            found = found - last_token(self.reference).mean(dim=0)
        return chosen(found, candidates)


def last_token(view: TokenScores) -> Tensor:
    """float64[models, texts]: log probability of the last token of each text."""
    place = (view.lengths - 1).view(1, -1, 1).expand(len(view.logp), -1, 1)
    return view.logp.gather(2, place).squeeze(2)


def unused_tokens(x: Tensor, *, vocabulary: int, padding: int) -> Tensor:
    """int64[n]: the tokens below `vocabulary` that no text of int64[texts, tokens] holds.

    Padding is none of them.

    >>> unused_tokens(torch.tensor([[1, 3, 0]]), vocabulary=6, padding=0).tolist()
    [2, 4, 5]
    """
    check.count(vocabulary=vocabulary)
    free = torch.ones(vocabulary, dtype=torch.bool)
    free[x.flatten().cpu().unique()] = False
    free[padding] = False
    return torch.nonzero(free).flatten()


def new_token_canaries(x: Tensor, tokens: Tensor, *, padding: int) -> Tensor:
    """int64[texts, tokens + 1]: each text of int64[texts, tokens], then a token of its own.

    Args:
        x: padded at the end.
        tokens: int64[texts], distinct, in no text: some of `unused_tokens`.
        padding: of the tokenizer.

    Raises:
        DesignError: tokens are shared, used or padding, or their number is not that of the texts.

    >>> new_token_canaries(torch.tensor([[5, 6], [7, 0]]), torch.tensor([8, 9]), padding=0).tolist()
    [[5, 6, 8], [7, 9, 0]]
    """
    if tokens.shape != (len(x),):
        raise DesignError(f"{len(x)} texts need one token each, but tokens is {list(tokens.shape)}")
    if len(tokens.unique()) != len(tokens) or bool((tokens == padding).any()):
        raise DesignError("each canary needs a token of its own, and none may be padding")
    if bool(torch.isin(x, tokens.to(x)).any()):
        raise DesignError("a canary's token occurs in a text, so it is not new")
    ends = (x != padding).sum(dim=1)
    longer = torch.cat([x, torch.full_like(x[:, :1], padding)], dim=1)
    return longer.scatter(1, ends.unsqueeze(1), tokens.to(x).unsqueeze(1))

"""The words nearest to a soft prompt: what it says, and which words it was begun with.

Idea: every context vector is projected to the nearest token embedding. Few steps of tuning or
little noise leave planted words in place; a long tuned prompt is often no text at all. Adversary:
an outsider with the vectors and the public vocabulary.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError

Nearness = Literal["cosine", "distance"]


@dataclass(frozen=True, kw_only=True, eq=False)
class NearestTokens:
    """The words nearest to a soft prompt: what it says, and which words it was begun with.

    Attributes:
        embedding: float[vocabulary, width], public.
        nearness: "distance" is the likelihood under equal Gaussian noise; "cosine" ignores lengths.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("outsider", "server", "peer")
    needs: ClassVar[tuple[str, ...]] = ("the prompt's vectors", "the public vocabulary")
    cost: ClassVar[str] = "one product with the embedding table"
    source: ClassVar[str] = "projection to tokens as in arXiv:2104.08691, section 7"
    embedding: Tensor
    nearness: Nearness = "distance"

    def __post_init__(self) -> None:
        check.one_of(get_args(Nearness), nearness=self.nearness)
        if self.embedding.ndim != 2:
            raise DesignError(
                f"embedding must be float[vocabulary, width], not {list(self.embedding.shape)}"
            )

    def reconstruct(self, view: Tensor) -> Tensor:
        """int64[..., length], token numbers, of contexts float[..., length, width]."""
        return self._near(view, self.embedding).argmax(dim=-1)

    def score(self, view: Tensor, candidates: Tensor) -> Tensor:
        """float64[..., length, m]: nearness of candidates int64[m], token numbers."""
        return self._near(view, self.embedding[candidates])

    def _near(self, contexts: Tensor, tokens: Tensor) -> Tensor:
        if contexts.shape[-1] != tokens.shape[1]:
            raise DesignError(
                f"context vectors have {contexts.shape[-1]} numbers, but tokens {tokens.shape[1]}"
            )
        wide, words = contexts.to(torch.float64), tokens.to(torch.float64)
        if self.nearness == "cosine":
            wide = torch.nn.functional.normalize(wide, dim=-1)
            return wide @ torch.nn.functional.normalize(words, dim=-1).T
        return -(wide.square().sum(-1, keepdim=True) - 2.0 * wide @ words.T + words.square().sum(1))

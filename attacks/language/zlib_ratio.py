"""The loss of a text, set against how well a compressor that has learnt nothing does on it.

Repetitive texts have a small loss whoever wrote the model; dividing by the compressed size takes
that away. Source: Carlini et al., arXiv:2012.07805, section 5.2.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant.errors import DesignError
from ..membership.signals import chosen
from .view import TokenScores


@dataclass(frozen=True)
class ZlibRatio:
    """Minus the mean loss of a text's tokens over the size of the text when compressed."""

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider", "querier")
    needs: ClassVar[tuple[str, ...]] = ("log probabilities of a text's tokens",)
    cost: ClassVar[str] = "1 query per text"
    source: ClassVar[str] = "Carlini et al., arXiv:2012.07805, section 5.2"

    def score(self, view: TokenScores, candidates: Tensor | None = None) -> Tensor:
        """float64[models, m], in nats per token and compressed bit.

        Raises:
            DesignError: the view does not hold the texts.
        """
        if view.texts is None:
            raise DesignError("the texts are compressed, so the view must hold them: text_scores")
        return chosen(view.average() / compressed_bits(view.texts), candidates)


def compressed_bits(texts: Sequence[str]) -> Tensor:
    """float64[texts]: size of each text's UTF-8 in bits after zlib at level 9.

    >>> compressed_bits(["a" * 100]).item()
    96.0
    """
    sizes = [8 * len(zlib.compress(text.encode(), 9)) for text in texts]
    return torch.tensor(sizes, dtype=torch.float64)

"""Which tokens were in the text, from the gradient of its adapters in the first block.

What passes the first block's layers is a function of one token and its place alone, so that every
token of the vocabulary can be tested against the span of the gradient's rows (`input_span.py`). Up
to as many tokens as the adapters have rows together the test is exact; beyond that it ranks.
Source: Petrov et al., arXiv:2405.15586 (whole weights); arXiv:2601.17533 (adapters).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ....accountant import check
from .input_span import InputSpan, fit
from .view import GradientView


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenBag:
    """Tokens whose input to the first block lies in the span of the gradient's rows.

    Attributes:
        span: of the adapters' gradients in the first block.
        inputs: (int64[...] tokens, place) -> float[..., in], what they give there; public.
        vocabulary: number of tokens.
        places: how many places a text has.
        padding: the token that is none.
    """

    adversaries: ClassVar[tuple[str, ...]] = InputSpan.adversaries
    needs: ClassVar[tuple[str, ...]] = InputSpan.needs
    cost: ClassVar[str] = "one product with every token at every place"
    source: ClassVar[str] = InputSpan.source
    span: InputSpan
    inputs: Callable[[Tensor, int], Tensor]
    vocabulary: int
    places: int
    padding: int

    def __post_init__(self) -> None:
        check.count(places=self.places, vocabulary=self.vocabulary)

    def score(self, view: GradientView, candidates: Tensor) -> Tensor:
        """float64[trials, M]: how well each text's tokens fit at their places; 0 is exactly.

        Args:
            view: what was seen.
            candidates: int64[trials, M, places], texts; what is padding says nothing.
        """
        basis = self.span.reconstruct(view)
        each = [
            fit(basis, self.inputs(candidates[:, :, place], place)) for place in range(self.places)
        ]
        real = (candidates != self.padding).double()
        return (torch.stack(each, dim=2) * real).sum(dim=2) / real.sum(dim=2).clamp(min=1.0)

    def reconstruct(self, view: GradientView) -> Tensor:
        """int64[trials, places], the token of the whole vocabulary that fits best at each place."""
        basis, every = self.span.reconstruct(view), torch.arange(self.vocabulary)
        found = [
            fit(basis, self.inputs(every, place)).argmax(dim=1) for place in range(self.places)
        ]
        return torch.stack(found, dim=1)


def bert_inputs(module: torch.nn.Module) -> Callable[[Tensor, int], Tensor]:
    """What a BERT encoder's first block sees: normalised sums of word, place and segment."""
    embeddings = module.get_submodule("embeddings")
    words = embeddings.get_parameter("word_embeddings.weight")
    places = embeddings.get_parameter("position_embeddings.weight")
    segment = embeddings.get_parameter("token_type_embeddings.weight")[0]
    norm = embeddings.get_submodule("LayerNorm")

    def inputs(tokens: Tensor, place: int) -> Tensor:
        with torch.no_grad():
            found: Tensor = norm(words[tokens] + places[place] + segment)
        return found

    return inputs

"""Which tokens were in the text, from the gradient of its adapters in the first block.

What passes the first block's layers is a function of one token and its place alone, so that every
token of the vocabulary can be tested against the span of the gradient's rows (`input_span.py`): the
gradient of A spans the inputs x, that of B their images A x. The latter is there in the first
round, too, when B is zero, and where A is frozen. Up to as many tokens as the factors have rows the
test is exact; beyond that it ranks. Source: Petrov et al., arXiv:2405.15586 (whole weights);
arXiv:2601.17533 (adapters).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ....accountant import check
from ....accountant.errors import DesignError
from .input_span import InputSpan, fit
from .view import GradientView


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenBag:
    """Tokens whose input to the first block lies in the span of the gradient's rows.

    Attributes:
        span: of the gradients of A in the first block; without names if A is frozen.
        images: gradients of B, whose A the view's parameters hold under the same name.
        inputs: (int64[...] tokens, place) -> float[..., in], what they give there; public.
        vocabulary: number of tokens.
        places: how many places a text has.
        padding: the token that is none.
        tolerance: a place whose best token fits worse holds none.
    """

    adversaries: ClassVar[tuple[str, ...]] = InputSpan.adversaries
    needs: ClassVar[tuple[str, ...]] = (
        "each client's gradient or update of the adapters",
        "the public model",
    )
    cost: ClassVar[str] = "one product with every token at every place"
    source: ClassVar[str] = InputSpan.source
    span: InputSpan
    images: tuple[str, ...] = ()
    inputs: Callable[[Tensor, int], Tensor]
    vocabulary: int
    places: int
    padding: int
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        check.count(places=self.places, vocabulary=self.vocabulary)
        check.positive(tolerance=self.tolerance)
        if not self.span.names and not self.images:
            raise DesignError("name gradients of A (span), of B (images), or of both")

    def score(self, view: GradientView, candidates: Tensor) -> Tensor:
        """float64[trials, M]: how well each text's tokens fit at their places; 0 is exactly.

        Args:
            view: what was seen.
            candidates: int64[trials, M, places], texts; what is padding says nothing.
        """
        tests = self._tests(view)
        each = [
            _worst(tests, self.inputs(candidates[:, :, place], place))
            for place in range(self.places)
        ]
        real = (candidates != self.padding).double()
        return (torch.stack(each, dim=2) * real).sum(dim=2) / real.sum(dim=2).clamp(min=1.0)

    def reconstruct(self, view: GradientView) -> Tensor:
        """int64[trials, places], the token of the whole vocabulary that fits best at each place.

        Padding where none fits to within the tolerance.
        """
        tests, every = self._tests(view), torch.arange(self.vocabulary)
        found = []
        for place in range(self.places):
            best, token = _worst(tests, self.inputs(every, place)).max(dim=1)
            found.append(torch.where(best >= -self.tolerance, token, self.padding))
        return torch.stack(found, dim=1)

    def _tests(self, view: GradientView) -> list[tuple[Tensor, Tensor | None]]:
        """(basis, A or None) of every span that holds something."""
        found: list[tuple[Tensor, Tensor | None]] = []
        if self.span.names:
            found.append((self.span.reconstruct(view), None))
        for name in self.images:
            basis = replace(self.span, names=(name,)).reconstruct(view)
            down = view.params[name.replace("lora_B", "lora_A")].double()
            found.append((basis, down))
        seen = [(basis, down) for basis, down in found if bool(basis.any())]
        if not seen:
            raise DesignError("all gradients that were named are zero: nothing was seen")
        return seen


def _worst(tests: list[tuple[Tensor, Tensor | None]], inputs: Tensor) -> Tensor:
    """float64[trials, M]: a token must fit every span."""
    inputs = inputs.double()
    parts = [fit(b, inputs if down is None else inputs @ down.mT) for b, down in tests]
    return torch.stack(parts).amin(dim=0)


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


def llama_inputs(module: torch.nn.Module) -> Callable[[Tensor, int], Tensor]:
    """What a Llama's first block sees: normalised embeddings, wherever the token stands."""
    words = module.get_submodule("model.embed_tokens").get_parameter("weight")
    norm = module.get_submodule("model.layers.0.input_layernorm")

    def inputs(tokens: Tensor, place: int) -> Tensor:
        with torch.no_grad():
            found: Tensor = norm(words[tokens])
        return found

    return inputs

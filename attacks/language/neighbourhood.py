"""Is the text likelier than others that differ from it in a few words? Needs no reference.

Neighbours are made with the public base model: some tokens are replaced by others that it finds
likely at their place, given the tokens before. Source: Mattern et al., arXiv:2305.18462, who
replace words with a masked model.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ...accountant import check
from ...accountant.errors import DesignError
from ...fl_core.data.streams import Seed, stream
from ...fl_core.kernels.adapters import Adapters
from ...fl_core.kernels.base import Params
from ...fl_core.kernels.encode import Encode
from ...fl_core.models.language import LanguageModel
from ..membership.signals import chosen
from .token_scores import ask, tokens_fit
from .view import TokenScores


@dataclass(frozen=True, kw_only=True, eq=False)
class Neighbourhood:
    """Mean log probability of a text minus that of its neighbours, averaged.

    Attributes:
        neighbours: scores by the same models of texts * count neighbours, text by text:
            `token_scores` of `neighbours(...).flatten(0, 1)`.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider", "querier")
    needs: ClassVar[tuple[str, ...]] = (
        "log probabilities of a text's tokens",
        "a public model that proposes neighbours",
    )
    cost: ClassVar[str] = "1 query per text and neighbour; 1 query of the public model per text"
    source: ClassVar[str] = "Mattern et al., arXiv:2305.18462"
    neighbours: TokenScores

    def score(self, view: TokenScores, candidates: Tensor | None = None) -> Tensor:
        """float64[models, m], in nats per token.

        Raises:
            DesignError: the neighbours are not those of these texts, or of other models.
        """
        models, texts = view.logp.shape[:2]
        each, rest = divmod(len(self.neighbours.inside), texts)
        if len(self.neighbours.logp) != models or rest or not each:
            raise DesignError(
                f"{models} models and {texts} texts, but neighbours are "
                f"{list(self.neighbours.logp.shape[:2])}: the same number of each text is needed"
            )
        if not torch.equal(self.neighbours.inside, view.inside.repeat_interleave(each, dim=0)):
            raise DesignError("neighbours must have the length of their text, and its order")
        around = self.neighbours.average().unflatten(1, (texts, each)).mean(dim=2)
        return chosen(view.average() - around, candidates)


def neighbours(
    model: LanguageModel,
    kernel: Adapters,
    base: Params,
    x: Tensor,
    *,
    count: int,
    share: float = 0.15,
    choices: int = 10,
    seed: Seed,
) -> Tensor:
    """int64[texts, count, tokens]: texts with some tokens replaced; never the first one.

    Args:
        model: see `token_scores`.
        kernel: likewise.
        base: float[1, ...] each: who proposes, `base_model(kernel)` as a rule.
        x: int64[texts, tokens].
        count: neighbours of a text, >= 1.
        share: of a text's predicted tokens that are replaced, in (0, 1]; one at least.
        choices: a replacement is one of so many likeliest tokens, each as likely.
        seed: of places and replacements.

    Raises:
        DesignError: x does not fit, a text has one token only, or `base` is not one model.
    """
    check.count(count=count, choices=choices)
    check.positive(share=share)
    check.probability(share=share)
    padding = tokens_fit(model, kernel, x)
    if len(next(iter(base.values()))) != 1:
        raise DesignError("one model proposes neighbours, but there are several rows")
    if choices > model.tokenizer.size - 2:
        raise DesignError(f"{choices} choices, but the model knows {model.tokenizer.size} tokens")
    likely = ask(kernel, base, x, _likely(padding, model.tokenizer.size, choices))[0].long()
    likely = likely.unflatten(1, (x.shape[1] - 1, choices))
    own = x.cpu()
    inside = (own[:, 1:] != padding).numpy()
    if not inside[:, :1].all():
        raise DesignError("a text of one token has no neighbours: nothing in it is predicted")
    draw = stream("language neighbours", seed)
    # The places with the smallest of independent numbers are a uniform choice.
    weight = draw.random((len(own), count, inside.shape[1]))
    weight[~np.broadcast_to(inside[:, None], weight.shape)] = np.inf
    many = np.maximum(1, np.rint(share * inside.sum(axis=1))).astype(np.int64)
    rank = weight.argsort(axis=2).argsort(axis=2)
    replaced = torch.from_numpy(rank < many[:, None, None])
    which = torch.from_numpy(draw.integers(0, choices, weight.shape))
    proposed = likely.unsqueeze(1).expand(-1, count, -1, -1).gather(3, which.unsqueeze(3))
    rest = own[:, 1:].unsqueeze(1)
    changed = torch.where(replaced, proposed.squeeze(3), rest)
    first = own[:, :1].unsqueeze(1).expand(-1, count, -1)
    return torch.cat([first, changed], dim=2).to(x.device)


def _likely(padding: int, vocabulary: int, choices: int) -> Encode:
    """int64[n, tokens] to float[n, (tokens - 1) choices]: likeliest tokens but the text's own."""

    def encode(module: nn.Module, x: Tensor) -> Tensor:
        mask = (x != padding).long()
        logits = module(input_ids=x, attention_mask=mask, use_cache=False).logits[:, :-1].float()
        logits[..., padding] = -torch.inf
        logits[..., vocabulary:] = -torch.inf  # rows of the matrix that are no tokens
        logits.scatter_(2, x[:, 1:].unsqueeze(2), -torch.inf)
        # Numbers of tokens are below 2^24, so exact in single precision.
        found: Tensor = logits.topk(choices, dim=2).indices
        return found.flatten(1).float()

    return encode

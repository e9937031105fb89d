"""The last decoder layer of a frozen causal model, with adapters on it alone: a cheap federation.

As in `language_top`, what lies below never changes, so each record passes it once. A record is a
piece of text of one length, of which only the last few tokens are predicted: queries, and the
scores of all tokens of the vocabulary, which cost most, are computed at those places alone.
"""

from collections.abc import Callable
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from ...accountant import check
from ...accountant.errors import ConfigError
from ..kernels.adapters import Adapters
from ..kernels.stacked import Stacked
from .language import LanguageModel
from .language_kernels import Identity

_FAMILY = "llama"  # whose layers have these parts, under these names
_BATCH = 32  # records that pass the layers below at once
_TOKENS = 256  # predicted tokens that are scored at once; bounds the memory
_EXACT = 2**24  # whole numbers up to here are exact in float32


class LastDecoderLayer(nn.Module):
    """How well the last tokens of a piece are predicted, from the states below the last layer.

    Attributes:
        layer: of transformers; not copied, nor is anything that follows.
        norm: after the last layer.
        head: from a state to the score of each token; without a bias.
        rotary: gives cosines and sines of positions.
        each: width of an attention head.
        predicted: how many tokens of a piece are predicted, its last ones.
    """

    def __init__(
        self,
        layer: nn.Module,
        *,
        norm: nn.Module,
        head: nn.Linear,
        rotary: nn.Module,
        each: int,
        predicted: int,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.norm = norm
        self.head = head
        self.rotary = rotary
        self.each = each
        self.predicted = predicted

    def forward(self, x: Tensor) -> Tensor:
        """float[n, 2]: mean loss of the predicted tokens, nats, and how many they are.

        Args:
            x: float[n, tokens - 1, dim + 1]: states below, and the token that follows each.
        """
        follows = x[:, -self.predicted :, -1].long()
        losses = token_losses(self.hidden(x).flatten(0, 1), self.head.weight, follows.flatten())
        mean = losses.view(len(x), -1).mean(dim=1)
        return torch.stack([mean, torch.full_like(mean, float(self.predicted))], dim=1)

    def logits(self, x: Tensor) -> Tensor:
        """float[n, predicted, vocabulary] of the same states."""
        found: Tensor = self.head(self.hidden(x))
        return found

    def hidden(self, x: Tensor) -> Tensor:
        """float[n, predicted, dim]: what the head scores."""
        states = x[..., :-1]
        attention, last = self.layer.get_submodule("self_attn"), states[:, -self.predicted :]
        normed = self.layer.get_submodule("input_layernorm")(states)
        place = torch.arange(states.shape[1], device=x.device)
        cos, sin = self.rotary(states, place.unsqueeze(0))
        asked = place[-self.predicted :]
        query = self._by_head(attention.get_submodule("q_proj")(normed[:, asked]))
        key = self._by_head(attention.get_submodule("k_proj")(normed))
        value = self._by_head(attention.get_submodule("v_proj")(normed))
        query = _rotated(query, cos[:, asked], sin[:, asked])
        key = _rotated(key, cos, sin)
        groups = query.shape[1] // key.shape[1]  # query heads that share a key
        found = nn.functional.scaled_dot_product_attention(
            query,
            key.repeat_interleave(groups, dim=1),
            value.repeat_interleave(groups, dim=1),
            attn_mask=place <= asked.unsqueeze(1),
        )
        mixed = last + attention.get_submodule("o_proj")(found.transpose(1, 2).flatten(2))
        wide = self.layer.get_submodule("post_attention_layernorm")(mixed)
        out: Tensor = self.norm(mixed + self.layer.get_submodule("mlp")(wide))
        return out

    def _by_head(self, value: Tensor) -> Tensor:
        """float[n, heads, tokens, each]."""
        found: Tensor = value.unflatten(-1, (-1, self.each)).transpose(1, 2)
        return found


class _TokenLosses(torch.autograd.Function):
    """Cross-entropy of a frozen linear head; holds the scores of a few tokens at a time.

    The gradient is known as soon as the scores are, so it is computed with them and kept, which is
    a hundredth of what keeping the scores would take.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, y: Tensor) -> Tensor:
        """float[n] losses; arguments as `token_losses`."""
        learns, losses, gradients = ctx.needs_input_grad[0], [], []
        for states, label in zip(hidden.split(_TOKENS), y.split(_TOKENS), strict=True):
            scores = states @ weight.T
            scores.sub_(scores.amax(dim=1, keepdim=True))
            right = scores.gather(1, label.unsqueeze(1))
            total = scores.exp_().sum(dim=1, keepdim=True)
            losses.append((total.log() - right).squeeze(1))
            if learns:
                scores.div_(total)
                scores.scatter_add_(1, label.unsqueeze(1), -torch.ones_like(right))
                gradients.append(scores @ weight)
        if learns:
            ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient at the states."""
        (above,), (kept,) = gradients, ctx.saved_tensors
        return kept * above.unsqueeze(1), None, None


token_losses: Callable[[Tensor, Tensor, Tensor], Tensor] = _TokenLosses.apply
"""(hidden float[n, dim], weight float[vocabulary, dim], y int64[n]) -> float[n], nats."""


def causal_states_below(
    model: LanguageModel, tokens: Tensor, bar: Callable[[int, int], None] = lambda done, of: None
) -> Tensor:
    """What `LastDecoderLayer` takes: float32[n, tokens - 1, dim + 1] of int64[n, tokens].

    Args:
        model: causal, of the Llama family.
        tokens: pieces of text without padding; at least two tokens each.
        bar: is told how many batches are done, and of how many.

    Raises:
        ConfigError: another model, a padding token, or pieces that are too short.
    """
    _require(model)
    if tokens.shape[1] < 2 or bool((tokens == model.tokenizer.padding).any()):
        raise ConfigError(
            f"pieces need two tokens or more and no padding, but are {tokens.shape[1]} long"
        )
    body = model.module.get_submodule("model")
    found, count = [], ceil(len(tokens) / _BATCH)
    with torch.no_grad():
        for done, some in enumerate(tokens.split(_BATCH), start=1):
            states = body(
                input_ids=some[:, :-1], use_cache=False, output_hidden_states=True
            ).hidden_states[-2]
            found.append(torch.cat([states, some[:, 1:].unsqueeze(-1).to(states)], dim=-1))
            bar(done, count)
    return torch.cat(found)


def last_layer_causal(
    model: LanguageModel, *, predicted: int, rank: int, alpha: float, max_records: int = 256
) -> Adapters:
    """Adapters on queries and values of the last layer; train with `next_token_loss`.

    Nothing else is trained. "Logits" of the kernel are those of `language_kernels.causal`: the mean
    loss of each record, and how many tokens it predicts.

    Args:
        model: causal, of the Llama family.
        predicted: tokens of a record that are predicted, its last ones; fewer than it has.
        rank: of the factors.
        alpha: the term is scaled by alpha / rank.
        max_records: see `Adapters`.
    """
    _require(model)
    check.count(predicted=predicted)
    whole: Any = model.module
    body, config = whole.model, whole.config
    top = LastDecoderLayer(
        body.layers[-1],
        norm=body.norm,
        head=whole.lm_head,
        rotary=body.rotary_emb,
        each=int(body.layers[-1].self_attn.head_dim),
        predicted=predicted,
    )
    if whole.lm_head.bias is not None or int(config.vocab_size) > _EXACT:
        raise ConfigError(
            f"the head must have no bias and at most {_EXACT} tokens, but has "
            f"{int(config.vocab_size)} tokens{' and a bias' * (whole.lm_head.bias is not None)}"
        )
    return Adapters(
        encoder=top.eval(),
        targets=("q_proj", "v_proj"),
        rank=rank,
        alpha=alpha,
        head=Stacked((), (Identity(),)),
        max_records=max_records,
    )


def _rotated(value: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions of float[n, heads, tokens, each]. Source: Su et al., arXiv:2104.09864."""
    first, second = value.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return value * cos.unsqueeze(1) + turned * sin.unsqueeze(1)


def _require(model: LanguageModel) -> None:
    if model.kind != "causal" or model.family != _FAMILY:
        raise ConfigError(
            f"the last layer is taken from a causal model of family {_FAMILY!r}, but the model is "
            f"a {model.kind} of family {model.family!r}.\n  Use causal() for others."
        )

"""The last layer of a frozen text encoder, with adapters on it alone: a cheap federation.

What lies below that layer never changes, so each text passes it once; clients train on the states
that come out. The first token's state is what counts, so the others need no more than their keys
and values. A record then costs about a fortieth of what adapters on all layers of MiniLM cost.
"""

from collections.abc import Callable
from math import ceil

import torch
from torch import Tensor, nn

from ...accountant import check
from ...accountant.errors import ConfigError
from ..kernels.adapters import Adapters
from ..kernels.stacked import mlp
from .language import LanguageModel

_FAMILY = "bert"  # whose layers have these parts, under these names
_BATCH = 64


class LastLayer(nn.Module):
    """The first token's state after the last layer of a BERT encoder.

    Attributes:
        layer: of transformers; not copied.
        heads: of its attention.
    """

    def __init__(self, layer: nn.Module, heads: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        """float[n, dim] of float[n, tokens, dim + 1], states below and 1 for a real token."""
        mask, states = x[..., -1] > 0.0, x[..., :-1]
        first = states[:, :1]
        attention, own = (self.layer.get_submodule(f"attention{part}") for part in ("", ".self"))
        query = self._by_head(own.get_submodule("query")(first))
        key = self._by_head(own.get_submodule("key")(states))
        value = self._by_head(own.get_submodule("value")(states))
        found = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask[:, None, None, :]
        )
        # transformers adds the input of a sub-layer inside `output`.
        hidden = attention.get_submodule("output")(found.transpose(1, 2).flatten(2), first)
        wide = self.layer.get_submodule("intermediate")(hidden)
        out: Tensor = self.layer.get_submodule("output")(wide, hidden)[:, 0]
        return out

    def _by_head(self, value: Tensor) -> Tensor:
        """float[n, heads, tokens, each]."""
        found: Tensor = value.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return found


def states_below(
    model: LanguageModel, tokens: Tensor, bar: Callable[[int, int], None] = lambda done, of: None
) -> Tensor:
    """What `LastLayer` takes: float32[n, tokens, dim + 1] of int64[n, tokens].

    Args:
        model: a BERT encoder.
        tokens: padded at the end; every text needs one.
        bar: is told how many batches are done, and of how many.
    """
    _require(model)
    found, count = [], ceil(len(tokens) / _BATCH)
    with torch.no_grad():
        for done, some in enumerate(tokens.split(_BATCH), start=1):
            mask = some != model.tokenizer.padding
            states = model.module(
                input_ids=some, attention_mask=mask.long(), output_hidden_states=True
            ).hidden_states[-2]
            found.append(torch.cat([states, mask.unsqueeze(-1).to(states)], dim=-1))
            bar(done, count)
    return torch.cat(found)


def last_layer_classifier(
    model: LanguageModel, *, classes: int, rank: int, alpha: float, max_records: int = 256
) -> Adapters:
    """Adapters on query and value of the last layer, and a linear head on the first token's state.

    Args:
        model: a BERT encoder.
        classes: >= 2.
        rank: of the factors.
        alpha: the term is scaled by alpha / rank.
        max_records: see `Adapters`.
    """
    _require(model)
    check.count(classes=classes)
    layer = model.module.get_submodule("encoder.layer")[-1]  # type: ignore[index]
    heads = int(model.module.config.num_attention_heads)  # type: ignore[union-attr, arg-type]
    return Adapters(
        encoder=LastLayer(layer, heads).eval(),
        targets=("query", "value"),
        rank=rank,
        alpha=alpha,
        head=mlp((model.dimension, classes)),
        max_records=max_records,
    )


def _require(model: LanguageModel) -> None:
    if model.kind != "encoder" or model.family != _FAMILY:
        raise ConfigError(
            f"the last layer is taken from an encoder of family {_FAMILY!r}, but the model is a "
            f"{model.kind} of family {model.family!r}.\n  Use classifier() for others."
        )

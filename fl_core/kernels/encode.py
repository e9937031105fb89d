"""How a frozen encoder is called on the folded batch of all rows."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...accountant import check

Encode = Callable[[nn.Module, Tensor], Tensor]
"""(encoder, x[n, ...]) -> float[n, dim]: how the encoder is called; each record alone."""


def call(encoder: nn.Module, x: Tensor) -> Tensor:
    """The encoder returns float[n, dim] itself."""
    found: Tensor = encoder(x)
    return found


def token_features(padding: int, pool: str) -> Encode:
    """How to call a transformers text model on int64[n, tokens], padded at the end or the front.

    Args:
        padding: token that is no token; it is masked. Every record needs at least one other.
        pool: "first" token (BERT), "last" token (decoders) or "mean" of all.

    Raises:
        ParameterError: another pool.
    """
    check.one_of(("first", "last", "mean"), pool=pool)

    def encode(encoder: nn.Module, x: Tensor) -> Tensor:
        mask = x != padding
        hidden: Tensor = encoder(input_ids=x, attention_mask=mask.long()).last_hidden_state
        if pool == "mean":
            # An empty record has no mean; a record of zeros does no harm.
            inside = mask.unsqueeze(-1).to(hidden)
            return (hidden * inside).sum(dim=1) / inside.sum(dim=1).clamp(min=1.0)
        place = torch.arange(x.shape[1], device=x.device).expand_as(x)
        if pool == "first":
            at = place.masked_fill(~mask, x.shape[1] - 1).amin(dim=1)
        else:
            at = place.masked_fill(~mask, 0).amax(dim=1)
        return hidden[torch.arange(len(x), device=x.device), at]

    return encode

"""Ask models about texts: a frozen language model with one adapter per row, all rows at once.

The records of all rows pass the frozen model in blocks of the kernel's `max_records`, and what is
kept of a record is a few numbers per token: never more than one record's float[tokens, vocabulary]
beside the block's own output.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ...accountant import check
from ...accountant.errors import DesignError
from ...fl_core.kernels.adapters import Adapters
from ...fl_core.kernels.base import Params
from ...fl_core.kernels.encode import Encode
from ...fl_core.models.language import LanguageModel
from .view import TokenScores


def token_scores(
    model: LanguageModel,
    kernel: Adapters,
    params: Params,
    x: Tensor,
    *,
    moments: bool = False,
    prefix: int = 0,
) -> TokenScores:
    """What every row's model says about the same tokens. Without gradients.

    Args:
        model: of kind "causal".
        kernel: made for it by `language_kernels.causal`.
        params: float[models, ...] each, on the kernel's device; `base_model` is the model without
            an adapter.
        x: int64[texts, tokens], padded at the end.
        moments: mean and standard deviation over the vocabulary too, for min-k++; about twice the
            time on a small model.
        prefix: so many tokens come before each text; what is scored starts after the text's own
            first token, so that the positions are those of the text alone.

    Returns:
        Scores on the CPU.

    Raises:
        DesignError: model and kernel do not belong together, or a text has fewer than two tokens.
    """
    padding = tokens_fit(model, kernel, x)
    check.whole(prefix=prefix)
    found = ask(kernel, params, x, _statistics(padding, moments))
    values = found.unflatten(2, (-1, x.shape[1] - 1))[..., prefix:]
    mask = (x != padding).cpu()
    return TokenScores(
        logp=values[:, :, 0].contiguous(),
        inside=(mask[:, 1:] & mask[:, :-1])[:, prefix:].contiguous(),
        greedy=values[:, :, 1] > 0.5,
        mean=values[:, :, 2].contiguous() if moments else None,
        sd=values[:, :, 3].contiguous() if moments else None,
    )


def text_scores(
    model: LanguageModel,
    kernel: Adapters,
    params: Params,
    texts: Sequence[str],
    *,
    length: int,
    moments: bool = False,
) -> TokenScores:
    """`token_scores` of texts of at most `length` tokens; the view holds the texts as well.

    Raises:
        DesignError: as there, or a text is longer: what would be cut is in the text that the
            attack reads, but not in the score.
    """
    check.count(length=length)
    x = model.tokenizer.encode(texts, length + 1)
    cut = torch.nonzero(x[:, length] != model.tokenizer.padding).flatten().tolist()
    if cut:
        raise DesignError(f"text {cut[0]} has more than {length} tokens; cut it before, or give it")
    device = next(iter(params.values())).device
    found = token_scores(model, kernel, params, x[:, :length].to(device), moments=moments)
    return replace(found, texts=tuple(texts))


def base_model(kernel: Adapters, *, device: torch.device | str = "cpu") -> Params:
    """One row without adapter: the public model, the reference that everybody has for free."""
    return {name: torch.zeros(1, *shape, device=device) for name, shape in kernel.shapes().items()}


def ask(kernel: Adapters, params: Params, x: Tensor, encode: Encode) -> Tensor:
    """float64[models, texts, dim] on the CPU: `encode` of every row's model and every text."""
    rows = len(next(iter(params.values())))
    asked = replace(kernel, encode=encode)
    # The head of a causal kernel is the identity: its logits are what `encode` gives.
    return asked.outputs(params, x.unsqueeze(0).expand(rows, -1, -1)).logits.cpu().double()


def tokens_fit(model: LanguageModel, kernel: Adapters, x: Tensor) -> int:
    """The padding token, if the three belong together.

    Raises:
        DesignError: they do not.
    """
    if model.kind != "causal" or kernel.encoder is not model.module or kernel.head.shapes():
        raise DesignError(
            "the kernel must be made for this causal model: use language_kernels.causal(model, ...)"
        )
    if x.ndim != 2 or x.dtype != torch.int64:
        raise DesignError(f"x must be int64[texts, tokens], but is {x.dtype}{list(x.shape)}")
    mask = x != model.tokenizer.padding
    # Padding elsewhere would shift positions, and masked tokens would still count as context.
    if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise DesignError("texts must be padded at the end, but one has padding before a token")
    return model.tokenizer.padding


def _statistics(padding: int, moments: bool) -> Encode:
    """int64[n, tokens] to float[n, k (tokens - 1)]: logp, greedy, and mean and sd if asked for."""

    def encode(module: nn.Module, x: Tensor) -> Tensor:
        mask = (x != padding).long()
        logits = module(input_ids=x, attention_mask=mask, use_cache=False).logits
        # One record at a time: what is computed from its logits stays small.
        return torch.stack(
            [_of_record(each[:-1], own[1:], moments) for each, own in zip(logits, x, strict=True)]
        ).flatten(1)

    return encode


def _of_record(logits: Tensor, tokens: Tensor, moments: bool) -> Tensor:
    """float[k, tokens] of float[tokens, vocabulary] and int64[tokens]."""
    each = logits.float().log_softmax(dim=-1)
    own = each.gather(1, tokens.unsqueeze(1)).squeeze(1)
    found = [own, (each.argmax(dim=1) == tokens).to(own)]
    if moments:
        chance = each.exp()
        mean = (chance * each).sum(dim=1)
        # Two passes: the mean of squares minus the squared mean cancels where one token is sure.
        variance = each.sub_(mean.unsqueeze(1)).square_().mul_(chance).sum(dim=1)
        found += [mean, variance.sqrt()]
    return torch.stack(found)

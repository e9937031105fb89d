"""Low-rank adapters on language models: classifiers of texts, and causal models.

All clients share one frozen model; the adapters are rows of a tensor (`kernels/adapters.py`).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ...accountant.errors import ConfigError
from ..kernels.adapters import Adapters
from ..kernels.base import Context, Outputs, Params
from ..kernels.encode import Encode, token_features
from ..kernels.layers import Factors
from ..kernels.stacked import Stacked, mlp
from .language import Kind, LanguageModel

_TARGETS = {
    "bert": ("query", "value"),
    "roberta": ("query", "value"),
    "electra": ("query", "value"),
    "distilbert": ("q_lin", "v_lin"),
    "llama": ("q_proj", "v_proj"),
    "mistral": ("q_proj", "v_proj"),
    "qwen2": ("q_proj", "v_proj"),
    "qwen3": ("q_proj", "v_proj"),
    "gemma": ("q_proj", "v_proj"),
    "gemma2": ("q_proj", "v_proj"),
    "opt": ("q_proj", "v_proj"),
    "gpt_neox": ("query_key_value",),
}


def classifier(
    model: LanguageModel,
    *,
    classes: int,
    rank: int,
    alpha: float,
    targets: tuple[str, ...] | str | None = None,
    pool: Literal["first", "last", "mean"] = "mean",
    max_records: int = 256,
    bfloat16: bool = False,
) -> Adapters:
    """Adapters on an encoder and a linear head on its pooled states.

    Args:
        model: of kind "encoder".
        classes: >= 2.
        rank: of the factors.
        alpha: the term is scaled by alpha / rank.
        targets: as peft's target_modules; those usual for the model's family if not given.
        pool: see `token_features`.
        max_records: see `Adapters`.
        bfloat16: see `Adapters`.
    """
    _require(model, "encoder")
    if classes < 2:
        raise ConfigError(f"a classifier needs at least 2 classes, but is asked for {classes}")
    return Adapters(
        encoder=model.module,
        targets=_targets(model) if targets is None else targets,
        rank=rank,
        alpha=alpha,
        head=mlp((model.dimension, classes)),
        encode=token_features(model.tokenizer.padding, pool),
        max_records=max_records,
        bfloat16=bfloat16,
    )


def causal(
    model: LanguageModel,
    *,
    rank: int,
    alpha: float,
    targets: tuple[str, ...] | str | None = None,
    max_records: int = 16,
    bfloat16: bool = False,
) -> Adapters:
    """Adapters on a causal model; train with `next_token_loss`.

    What the kernel calls logits is float[rows, batch, 2]: each record's mean loss and its number
    of predicted tokens. So losses, clips and noise are by record, as everywhere.

    Args:
        model: of kind "causal".
        rank: of the factors.
        alpha: the term is scaled by alpha / rank.
        targets: as peft's target_modules; those usual for the model's family if not given.
        max_records: see `Adapters`; each holds float[tokens, vocabulary].
        bfloat16: see `Adapters`.
    """
    _require(model, "causal")
    return Adapters(
        encoder=model.module,
        targets=_targets(model) if targets is None else targets,
        rank=rank,
        alpha=alpha,
        head=Stacked((), (Identity(),)),
        encode=_token_losses(model.tokenizer.padding),
        max_records=max_records,
        bfloat16=bfloat16,
    )


def next_token_loss(outputs: Outputs, y: Tensor, context: Context) -> Tensor:
    """float[rows, batch]: each record's mean loss of its tokens, of a kernel made by `causal`."""
    return outputs.logits[..., 0]


def perplexity(kernel: Adapters, params: Params, x: Tensor) -> float:
    """Exponential of the mean loss per token over all records.

    Args:
        kernel: made by `causal`.
        params: float[1, ...] each.
        x: int64[n, tokens].

    Raises:
        ConfigError: no record has two tokens.
    """
    outputs = kernel.outputs(params, x.unsqueeze(0)).logits[0].double()
    tokens = float(outputs[:, 1].sum())
    if tokens == 0.0:
        raise ConfigError("no record has two tokens, so nothing is predicted")
    return math.exp(float((outputs[:, 0] * outputs[:, 1]).sum()) / tokens)


@dataclass(frozen=True)
class Identity:
    """A head that changes nothing and trains nothing: the model's own output is what counts."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """None."""
        return {}

    def forward(self, params: Params, x: Tensor) -> tuple[Tensor, Tensor]:
        """The input twice."""
        return x, x

    def backward(
        self,
        params: Params,
        x: Tensor,
        saved: Tensor,
        gradient: Tensor,
        found: dict[str, Factors],
        *,
        needs_input: bool,
    ) -> Tensor | None:
        """See `Layer`."""
        return gradient if needs_input else None


def _token_losses(padding: int) -> Encode:
    """int64[n, tokens] to float[n, 2]: mean loss of tokens after the first, and their number."""

    def encode(module: nn.Module, x: Tensor) -> Tensor:
        mask = x != padding
        logits = module(input_ids=x, attention_mask=mask.long(), use_cache=False).logits
        inside = mask[:, 1:] & mask[:, :-1]
        each = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().transpose(1, 2), x[:, 1:], reduction="none"
        )
        count = inside.sum(dim=1).to(each)
        total = torch.where(inside, each, 0.0).sum(dim=1)
        return torch.stack([total / count.clamp(min=1.0), count], dim=1)

    return encode


def _require(model: LanguageModel, kind: Kind) -> None:
    if model.kind != kind:
        raise ConfigError(f"the model must be of kind {kind!r}, but is {model.kind!r}")


def _targets(model: LanguageModel) -> tuple[str, ...]:
    if model.family not in _TARGETS:
        raise ConfigError(
            f"no layers are known to adapt in a model of family {model.family!r}. Give targets, "
            "as peft's target_modules."
        )
    return _TARGETS[model.family]

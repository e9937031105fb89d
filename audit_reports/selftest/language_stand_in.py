"""A stand-in for a public language model: a Llama of a hundred thousand weights that reads bytes.

It is trained from scratch for a few seconds on some of Shakespeare's plays; adapters are tuned on
short pieces of the others. It knows spelling and little else. What holds for attacks on it (that
they work, and stay below what is proven) says nothing about how well they work on a large model:
`benchmarks/language_attacks.py` measures that.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...attacks.language.new_token_canary import new_token_canaries, unused_tokens
from ...fl_core.counters import Counter
from ...fl_core.kernels.adapters import Adapters
from ...fl_core.kernels.base import Params, flatten, unflatten
from ...fl_core.models.language import LanguageModel
from ...fl_core.models.language_kernels import causal, next_token_loss
from ...fl_core.models.language_tokens import byte_tokenizer
from ...fl_core.optimizers import AdamW
from ...fl_core.simulate import one_thread
from ...mechanisms.base import SeededKey
from ...mechanisms.lora import JointDeltaUpload

LABEL = "adapters of a tiny Llama on bytes"
LENGTH = 32  # bytes of a text
_WIDTH, _LAYERS, _STEPS, _BATCH = 64, 2, 150, 24
_CLIP = 0.01  # of an upload; so short a step that the loss is nearly linear in it
_TARGETS = ("q_proj", "v_proj", "o_proj", "up_proj", "down_proj")


class StandIn(NamedTuple):
    """The public model and texts that it has not seen.

    Attributes:
        model: the frozen base.
        kernel: adapters on it.
        texts: distinct pieces of at most LENGTH bytes, whole words, of other plays.
    """

    model: LanguageModel
    kernel: Adapters
    texts: tuple[str, ...]


@functools.cache
def stand_in() -> StandIn:
    """The same in every process.

    Raises:
        AssetError: asset shakespeare is missing.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    from ...fl_core.data.text import load_shakespeare

    pool = load_shakespeare(by="play", min_characters=2 * LENGTH)
    public = " ".join(t for t, play in zip(pool.texts, pool.y, strict=True) if play % 2 == 0)
    pieces = [_piece(t) for t, play in zip(pool.texts, pool.y, strict=True) if play % 2]
    make: Any = LlamaForCausalLM  # has no annotations
    with torch.random.fork_rng(devices=[]):  # the weights are drawn from torch's own stream
        torch.manual_seed(0)
        module = make(
            LlamaConfig(
                vocab_size=257,
                hidden_size=_WIDTH,
                num_hidden_layers=_LAYERS,
                num_attention_heads=4,
                intermediate_size=2 * _WIDTH,
                max_position_embeddings=4 * LENGTH,
            )
        )
    tokenizer = byte_tokenizer()
    with one_thread():  # sums in another order would give another model
        _pretrain(module, torch.tensor(tokenizer.split([public], 1_000_000)[0]))
    model = LanguageModel(
        kind="causal",
        family="llama",
        module=module.eval().requires_grad_(False),
        tokenizer=tokenizer,
        dimension=_WIDTH,
        origin="trained from scratch on Shakespeare for a few seconds",
        sha256="",
    )
    kernel = causal(model, rank=8, alpha=16.0, targets=_TARGETS, max_records=512)
    return StandIn(model, kernel, tuple(sorted(set(pieces))))


def draw_texts(count: int, generator: np.random.Generator) -> list[str]:
    """Distinct texts that the base has not seen."""
    texts = stand_in().texts
    return [texts[place] for place in generator.choice(len(texts), count, replace=False)]


def draw_canaries(count: int, length: int, generator: np.random.Generator) -> Tensor:
    """int64[count, length + 1]: texts of `length` tokens, then one that is new to the model."""
    tokenizer = stand_in().model.tokenizer
    x = tokenizer.encode(draw_texts(count, generator), length)
    # Texts are plain letters, so half of the bytes are new to the model.
    free = unused_tokens(torch.arange(129), vocabulary=tokenizer.size, padding=tokenizer.padding)
    tokens = torch.from_numpy(generator.permutation(free.numpy())[:count])
    return new_token_canaries(x, tokens, padding=tokenizer.padding)


def fresh_adapters(rows: int, key: SeededKey) -> Params:
    """Adapters as training starts: each row its own A, B zero."""
    number = torch.arange(rows)
    return stand_in().kernel.initial(Counter.of(key, "adapters"), number, number * 0)


def tuned(x: Tensor, weights: Tensor, *, steps: int, key: SeededKey) -> Params:
    """One adapter per row, tuned without protection: AdamW on whole batches.

    Args:
        x: int64[rows, n, tokens].
        weights: float[rows, n], of each text in its row; 0 is a text that is not there.
        steps: of the optimiser.
        key: of the first adapters.
    """
    params = fresh_adapters(len(x), key)
    optimizer = AdamW(learning_rate=1e-2, like=params, weight_decay=0.0)
    labels = torch.zeros(x.shape[:2], dtype=torch.int64)
    for _ in range(steps):
        gradients = stand_in().kernel.gradients(params, x, labels, weights, next_token_loss, {})
        optimizer.update(params, gradients, slice(None))
    return params


def uploads(x: Tensor, which: Tensor, *, mu: float, key: SeededKey) -> Params:
    """Adapters after one noisy upload of a client with one text or with none.

    The client's change is one step down the loss of its text, clipped; its noise is that of
    `JointDeltaUpload`, so emptying the client's data costs exactly `mu`.

    Args:
        x: int64[texts, tokens].
        which: int64[trials], the text of each trial's client; -1 is a client without data.
        mu: of one upload.
        key: of the first adapter and of the noise.
    """
    first, steps = _first_and_steps(x, key)
    steps = torch.cat([steps, torch.zeros_like(steps[:1])])
    mechanism = JointDeltaUpload(clip_norm=_CLIP, noise_multiplier=1.0 / mu)
    sent = mechanism.release(steps[which], key.child("noise"))
    return unflatten((first + sent).float(), stand_in().kernel.shapes())


def uploads_without_noise(x: Tensor, *, key: SeededKey) -> Params:
    """Adapters after each text's own upload, as whoever knows the recipe and the start makes them.

    Args:
        x: int64[texts, tokens].
        key: of the first adapter, that of `uploads`.
    """
    first, steps = _first_and_steps(x, key)
    clipped = JointDeltaUpload(clip_norm=_CLIP, noise_multiplier=1.0).contribution(steps)
    return unflatten((first + clipped).float(), stand_in().kernel.shapes())


def _first_and_steps(x: Tensor, key: SeededKey) -> tuple[Tensor, Tensor]:
    """float64[1, dim] and [texts, dim]: the first adapter, one step so long that it is clipped."""
    kernel, first = stand_in().kernel, fresh_adapters(1, key)
    start = {name: value.expand(len(x), *value.shape[1:]) for name, value in first.items()}
    labels, one = torch.zeros(len(x), 1, dtype=torch.int64), torch.ones(len(x), 1)
    gradients = kernel.gradients(start, x.unsqueeze(1), labels, one, next_token_loss, {})
    return flatten(first).double(), -1e3 * flatten(gradients).double()


def _pretrain(module: torch.nn.Module, stream: Tensor) -> None:
    """Next tokens of random windows of int64[n]."""
    draw = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(module.parameters(), lr=5e-3)
    for _ in range(_STEPS):
        at = torch.randint(len(stream) - LENGTH, (_BATCH, 1), generator=draw)
        x = stream[at + torch.arange(LENGTH)]
        loss = module(input_ids=x, labels=x, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _piece(text: str) -> str:
    """The first whole words of at most LENGTH bytes, of a text of plain letters."""
    start = text.encode("ascii", "ignore").decode()[: LENGTH + 1]
    return start[: start.rfind(" ")] if " " in start else start[:LENGTH]

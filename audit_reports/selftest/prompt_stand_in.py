"""A stand-in for CLIP of a few thousand weights: scikit-learn's digits and their names.

A frozen random transformer layer reads words; one ridge regression on public pairs puts its
features into the space of the pictures (as `fl_core.models.devise` does with real encoders). It
exercises prompt learning and its attacks in milliseconds and says nothing about CLIP.
"""

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...attacks.prompts.released import Released
from ...fl_core.clients import ClientData
from ...fl_core.counters import Counter
from ...fl_core.kernels.base import Params, cross_entropy
from ...fl_core.kernels.prompts import Prompts, one_context
from ...fl_core.models.devise import RidgeMap, ridge_map
from ...fl_core.models.text_tower import TextTower
from ...fl_core.optimizers import AdamW
from ...fl_core.plan import steps
from ...fl_core.training import train
from ...mechanisms.base import SeededKey
from ...mechanisms.clipping import Clip

LABEL = "random stand-in encoder"
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS = (
    "a", "an", "the", "photo", "picture", "drawing", "scan", "of", "digit", "number", "written",
    "printed", "small", "large", "dark", "light", "thin", "thick", "old", "new", "left", "right",
    "blue", "red", "clean", "noisy", "paper", "ink", "pen", "hand", "letter", "post", "code",
    "house", "child", "school", "bank", "form", "street", "city", "north", "south", "east", "west",
    "cat", "dog", "ship", "shoe", "bag", "coat", "shirt",
)  # fmt: skip
LENGTH, WIDTH, PLACES, SCALE = 4, 32, 64, 20.0
REACH = 4.0  # clip norm of a change of a prompt, and of a word, in the bounded runs
_BEGIN, _END, _STOP = 0, 1, 2
_SPOIL = 4.0  # of the public pairs: leaves the hand prompt room to be tuned


class _Layer(nn.Module):
    """One attention head, then a bottleneck: the context changes each class in its own way."""

    query: Tensor
    key: Tensor
    value: Tensor
    out: Tensor
    wide: Tensor

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        for name, size in (("query", WIDTH), ("key", WIDTH), ("value", WIDTH), ("out", WIDTH),
                           ("wide", PLACES)):  # fmt: skip
            weight = torch.randn(WIDTH, size, generator=generator) / math.sqrt(WIDTH)
            self.register_buffer(name, weight)

    def forward(self, embeds: Tensor, real: Tensor) -> Tensor:
        """float[n, PLACES] of float[n, tokens, WIDTH] and bool[n, tokens]."""
        weights = (embeds @ self.query) @ (embeds @ self.key).mT / math.sqrt(WIDTH)
        weights = weights.masked_fill(~real.unsqueeze(1), float("-inf")).softmax(dim=-1)
        hidden = torch.tanh(embeds + weights @ (embeds @ self.value) @ self.out)
        inside = real.unsqueeze(-1).to(hidden)
        return torch.tanh(2.0 * ((hidden * inside).sum(dim=1) / inside.sum(dim=1)) @ self.wide)


class StandIn(NamedTuple):
    """The encoder and its data.

    Attributes:
        tower: reads words.
        kernel: prompts of LENGTH vectors for the ten names.
        x, y: float32[1797, 64], int64[1797]: pictures in the common space, and their digits.
    """

    tower: TextTower
    kernel: Prompts
    x: Tensor
    y: Tensor


def _tokens(text: str) -> list[int]:
    words = ("", "", ".", *NAMES, *WORDS)
    ids = [words.index(word) for word in text.replace(".", " .").split()]
    return [_BEGIN, *ids, _END]


@functools.cache
def stand_in() -> StandIn:
    """The same in every process."""
    from sklearn.datasets import load_digits

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(20261121)
    layer = _Layer(generator).eval()
    embedding = torch.randn(3 + len(NAMES) + len(WORDS), WIDTH, generator=generator)
    pixels, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(pixels).float() / 16.0
    y = torch.from_numpy(labels).long()
    x = x - x.mean(dim=0)
    means = torch.stack([x[y == digit].mean(dim=0) for digit in range(len(NAMES))])
    spoiled = means + _SPOIL * means.std() * torch.randn(means.shape, generator=generator)

    def plain(names: tuple[str, ...]) -> Tensor:
        ids = [_tokens(name) for name in names]
        real = torch.ones(len(ids), len(ids[0]), dtype=torch.bool)
        with torch.no_grad():
            found: Tensor = layer(embedding[torch.tensor(ids)], real)
        return found

    into: RidgeMap = ridge_map(
        plain(tuple(f"a photo of a {name}." for name in NAMES)), spoiled, ridge=0.1
    )
    tower = TextTower(
        module=layer,
        embedding=embedding,
        encode=lambda embeds, real: (layer(embeds, real) - into.centre) @ into.matrix,
        tokens=_tokens,
        dimension=PLACES,
    )
    return StandIn(tower, kernel_of(tower, NAMES), x, y)


def kernel_of(tower: TextTower, names: tuple[str, ...]) -> Prompts:
    """Prompts that begin as "a photo of a", for these classes."""
    return Prompts(
        text=tower.classes(names, length=LENGTH),
        form=one_context(LENGTH, WIDTH),
        scale=SCALE,
        start={"context": tower.words("a photo of a")},
        max_sequences=4096,
    )


def tuned(
    kernel: Prompts,
    x: Tensor,
    y: Tensor,
    index: Tensor,
    *,
    epochs: int,
    rate: float,
    key: SeededKey,
    first: Tensor | None = None,
) -> Params:
    """Prompts of many rows, each trained on its own records alone: AdamW on whole batches.

    Args:
        kernel: of the prompts.
        x: float[records, dim].
        y: int64[records].
        index: int64[rows, n], the records of each row.
        epochs: steps.
        rate: of AdamW.
        key: of the run.
        first: float[rows, LENGTH, WIDTH], contexts to begin with; default the kernel's.
    """
    rows = torch.arange(len(index))
    params = (
        kernel.initial(Counter.of(key, "first"), rows, rows * 0)
        if first is None
        else {"context": first.clone()}
    )
    data = ClientData.of(x, y, index.tolist(), virtual=True)

    def order(data: ClientData, epoch: int) -> Tensor:
        return torch.arange(index.shape[1]).expand(len(data), -1)

    plan = steps(data, epochs=epochs, batch_size=index.shape[1], order=order)
    optimizer = AdamW(rate, params, weight_decay=0.0)
    train(kernel, params, data, plan, loss=cross_entropy, optimizer=optimizer)
    return params


def untouched() -> Released:
    """The hand prompt, "a photo of a"."""
    world = stand_in()
    return Released(
        kernel=world.kernel, prompts={"context": world.tower.words("a photo of a")[None]}
    )


def drawn(seed: int, purpose: int) -> torch.Generator:
    """A stream for one purpose of one control."""
    return torch.Generator().manual_seed(seed * 100 + purpose)


def subsets(draw: torch.Generator, rows: int, among: int, size: int) -> Tensor:
    """bool[rows, among], `size` of each row at random."""
    order = torch.rand(rows, among, generator=draw).argsort(dim=1)
    return torch.zeros(rows, among, dtype=torch.bool).scatter_(1, order[:, :size], True)


def chosen(pool: Tensor, member: Tensor) -> Tensor:
    """int64[rows, size]: the records of each row of bool[rows, len(pool)]."""
    return torch.stack([pool[row] for row in member])


def clipped(rows: Tensor) -> Tensor:
    """float[n, dim], each of norm at most `REACH`: what a client adds in the bounded runs."""
    return Clip(joint_norm=REACH).apply(rows)

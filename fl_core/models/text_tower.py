"""Frozen text encoders that take token embeddings, and class names with room for a soft prompt.

A prompt is `begin, context, class name, ".", end`; the context is what clients learn, everything
else is frozen and public. Class names are tokenised once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...accountant import check
from ...accountant.errors import ConfigError

Encode = Callable[[Tensor, Tensor], Tensor]
"""(float[n, tokens, width], bool[n, tokens]: real tokens first) -> float[n, dim], each alone."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TextTower:
    """A frozen text encoder.

    Attributes:
        module: what computes; frozen and in evaluation mode.
        embedding: float[vocabulary, width].
        encode: how it is called.
        tokens: text -> token numbers, one that begins first and one that ends last.
        dimension: of a text feature.

    Raises:
        ConfigError: the module is in training mode, or has parameters that need gradients.
    """

    module: nn.Module
    embedding: Tensor
    encode: Encode
    tokens: Callable[[str], list[int]]
    dimension: int

    def __post_init__(self) -> None:
        if any(part.training for part in self.module.modules()):
            raise ConfigError(
                "the text encoder is in training mode: dropout would draw from torch's own stream. "
                "Call eval() on it."
            )
        if any(value.requires_grad for value in self.module.parameters()):
            raise ConfigError(
                "the text encoder must be frozen, but some of its parameters need gradients. Call "
                "requires_grad_(False) on it."
            )

    @property
    def width(self) -> int:
        """Of a token's embedding."""
        return self.embedding.shape[1]

    def words(self, text: str) -> Tensor:
        """float[tokens, width]: a context of real words, such as "a photo of a"."""
        return self.embedding[torch.tensor(self._inner(text), device=self.embedding.device)]

    def classes(self, names: Sequence[str], *, length: int) -> "ClassText":
        """The prompts of these classes with room for `length` context vectors.

        Raises:
            ConfigError: no names, or two that are the same tokens.
        """
        check.count(length=length)
        ids = [self._inner(f"{name}.") for name in names]
        if not ids or len({tuple(each) for each in ids}) < len(ids):
            raise ConfigError(f"class names must differ in their tokens, but are {list(names)}")
        frame = self.tokens(f"{names[0]}.")
        begin, end = frame[0], frame[-1]
        longest = max(map(len, ids))
        rest = torch.tensor([[*each, end] + [end] * (longest - len(each)) for each in ids])
        sizes = torch.tensor([1 + length + len(each) + 1 for each in ids])
        real = torch.arange(1 + length + longest + 1) < sizes.unsqueeze(1)
        device = self.embedding.device
        return ClassText(
            tower=self,
            names=tuple(names),
            length=length,
            begin=self.embedding[torch.tensor([begin], device=device)],
            rest=self.embedding[rest.to(device)],
            real=real.to(device),
        )

    def _inner(self, text: str) -> list[int]:
        """Without the tokens that begin and end."""
        found = self.tokens(text)[1:-1]
        if not found:
            raise ConfigError(f"{text!r} has no tokens; give other words")
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassText:
    """Class names as frozen embeddings around an empty context.

    Attributes:
        tower: the encoder.
        names: of the classes.
        length: context vectors.
        begin: float[1, width].
        rest: float[classes, tokens, width]: name, full stop, end, padding.
        real: bool[classes, 1 + length + tokens].
    """

    tower: TextTower
    names: tuple[str, ...]
    length: int
    begin: Tensor
    rest: Tensor
    real: Tensor

    def features(self, contexts: Tensor) -> Tensor:
        """float[n, classes, dim], each of length 1, of float[n, length, width]; differentiable.

        All n * classes sequences pass the encoder as one batch.
        """
        n, classes = len(contexts), len(self.rest)
        sequences = torch.cat(
            [
                self.begin.expand(n, classes, -1, -1),
                contexts.unsqueeze(1).expand(-1, classes, -1, -1),
                self.rest.expand(n, -1, -1, -1),
            ],
            dim=2,
        )
        real = self.real.expand(n, -1, -1).flatten(0, 1)
        found = self.tower.encode(sequences.flatten(0, 1), real)
        return torch.nn.functional.normalize(found, dim=-1).view(n, classes, -1)

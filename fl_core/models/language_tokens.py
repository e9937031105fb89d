"""Texts as rows of token numbers of one length: cut at the end, padded at the end."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ConfigError

_BYTES = 256


Split = Callable[[Sequence[str], int], list[list[int]]]
"""(texts, length) -> for each at most `length` token numbers, without padding."""


class Tokenizer(NamedTuple):
    """How a model's texts become tokens.

    Attributes:
        split: texts to token numbers.
        padding: the number that fills a row and is masked; no token of a text.
        size: numbers lie in 0 .. size - 1.
    """

    split: Split
    padding: int
    size: int

    def encode(self, texts: Sequence[str], length: int) -> Tensor:
        """int64[n, length]: the first `length` tokens of each text, then padding.

        Raises:
            ConfigError: a text holds the padding token itself, which would be masked.
        """
        check.count(length=length)
        rows = self.split(list(texts), length)
        found = torch.full((len(rows), length), self.padding, dtype=torch.int64)
        for place, row in enumerate(rows):
            if self.padding in row:
                raise ConfigError(
                    f"text {place} holds the padding token {self.padding}, which is masked. Leave "
                    "the text out, or take that token out of it."
                )
            found[place, : len(row)] = torch.tensor(row, dtype=torch.int64)
        return found


def byte_tokenizer() -> Tokenizer:
    """The bytes of a text, each plus one; 0 is padding. For models that were trained on it.

    >>> byte_tokenizer().encode(["ab", "é"], 3).tolist()
    [[98, 99, 0], [196, 170, 0]]
    """

    def split(texts: Sequence[str], length: int) -> list[list[int]]:
        return [[byte + 1 for byte in text.encode()[:length]] for text in texts]

    return Tokenizer(split, padding=0, size=_BYTES + 1)


def own_tokenizer(loaded: Any) -> Tokenizer:
    """That of a loaded transformers tokenizer.

    Raises:
        ConfigError: it has no padding token.
    """
    padding = loaded.pad_token_id
    if padding is None:
        raise ConfigError(
            "the model's tokenizer has no padding token, but records of one length are needed. Set "
            "pad_token in its tokenizer_config.json to a token that no text holds."
        )

    def split(texts: Sequence[str], length: int) -> list[list[int]]:
        if not texts:
            return []
        found = loaded(list(texts), truncation=True, max_length=length, padding=False)
        return [list(map(int, row)) for row in found["input_ids"]]

    return Tokenizer(split, padding=int(padding), size=len(loaded))

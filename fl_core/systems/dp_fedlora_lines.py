"""Lines of a DP-FedLoRA comparison: a client is a speaker of a play; each seed splits them anew."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...accountant.errors import ConfigError
from ...mechanisms.base import Key
from ..data.text import TextPool, load_shakespeare
from ..models.language_tokens import Tokenizer
from .dp_fedlora import DataSection
from .dp_fedlora_records import Reported, Split

REPORTED = (
    Reported("log-loss", "log-loss", "own"),
    Reported("neighbour log-loss", "log-loss", "others"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Lines:
    """Pieces of lines, as many of each speaker.

    Attributes:
        tokens: int64[pieces, length], no two the same, without padding; speaker by speaker.
        speaker: int64[pieces].
        sha256: of the texts that they were cut from.
    """

    tokens: Tensor
    speaker: Tensor
    sha256: str

    def __len__(self) -> int:
        return len(self.tokens)


def load(section: DataSection, tokenizer: Tokenizer, length: int) -> Lines:
    """Pieces of the lines of speakers that are drawn from all who have enough to say.

    Args:
        section: of shakespeare: sizes.
        tokenizer: of the model.
        length: tokens of a piece.

    Raises:
        AssetError: the asset is missing. ConfigError: too few speakers have so many lines.
    """
    return cut(load_shakespeare(), section, tokenizer, length)


def cut(pool: TextPool, section: DataSection, tokenizer: Tokenizer, length: int) -> Lines:
    """As `load`, of any texts with authors."""
    wanted, rng = section.train_each + section.test_each, np.random.default_rng(section.seed)
    found: list[Tensor] = []
    seen: set[tuple[int, ...]] = set()
    for mine in _by_author(pool, rng):
        pieces = _pieces(tokenizer, [pool.texts[text] for text in mine], length)
        fresh = [piece for piece in dict.fromkeys(pieces) if piece not in seen]
        if len(fresh) < wanted:
            continue
        taken = [fresh[place] for place in rng.permutation(len(fresh))[:wanted]]
        seen.update(taken)
        found.append(torch.tensor(taken, dtype=torch.int64))
        if len(found) == section.clients:
            break
    if len(found) < section.clients:
        raise ConfigError(
            f"data.clients is {section.clients}, but only {len(found)} speakers have lines for "
            f"{section.train_each} + {section.test_each} pieces of {length} tokens; ask for fewer "
            "clients, fewer texts each or a shorter model.length"
        )
    speaker = torch.arange(section.clients).repeat_interleave(wanted)
    return Lines(tokens=torch.cat(found), speaker=speaker, sha256=pool.sha256)


def deal(section: DataSection, *, seeds: int, key: Key) -> Split:
    """Training and test pieces of every seed: speakers stay, their pieces are split anew.

    Args:
        section: sizes.
        seeds: >= 1.
        key: of the dealing.
    """
    each = section.train_each + section.test_each
    train, test = [], []
    for seed in range(seeds):
        generator = key.child(seed).generator()
        for client in range(section.clients):
            mixed: NDArray[np.int64] = client * each + generator.permutation(each)
            train.append(mixed[: section.train_each])
            test.append(mixed[section.train_each :])
    return Split(train, test, seeds)


def judge(logits: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Mean loss of the predicted tokens; see `Judge` and `last_layer_causal`."""
    return {"log-loss": logits[..., 0]}


def _by_author(pool: TextPool, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """The texts of one author after another, in random order."""
    order = np.argsort(pool.author, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(pool.author[order])) + 1)
    for place in rng.permutation(len(parts)):
        yield parts[place]


def _pieces(tokenizer: Tokenizer, texts: list[str], length: int) -> list[tuple[int, ...]]:
    """One text after another, cut every `length` tokens; what is left over goes."""
    whole = "\n".join(texts)
    # A token is at least one byte, so that nothing is cut off before.
    (tokens,) = tokenizer.split([whole], len(whole.encode()))
    if tokenizer.padding in tokens:
        raise ConfigError(
            f"a text holds the padding token {tokenizer.padding}, which stands for no text. Take "
            "it out."
        )
    ends = range(length, len(tokens) + 1, length)
    return [tuple(tokens[end - length : end]) for end in ends]

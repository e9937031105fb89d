"""Mails of a DP-FedLoRA comparison, dealt out anew by each seed."""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from ...accountant.errors import ConfigError
from ...mechanisms.base import Key
from ..data.mixtures import dirichlet_mixture
from ..data.text import TextPool, load_spam
from .dp_fedlora import DataSection
from .dp_fedlora_records import Reported, Split

REPORTED = (
    Reported("neighbour", "accuracy", "others"),
    Reported("local", "accuracy", "own"),
    Reported("log-loss", "log-loss", "own"),
)


def load(section: DataSection, encode: Callable[[Sequence[str]], Tensor]) -> TextPool:
    """As many mails of each class, no two of which are the same to the model.

    Args:
        section: of spam: sizes.
        encode: texts -> int64[texts, tokens], what the model sees of them. Of equal mails one
            stays: no test mail may be one of training.

    Raises:
        AssetError: the asset is missing. ConfigError: it has fewer mails of a class.
    """
    pool = load_spam()
    _, first = np.unique(encode(pool.texts).numpy(), axis=0, return_index=True)
    pool = pool.take(np.sort(first))
    rng = np.random.default_rng(section.seed)
    rows = []
    for label, name in enumerate(pool.classes):
        mine = np.flatnonzero(pool.y == label)
        if section.per_class is None or len(mine) < section.per_class:
            raise ConfigError(
                f"data.per_class is {section.per_class}, but there are {len(mine)} different mails "
                f"of class {name!r}; ask for fewer"
            )
        rows.append(rng.permutation(mine)[: section.per_class])
    return pool.take(rng.permutation(np.concatenate(rows)))


def deal(pool: TextPool, section: DataSection, *, seeds: int, key: Key) -> Split:
    """Mixtures of classes, training and test records of every seed.

    Args:
        pool: the texts.
        section: sizes.
        seeds: >= 1.
        key: of the dealing.
    """
    train, test = [], []
    for seed in range(seeds):
        held = dirichlet_mixture(
            pool.y,
            section.clients,
            alpha=1.0 if section.mixture is None else section.mixture,
            size=section.train_each + section.test_each,
            seed=key.child(seed).generator(),
        )
        shuffled = key.child("halves", seed).generator()
        for part in held.parts:
            mixed = shuffled.permutation(part)
            train.append(mixed[: section.train_each])
            test.append(mixed[section.train_each :])
    return Split(train, test, seeds)


def judge(logits: Tensor, y: Tensor) -> dict[str, Tensor]:
    """1 where the largest logit is right; cross-entropy, nats. See `Judge`."""
    loss = -logits.log_softmax(dim=-1).gather(-1, y.unsqueeze(-1)).squeeze(-1)
    return {"accuracy": (logits.argmax(dim=-1) == y).double(), "log-loss": loss}

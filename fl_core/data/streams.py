"""Random numbers of data preparation: one Philox stream per purpose and seed."""

import hashlib

import numpy as np

from ...accountant import check

Seed = int | np.random.Generator


def stream(purpose: str, seed: Seed) -> np.random.Generator:
    """The generator of a purpose; a generator that is given is used as it is.

    Equal seeds of two purposes give independent numbers, so a partition and a membership design
    may both be made with seed 0.

    Args:
        purpose: part of the meaning of a seed: changing it changes what old seeds give.
        seed: >= 0.

    Raises:
        ParameterError: the seed is no whole number >= 0.

    >>> first, other = stream("a", 0), stream("b", 0)
    >>> bool(first.random() == stream("a", 0).random()), bool(first.random() == other.random())
    (True, False)
    """
    if isinstance(seed, np.random.Generator):
        return seed
    check.whole(seed=seed)
    word = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8])
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([word, seed])))

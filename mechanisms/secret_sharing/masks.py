"""Uniform field elements from a cryptographic generator, each used once.

Shares hide their secret only if the masks are uniform over the whole field, independent and never
used again. So production draws come from the operating system, never from an experiment's seed:
two runs from one seed have the same masks, and the difference of their shares is that of their
secrets. A seeded source is for tests only, and `assumptions` says False about it.
"""

import hashlib
import math
import operator
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ...accountant.errors import LedgerError
from ..exact_sampling import Words, system_words
from .field import PrimeField


class Source(Protocol):
    """Where random bytes come from."""

    @property
    def fingerprint(self) -> str:
        """Text that two sources share only if they draw the same bytes; "system" if fresh."""

    def child(self, *names: str | int) -> "Source":
        """An independent source for a narrower purpose."""

    def words(self, count: int, block: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        """int64[count] uniform over all bit patterns; `block` numbers the calls."""

    def spend(self) -> bool:
        """Note that masks are drawn here; False if these were drawn before."""


@dataclass(frozen=True)
class SystemSource:
    """The operating system's generator (os.urandom), at every draw."""

    fingerprint: str = field(default="system", init=False)

    def child(self, *names: str | int) -> "SystemSource":
        """The same source: it has no state."""
        return self

    def words(self, count: int, block: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        """int64[count], fresh."""
        return system_words(count)

    def spend(self) -> bool:
        """Always new."""
        return True


@dataclass(frozen=True)
class SeededSource:
    """SHAKE-256 of seed and names, the same in every run: for tests only.

    Whoever knows the seed can unmask, and a second source from it has the same masks. One source
    and its children give each mask once, in however many sessions.
    """

    seed: int
    names: tuple[str | int, ...] = ()
    _spent: set[bytes] = field(default_factory=set, repr=False, compare=False)

    def _root(self) -> bytes:
        names = (str(n) if isinstance(n, str) else operator.index(n) for n in self.names)
        return repr((int(self.seed), *names)).encode()

    @property
    def fingerprint(self) -> str:
        """The first 64 bits of the hash of seed and names."""
        return "seeded:" + hashlib.sha256(self._root()).hexdigest()[:16]

    def child(self, *names: str | int) -> "SeededSource":
        """The source of a narrower purpose."""
        return SeededSource(self.seed, self.names + names, self._spent)

    def words(self, count: int, block: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        """int64[count], the same at every call with the same block."""
        stream = hashlib.shake_256(self._root() + b"|" + str(block).encode())
        return np.frombuffer(stream.digest(8 * count), dtype="<i8").astype(np.int64, copy=False)

    def spend(self) -> bool:
        """Note that masks are drawn here; False if these were drawn before."""
        root = self._root()
        new = root not in self._spent
        self._spent.add(root)
        return new


def source_words(source: Source) -> Words:
    """The stream of a source for a sampler, from its start."""
    block = 0

    def words(count: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        nonlocal block
        block += 1
        return source.words(count, block)

    return words


def uniform(source: Source, within: PrimeField, *shape: int) -> Tensor:
    """int64[shape], each element uniform over the field, by rejection: no bias at all.

    >>> found = uniform(SeededSource(1), PrimeField(7), 1000)
    >>> sorted(set(found.tolist()))
    [0, 1, 2, 3, 4, 5, 6]
    """
    count, mask = math.prod(shape), (1 << within.modulus.bit_length()) - 1
    parts: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    missing, block = count, 0
    while missing:
        words = source.words(missing, block) & mask
        if int(words.max()) >= within.modulus:
            words = words[words < within.modulus]
        parts.append(words)
        missing, block = missing - len(words), block + 1
    joined = np.concatenate(parts) if len(parts) > 1 else parts[0] if parts else np.empty(0, "i8")
    return torch.from_numpy(joined).reshape(shape)


class MaskStore:
    """Masks by name; the second use of a name raises.

    Reusing masks in another round gives every share holder the change of the secret (S7).

    >>> store = MaskStore(SeededSource(1), PrimeField(7))
    >>> store.draw("round", 1, "client", 0, shape=(2,)).shape
    torch.Size([2])
    >>> store.draw("round", 1, "client", 0, shape=(2,))
    Traceback (most recent call last):
        ...
    privassay.accountant.errors.LedgerError: masks of ('round', 1, 'client', 0) were drawn before.
      Masks hide a secret once: draw under a name with its own round, client and purpose.
    """

    def __init__(self, source: Source, within: PrimeField) -> None:
        self._source, self._field = source, within
        self._used: set[Hashable] = set()

    def draw(self, *names: str | int, shape: tuple[int, ...]) -> Tensor:
        """int64[shape] of fresh uniform masks.

        Raises:
            LedgerError: masks of this name were drawn before, here or in another session of the
                same seeded source.
        """
        own = self._source.child(*names)
        # Fresh words do not repeat, but a name that does is a mistake all the same.
        if names in self._used or not own.spend():
            raise LedgerError(
                f"masks of {names} were drawn before.\n  Masks hide a secret once: draw under a "
                "name with its own round, client and purpose."
            )
        self._used.add(names)
        return uniform(own, self._field, *shape)

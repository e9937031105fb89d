"""Random numbers by counter: a number depends on its coordinates, never on what was drawn before.

A draw is a function of (key, round, client, replica, position), so a result does not depend on
the engine, the chunk size, the order of the clients or the device, and thousands of clients are
drawn at once. Generator: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", SC 2011), written on int64 tensors. Not a cryptographic generator: for orders, initial
models and audits; noise that protects people comes from `mechanisms.base.SystemKey`.
"""

import hashlib
import math
import secrets
from dataclasses import dataclass

import torch
from torch import Tensor

from ..accountant import check
from ..accountant.errors import ParameterError
from ..mechanisms.base import Key
from .run_key import RunKey

_LOW = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def philox(key: tuple[int, int], c0: Tensor, c1: Tensor, c2: Tensor, c3: Tensor) -> list[Tensor]:
    """Four int64 tensors of 32 random bits each, of broadcastable counters below 2**32.

    >>> zero = torch.tensor(0)
    >>> [hex(int(word)) for word in philox((0, 0), zero, zero, zero, zero)]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    k0, k1 = key
    for _ in range(_ROUNDS):
        # Signed products wrap, but their 64 bits are those of the unsigned ones.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((p1 >> 32) & _LOW) ^ c1 ^ k0,
            p1 & _LOW,
            ((p0 >> 32) & _LOW) ^ c3 ^ k1,
            p0 & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return list(torch.broadcast_tensors(c0, c1, c2, c3))


@dataclass(frozen=True)
class Counter:
    """Random numbers for one purpose in one round.

    Attributes:
        key: two numbers below 2**32, of run seed and purpose.
        round: first coordinate, < 2**32.
    """

    key: tuple[int, int]
    round: int = 0

    def __post_init__(self) -> None:
        check.whole(round=self.round)
        if max(self.round, *self.key) > _LOW:
            raise ParameterError(f"key and round must be below 2**32, but are {self}")

    @classmethod
    def of(cls, key: Key, *purpose: str, round: int = 0) -> "Counter":
        """The counter of a purpose; of a system key it is fresh at every call.

        Of a `RunKey` it is that of the run's secret setup, the same in every worker.
        """
        child = key.setup.child(*purpose) if isinstance(key, RunKey) else key.child(*purpose)
        if child.fingerprint == "system":
            return cls((secrets.randbits(32), secrets.randbits(32)), round)
        word = hashlib.sha256(child.fingerprint.encode()).digest()
        return cls((int.from_bytes(word[:4]), int.from_bytes(word[4:8])), round)

    def words(self, rows: Tensor, replicas: Tensor, count: int, *, first: int = 0) -> list[Tensor]:
        """Four int64[rows, count] of 32 bits, for positions first .. first + count - 1.

        Args:
            rows: int64[rows] >= 0, below 2**32: the rows' clients.
            replicas: int64[rows], likewise.
            count: how many for each row.
            first: the first position.

        Raises:
            ParameterError: a position of 2**32 or more, where the counter would begin again.
        """
        if first < 0 or first + count > _LOW + 1:
            raise ParameterError(
                f"positions {first} .. {first + count - 1} were asked for, but a counter has 2**32 "
                "of them. Use another purpose or round for the rest."
            )
        position = torch.arange(first, first + count, device=rows.device)
        start = torch.tensor(self.round, device=rows.device)
        return philox(self.key, start, rows.unsqueeze(1), replicas.unsqueeze(1), position)

    def uniform(self, rows: Tensor, replicas: Tensor, count: int, *, first: int = 0) -> Tensor:
        """float64[rows, count] in [0, 1), multiples of 2**-53."""
        a, b, _, _ = self.words(rows, replicas, count, first=first)
        return _unit(a, b)

    def normal(self, rows: Tensor, replicas: Tensor, count: int, *, first: int = 0) -> Tensor:
        """float64[rows, count] of independent standard normals (Box and Muller).

        A position gives two of them, so `first` leaves out 2 `first` numbers.
        """
        a, b, c, d = self.words(rows, replicas, (count + 1) // 2, first=first)
        radius = (-2.0 * torch.log1p(-_unit(a, b))).sqrt()  # 1 - u > 0, so finite
        angle = 2.0 * math.pi * _unit(c, d)
        pairs = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
        return pairs.flatten(1)[:, :count]

    def order(self, rows: Tensor, replicas: Tensor, lengths: Tensor, *, epoch: int = 0) -> Tensor:
        """int64[rows, longest]: each row a random order of 0 .. length - 1, then the padding.

        Raises:
            ParameterError: epoch >= 256, or a row of more than 2**24 records.
        """
        longest = int(lengths.max()) if len(lengths) else 0
        check.whole(epoch=epoch)
        if epoch >= 256 or longest > 1 << 24:
            raise ParameterError(
                f"an order exists for epochs 0 .. 255 of at most 2**24 records, not for epoch "
                f"{epoch} of {longest}. Take fewer local epochs, or more rounds."
            )
        a, b, _, _ = self.words(rows, replicas, longest, first=epoch << 24)
        weight = ((a << 31) | (b >> 1)) & (2**62 - 1)
        padding = torch.arange(longest, device=rows.device) >= lengths.unsqueeze(1)
        return weight.masked_fill(padding, 2**62).argsort(dim=1, stable=True)


def _unit(high: Tensor, low: Tensor) -> Tensor:
    return ((high << 21) | (low >> 11)).double() * 2.0**-53

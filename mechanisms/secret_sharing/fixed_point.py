"""Real numbers as field elements, with room proven before anything is shared.

A value that wraps around the modulus decodes to a wrong number without any sign of it. So the
largest value that a computation can reach is compared with the modulus before it starts.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ParameterError
from .field import PrimeField


@dataclass(frozen=True, kw_only=True)
class FixedPoint:
    """x is encoded as round(2^bits x), for |x| <= bound; the error is at most 2^-(bits+1).

    Both are public constants: taken from private maxima they would leak them.

    Attributes:
        bits: fractional bits, 0..40.
        bound: largest coordinate in absolute value, > 0.

    >>> code = FixedPoint(bits=4, bound=1.0)
    >>> code.encode(torch.tensor([0.5, -1.0]), PrimeField(10007)).tolist()
    [8, 9991]
    """

    bits: int = 16
    bound: float = 1.0

    def __post_init__(self) -> None:
        check.whole(bits=self.bits)
        check.positive(bound=self.bound)
        if self.bits > 40 or self.magnitude > 2**52:
            raise ParameterError(
                f"2^bits bound must stay below 2^52 (and bits at most 40), where doubles are exact,"
                f" but bits is {self.bits} and bound {self.bound!r}"
            )

    @property
    def magnitude(self) -> int:
        """No code exceeds this in absolute value."""
        return math.ceil(Fraction(self.bound) * (1 << self.bits))

    def quantise(self, values: Tensor) -> Tensor:
        """int64 codes of float values, of either sign.

        Raises:
            ParameterError: a value is not finite or exceeds the bound.
        """
        wide = values.to(torch.float64)
        if not bool(torch.isfinite(wide).all()) or bool((wide.abs() > self.bound).any()):
            raise ParameterError(
                f"coordinates must be finite and within +-{self.bound!r}, but reach from "
                f"{float(wide.min())} to {float(wide.max())}.\n  Clip them to the public bound "
                "first; a bound taken from the data would leak its largest value."
            )
        return (wide * 2.0**self.bits).round().to(torch.int64)

    def encode(self, values: Tensor, within: PrimeField) -> Tensor:
        """Field elements of float values; raises as `quantise`."""
        return within.from_signed(self.quantise(values))

    def decode(self, codes: Tensor, within: PrimeField, *, limit: int) -> Tensor:
        """float64 of field elements; `limit` bounds the codes.

        Raises:
            ParameterError: a decoded code exceeds `limit`: somebody's input was out of range.
        """
        return checked(codes, within, limit=limit).to(torch.float64) / 2.0**self.bits


def checked(codes: Tensor, within: PrimeField, *, limit: int) -> Tensor:
    """Signed int64 of field elements, none of them beyond `limit`.

    Raises:
        ParameterError: one is. The headroom was checked, so an input or a share was wrong.
    """
    signed = within.to_signed(codes)
    if signed.numel() and int(signed.abs().max()) > limit:
        raise ParameterError(
            f"an opened value is {int(signed.abs().max())}, but can be at most {limit}.\n  A "
            "client's input was outside the declared bound, or a share was wrong: discard the "
            "round."
        )
    return signed


def distance_limit(*, clients: int, dimension: int, magnitude: int) -> int:
    """Largest n^2 d^2: dimension terms, each the square of at most 2 clients magnitude."""
    return 4 * dimension * clients**2 * magnitude**2


def sum_limit(*, clients: int, magnitude: int) -> int:
    """Largest sum over the clients, in absolute value."""
    return clients * magnitude


def require_headroom(modulus: int, **limits: int) -> None:
    """Raise `ParameterError` unless each limit, of either sign, fits: modulus > 2 limit.

    >>> limit = distance_limit(clients=10, dimension=32, magnitude=2**16)
    >>> require_headroom(2**61 - 1, distances=limit)
    >>> require_headroom(2**31 - 1, distances=limit)
    Traceback (most recent call last):
        ...
    privassay.accountant.errors.ParameterError: distances can reach 54975581388800, but modulo \
2147483647 only values up to 1073741823 come back unchanged; larger ones wrap without any sign.
      Use 8 fractional bits less, or the prime 2^61 - 1.
    """
    for name, limit in limits.items():
        if modulus <= 2 * limit:
            over = math.ceil(math.log2(2 * limit / modulus) / (2 if name == "distances" else 1))
            remedy = ", or the prime 2^61 - 1" if modulus < 2**60 else ", or a smaller bound"
            raise ParameterError(
                f"{name} can reach {limit}, but modulo {modulus} only values up to "
                f"{(modulus - 1) // 2} come back unchanged; larger ones wrap without any sign.\n"
                f"  Use {max(1, over)} fractional bits less{remedy}."
            )


def largest_bits(modulus: int, *, clients: int, dimension: int, bound: int = 1) -> int:
    """Most fractional bits for which distances fit; -1 if not even whole numbers do.

    >>> largest_bits(2**61 - 1, clients=10, dimension=32)
    23
    """
    bits = -1
    while modulus > 2 * distance_limit(
        clients=clients, dimension=dimension, magnitude=bound << (bits + 1)
    ):
        bits += 1
    return bits


def crt_signed(first: int, second: int, primes: tuple[int, int]) -> int:
    """The number nearest to 0 with these residues modulo two primes (about 62 bits).

    The alternative to one 61-bit prime: share modulo both, with masks uniform modulo both.

    >>> crt_signed(-5 % 2147483647, -5 % 2147483629, (2147483647, 2147483629))
    -5
    """
    p, q = primes
    value = (first + p * ((second - first) * pow(p, -1, q) % q)) % (p * q)
    return value - p * q if value > p * q // 2 else value

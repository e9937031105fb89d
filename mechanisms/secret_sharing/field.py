"""Arithmetic modulo a prime on int64 tensors, exact on any device.

int64 holds no product of two 61-bit numbers, so products are taken in limbs. Matrix products use
float64 on limbs so narrow that every partial sum is a whole number below 2^53: no addition rounds,
whatever its order, so the result is exact with any BLAS, and CUDA has no int64 matrix product.
Two kinds of primes are served: those below 2^31, and the Mersenne prime 2^61 - 1, where reduction
is a rotation.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ParameterError

M31 = 2**31 - 1
M61 = 2**61 - 1

_LOW31 = 2**31 - 1
_LOW30 = 2**30 - 1
_MOST_TERMS = 512


@dataclass(frozen=True)
class PrimeField:
    """The integers modulo a prime. Elements are int64 tensors with values 0..modulus-1.

    Source of the limb products: schoolbook; of the reduction modulo 2^61 - 1: 2^61 = 1.

    Attributes:
        modulus: 2^61 - 1, or a prime below 2^31.

    Raises:
        ParameterError: the modulus is no prime, or not of these sizes.

    >>> field = PrimeField(M61)
    >>> two = torch.tensor([2**60])
    >>> int(field.mul(two, two)), pow(2, 120, M61)
    (576460752303423488, 576460752303423488)
    """

    modulus: int = M61

    def __post_init__(self) -> None:
        check.count(modulus=self.modulus)
        if self.modulus != M61 and (self.modulus > M31 or not _is_prime(self.modulus)):
            raise ParameterError(
                f"modulus must be 2^61 - 1 or a prime below 2^31, but is {self.modulus}.\n"
                "  Take PrimeField() for 61 bits; for two primes of 31 bits, one field each."
            )

    @property
    def _is_large(self) -> bool:
        return self.modulus == M61

    def element(self, value: int) -> int:
        """`value` modulo the prime."""
        return value % self.modulus

    def inverse(self, value: int) -> int:
        """The number that times `value` is 1.

        Raises:
            ParameterError: value is 0 modulo the prime.
        """
        if value % self.modulus == 0:
            raise ParameterError(f"0 has no inverse modulo {self.modulus}, but {value} was given")
        return pow(value, -1, self.modulus)

    def check(self, values: Tensor, name: str) -> None:
        """Raise `ParameterError` unless `values` is int64 with values 0..modulus-1."""
        if values.dtype != torch.int64:
            raise ParameterError(f"{name} must be int64 field elements, but is {values.dtype}")
        if values.numel() and (int(values.min()) < 0 or int(values.max()) >= self.modulus):
            raise ParameterError(
                f"{name} must lie in 0..{self.modulus - 1}, but reaches from "
                f"{int(values.min())} to {int(values.max())}. Encode or reduce it first."
            )

    def from_signed(self, values: Tensor) -> Tensor:
        """Field elements of int64 numbers of either sign.

        Raises:
            ParameterError: another type, or a number beyond half the modulus, which would come
                back as another.
        """
        if values.dtype != torch.int64:
            raise ParameterError(f"signed numbers must be int64, but are {values.dtype}")
        half = self.modulus // 2
        if values.numel() and (int(values.min()) < -half or int(values.max()) > half):
            raise ParameterError(
                f"signed numbers must lie within +-{half}, but reach from {int(values.min())} to "
                f"{int(values.max())}. Use fewer fractional bits or a larger prime."
            )
        return torch.where(values < 0, values + self.modulus, values)

    def to_signed(self, values: Tensor) -> Tensor:
        """The representative nearest to 0, int64."""
        return torch.where(values > self.modulus // 2, values - self.modulus, values)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        """The sum, elementwise."""
        total = a + b
        total -= self.modulus
        return total.add_((total >> 63) & self.modulus)

    def sub(self, a: Tensor, b: Tensor) -> Tensor:
        """The difference, elementwise."""
        gap = a - b
        return gap.add_((gap >> 63) & self.modulus)

    def neg(self, a: Tensor) -> Tensor:
        """The opposite, elementwise."""
        return self.sub(torch.zeros_like(a), a)

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        """The product, elementwise, with broadcasting."""
        kernel = _mul_large if self._is_large else self._mul_small
        return _in_blocks(kernel, *torch.broadcast_tensors(a, b))

    def scale(self, a: Tensor, factor: int) -> Tensor:
        """`a` times one number."""
        return self.mul(a, torch.tensor(self.element(factor), device=a.device))

    def sum(self, a: Tensor, dim: int) -> Tensor:
        """The sum along one dimension, of fewer than 2^31 terms."""
        if not self._is_large:
            return a.sum(dim) % self.modulus
        high, low = (a >> 31).sum(dim), (a & _LOW31).sum(dim)
        # high 2^31 = (high >> 30) 2^61 + (high mod 2^30) 2^31, and 2^61 = 1.
        return _fold((high >> 30) + ((high & _LOW30) << 31) + (low >> 61) + (low & M61))

    def combine(self, weights: Sequence[Sequence[int]], values: Tensor) -> Tensor:
        """Matrix product weights @ values.

        Weights are centred first: small ones of either sign, which sharing at small points has,
        cost one third.

        Args:
            weights: rows of whole numbers, [out][terms].
            values: int64[terms, ...].

        Returns:
            int64[out, ...].
        """
        terms = values.shape[0]
        if any(len(row) != terms for row in weights):
            raise ParameterError(
                f"each row of weights needs {terms} numbers, one per row of values, but they have "
                f"{sorted({len(row) for row in weights})}"
            )
        centred = [[_centred(w, self.modulus) for w in row] for row in weights]
        # Bits of a limb: a sum of `terms` products with a value (in limbs of 21 bits, three of
        # which can meet, or whole, of 31 bits) must stay below 2^53, where doubles are exact.
        width = 21 if self._is_large else min(16, 22 - (terms - 1).bit_length())
        largest = max((abs(w) for row in centred for w in row), default=0)
        limbs = max(1, -(-largest.bit_length() // width))
        if not 1 <= terms <= _MOST_TERMS:
            raise ParameterError(
                f"a product needs 1..{_MOST_TERMS} terms to be exact, but {terms} were given"
            )
        matrix = torch.tensor(
            [[[_limb(w, i, width) for w in row] for row in centred] for i in range(limbs)],
            dtype=torch.float64,
            device=values.device,
        ).reshape(limbs, len(weights), terms)
        flat = values.reshape(terms, math.prod(values.shape[1:]))
        out = torch.empty((len(weights), flat.shape[1]), dtype=torch.int64, device=values.device)
        step = _block(values.device, max(3 * max(terms, len(weights)), terms * len(weights) // 2))
        for start in range(0, flat.shape[1], step):
            piece = flat[:, start : start + step]
            out[:, start : start + step] = (
                _combine_large(matrix, piece)
                if self._is_large
                else self._combine_small(matrix, piece, width)
            )
        return out.reshape(len(weights), *values.shape[1:])

    def _mul_small(self, a: Tensor, b: Tensor) -> Tensor:
        return (a * b).remainder_(self.modulus)

    def _combine_small(self, matrix: Tensor, values: Tensor, width: int) -> Tensor:
        doubles = values.to(torch.float64)
        found: Tensor | None = None
        for part in reversed(matrix):  # Horner, from the highest limb
            limb = _product(part, doubles)
            if found is None:
                found = limb
            else:
                found = found.remainder_(self.modulus).mul_(1 << width).add_(limb)
        assert found is not None
        return found.remainder_(self.modulus)


def _combine_large(matrix: Tensor, values: Tensor) -> Tensor:
    terms, size = values.shape
    mask = (1 << 21) - 1
    limbs = torch.empty((terms, 3, size), dtype=torch.float64, device=values.device)
    limbs[:, 0] = values & mask
    limbs[:, 1] = (values >> 21) & mask
    limbs[:, 2] = values >> 42
    flat = limbs.reshape(terms, 3 * size)
    parts = [_product(part, flat).reshape(-1, 3, size) for part in matrix]
    levels = [
        [part[:, level - i] for i, part in enumerate(parts) if 0 <= level - i < 3]
        for level in range(len(parts) + 2)
    ]
    found: Tensor | None = None
    for level in reversed(levels):  # Horner in 2^21, from the highest limb
        # |found| < 2^62 throughout: (found >> 40) + (found mod 2^40) 2^21 is found 2^21, since
        # found 2^21 = (found >> 40) 2^61 + ... and 2^61 = 1; >> rounds down for either sign.
        if found is not None:
            low = (found & (2**40 - 1)).bitwise_left_shift_(21)
            found = found.bitwise_right_shift_(40).add_(low)
        for part in level:
            found = part.clone() if found is None else found.add_(part)
    assert found is not None
    return _fold(found)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """int64 product of two float64 matrices of whole numbers.

    On a CPU by numpy: its BLAS keeps a block of this size on one thread, torch's does not.
    """
    if a.device.type == "cpu":
        return torch.from_numpy(a.numpy() @ b.numpy()).to(torch.int64)
    return (a @ b).to(torch.int64)


def _mul_large(a: Tensor, b: Tensor) -> Tensor:
    a_high, a_low, b_high, b_low = a >> 31, a & _LOW31, b >> 31, b & _LOW31
    middle = (a_low * b_high).add_(a_high * b_low)  # < 2^62, in units of 2^31
    top = (a_high.mul_(b_high)).mul_(2)  # 2^62 = 2
    low = a_low.mul_(b_low)  # < 2^62
    # Each summand is below 2^61: the sum of four stays below 2^63.
    total = (middle >> 30).add_(middle.bitwise_and_(_LOW30).bitwise_left_shift_(31))
    total.add_(low >> 61).add_(low.bitwise_and_(M61))
    return _fold(total.add_(top))


def _fold(values: Tensor) -> Tensor:
    """Any int64 modulo 2^61 - 1, to 0..2^61 - 2; overwrites its argument."""
    high = values >> 61  # -4..3
    found = values.bitwise_and_(M61).add_(high)
    found.add_((found >> 63).bitwise_and_(M61))
    found.sub_(M61)
    return found.add_((found >> 63).bitwise_and_(M61))


def _in_blocks(kernel: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """`kernel` on pieces that stay in the cache: several times faster than on long tensors."""
    step = _block(a.device, 1)
    if a.numel() <= step:
        return kernel(a, b)
    first, second = a.reshape(-1), b.reshape(-1)
    out = torch.empty(first.shape, dtype=torch.int64, device=a.device)
    for start in range(0, len(first), step):
        out[start : start + step] = kernel(
            first[start : start + step], second[start : start + step]
        )
    return out.reshape(a.shape)


def _block(device: torch.device, width: int) -> int:
    """How many columns at once, for temporaries of `width` numbers a column.

    On a CPU at most 32,768 numbers: they stay in the cache, and torch does not split so few among
    threads, which on a busy machine costs ten times what it gains. On a GPU 1 GiB.
    """
    return max(256, (2**15 if device.type == "cpu" else 2**27) // width)


def _centred(value: int, modulus: int) -> int:
    reduced = value % modulus
    return reduced - modulus if reduced > modulus // 2 else reduced


def _limb(value: int, index: int, width: int) -> int:
    """One limb of a number, with the number's sign."""
    limb = (abs(value) >> (index * width)) & ((1 << width) - 1)
    return -limb if value < 0 else limb


def _is_prime(n: int) -> bool:
    """Miller-Rabin with bases that decide every n below 3,215,031,751."""
    if n < 2 or any(n % q == 0 for q in (2, 3, 5, 7)):
        return n in (2, 3, 5, 7)
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(
        pow(base, odd, n) in (1, n - 1)
        or any(pow(base, odd * 2**i, n) == n - 1 for i in range(1, twos))
        for base in (2, 3, 5, 7)
    )

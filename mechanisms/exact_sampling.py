"""Discrete Laplace and Gaussian noise without rounding: whole-number arithmetic only.

Source: Canonne, Kamath & Steinke, arXiv:2004.00010, Algorithms 1 to 3. A parameter given as a
double is taken as the rational number that it is. The running time depends on the values drawn,
so an adversary with a clock could learn about them.
"""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from ..accountant import check
from .base import Key

_BLOCK = 4096  # bytes taken from the generator at a time


class _Bits:
    """Uniform whole numbers from the bytes of a generator."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator, self._bytes, self._place = generator, b"", 0

    def below(self, limit: int) -> int:
        """A uniform number in 0..limit - 1, by rejection."""
        bits = (limit - 1).bit_length()
        size = (bits + 7) // 8
        while True:
            if self._place + size > len(self._bytes):
                self._bytes = self._generator.bytes(max(_BLOCK, size))
                self._place = 0
            chunk = self._bytes[self._place : self._place + size]
            self._place += size
            value = int.from_bytes(chunk, "little") >> (8 * size - bits)
            if value < limit:
                return value

    def coin(self, top: int, bottom: int) -> bool:
        """True with probability top / bottom."""
        return self.below(bottom) < top

    def exp_coin(self, top: int, bottom: int) -> bool:
        """True with probability exp(-top / bottom), top >= 0 (Algorithm 1)."""
        while top > bottom:
            if not self._short_exp_coin(1, 1):
                return False
            top -= bottom
        return self._short_exp_coin(top, bottom)

    def _short_exp_coin(self, top: int, bottom: int) -> bool:
        k = 1
        while self.coin(top, bottom * k):
            k += 1
        return k % 2 == 1

    def laplace(self, top: int, bottom: int) -> int:
        """P(x) proportional to exp(-|x| bottom / top) (Algorithm 2)."""
        while True:
            offset = self.below(top)
            if not self.exp_coin(offset, top):
                continue
            wraps = 0
            while self._short_exp_coin(1, 1):
                wraps += 1
            size = (offset + top * wraps) // bottom
            negative = self.coin(1, 2)
            if size or not negative:  # zero counts once
                return -size if negative else size

    def gaussian(self, variance: Fraction) -> int:
        """P(x) proportional to exp(-x^2 / (2 variance)) (Algorithm 3)."""
        scale = math.isqrt(variance.numerator // variance.denominator) + 1
        n, d = variance.numerator, variance.denominator
        while True:
            value = self.laplace(scale, 1)
            # (|y| - variance/scale)^2 / (2 variance), over a common denominator
            gap = abs(value) * scale * d - n
            if self.exp_coin(gap * gap, 2 * n * d * scale * scale):
                return value


def discrete_laplace(shape: tuple[int, ...], *, noise_parameter: float, key: Key) -> Tensor:
    """int64[shape] of independent noise, P(x) proportional to exp(-noise_parameter |x|).

    Raises:
        ParameterError: the parameter is not a finite number > 0.
    """
    check.positive(noise_parameter=noise_parameter)
    exact = 1 / Fraction(noise_parameter)
    bits = _Bits(key.generator())
    return _fill(shape, lambda: bits.laplace(exact.numerator, exact.denominator))


def discrete_gaussian(shape: tuple[int, ...], *, sigma: float, key: Key) -> Tensor:
    """int64[shape] of independent noise, P(x) proportional to exp(-x^2 / (2 sigma^2)).

    Raises:
        ParameterError: sigma is not a finite number > 0.
    """
    check.positive(sigma=sigma)
    variance = Fraction(sigma) ** 2
    bits = _Bits(key.generator())
    return _fill(shape, lambda: bits.gaussian(variance))


def _fill(shape: tuple[int, ...], draw: Callable[[], int]) -> Tensor:
    drawn = [draw() for _ in range(math.prod(shape))]
    return torch.tensor(drawn, dtype=torch.int64).reshape(shape)

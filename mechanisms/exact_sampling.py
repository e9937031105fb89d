"""Discrete Laplace and Gaussian noise and coins, exactly, many at once.

A coin of probability exp(-x) compares a uniform number with a double; where the two are too near
for doubles to decide (once in 10^11 draws) they are compared again with as many digits as it
takes. So each outcome is that of exact arithmetic. A parameter given as a double is taken as the
rational number that it is. The running time depends on the values drawn, so an adversary with a
clock could learn about them.

Source: Canonne, Kamath & Steinke, arXiv:2004.00010, Algorithms 2 and 3.
"""

import math
import os
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..accountant import check
from ..accountant.errors import ParameterError
from .base import Key

Words = Callable[[int], NDArray[np.int64]]
"""Gives int64[count], all 64 bits uniform, new ones at every call."""

_BITS = 62  # of a word that are used: both numbers of a comparison stay within int64
_AMBIGUOUS = 2.0**-40  # above 200 times the error of a comparison in doubles
_MOST = 2**60  # of the largest step: offsets stay whole numbers of 62 bits
_LEAST = Fraction(1, 2**600)  # of a variance: doubles hold what is computed from it


def system_words(count: int) -> NDArray[np.int64]:
    """From the operating system."""
    return np.frombuffer(os.urandom(8 * count), dtype=np.int64)


def key_words(key: Key) -> Words:
    """The stream of a key, from its start; of a system key, the operating system's bytes."""
    if key.fingerprint == "system":
        return system_words
    generator = key.generator()

    def words(count: int) -> NDArray[np.int64]:
        return np.frombuffer(generator.bytes(8 * count), dtype=np.int64)

    return words


def below(limit: int, count: int, words: Words) -> NDArray[np.int64]:
    """int64[count], uniform over 0..limit-1, by rejection.

    Raises:
        ParameterError: limit is not a whole number in 1..2^60.
    """
    check.count(limit=limit)
    if limit > _MOST:
        raise ParameterError(f"limit must be at most 2^60, but is {limit}")
    top = 2**_BITS - 2**_BITS % limit
    found = _low(words, count)
    while bool((wrong := found >= top).any()):
        found[wrong] = _low(words, int(wrong.sum()))
    uniform: NDArray[np.int64] = found % limit
    return uniform


def coins(probability: Fraction, shape: tuple[int, ...], words: Words) -> Tensor:
    """bool[shape], each True with exactly this probability.

    Raises:
        ParameterError: not in 0..1.

    >>> from .base import SeededKey
    >>> found = coins(Fraction(1, 3), (6000,), key_words(SeededKey(1)))
    >>> abs(int(found.sum()) - 2000) < 200
    True
    """
    if not 0 <= probability <= 1:
        raise ParameterError(f"probability must lie in 0..1, but is {probability}")
    drawn = _low(words, math.prod(shape))
    rest = probability * 2**_BITS
    found: NDArray[np.bool_] = drawn < math.floor(rest)
    for i in np.flatnonzero(drawn == math.floor(rest)):
        found[i] = _tail(rest - math.floor(rest), words)
    return torch.from_numpy(found).reshape(shape)


def discrete_laplace(shape: tuple[int, ...], *, noise_parameter: float, words: Words) -> Tensor:
    """int64[shape] of independent noise, P(x) proportional to exp(-noise_parameter |x|).

    Raises:
        ParameterError: the parameter is not a finite number > 0, or below 2^-59.
    """
    check.positive(noise_parameter=noise_parameter)
    rate = Fraction(noise_parameter)
    return _filled(shape, lambda count: _laplace(_step(1 / rate), rate, count, words))


def discrete_gaussian(shape: tuple[int, ...], *, variance: Fraction, words: Words) -> Tensor:
    """int64[shape] of independent noise, P(x) proportional to exp(-x^2 / (2 variance)).

    Args:
        shape: of the result.
        variance: sigma^2, the parameter of the law (from 10 on its variance, to 1e-80), > 0.
        words: fresh uniform words.

    Raises:
        ParameterError: the variance is not in 2^-600..2^118.

    >>> from .base import SeededKey
    >>> words = key_words(SeededKey(3))
    >>> found = discrete_gaussian((4000,), variance=Fraction(100), words=words).double()
    >>> abs(float(found.square().mean()) - 100) < 10
    True
    """
    if not _LEAST <= variance <= 2**118:
        raise ParameterError(
            f"variance must lie in 2^-600..2^118, but is {float(variance):.3g}.\n  Use a grid on "
            "which the noise is neither always 0 nor beyond whole numbers of 64 bits."
        )
    scale = math.isqrt(math.floor(variance)) + 1
    # The law of |y|/scale, tilted: exp(-(|y| - variance/scale)^2 / (2 variance)).
    centre, spread = variance / scale, float(variance / scale**2)

    def tried(count: int) -> NDArray[np.int64]:
        drawn = _laplace(scale, Fraction(1, scale), count, words)
        gap = np.abs(drawn) / scale - spread
        keep = _exp_coins(
            gap * gap / (2.0 * spread),
            lambda i: (abs(int(drawn[i])) - centre) ** 2 / (2 * variance),
            words,
        )
        return drawn[keep]

    return _filled(shape, tried)


def _low(words: Words, count: int) -> NDArray[np.int64]:
    kept: NDArray[np.int64] = words(count) & (2**_BITS - 1)
    return kept


def _step(width: Fraction) -> int:
    step = max(1, math.floor(width))
    if step > _MOST:
        raise ParameterError(
            f"the noise is about {float(width):.3g} wide, but can be at most 2^60 whole numbers "
            "wide. Use a coarser grid."
        )
    return step


def _laplace(step: int, rate: Fraction, count: int, words: Words) -> NDArray[np.int64]:
    """About 0.6 count to count integers with mass proportional to exp(-rate |y|).

    |y| = low + step high; low is drawn below `step`, which is near 1/rate, by rejection, and high
    is geometric.
    """
    own = float(rate)
    low = below(step, count, words)
    low = low[_exp_coins(low * own, lambda i: int(low[i]) * rate, words)]
    high = np.zeros_like(low)
    alive = np.arange(len(low))
    whole = step * rate
    turn = float(whole)
    while len(alive):
        again = _exp_coins(np.full(len(alive), turn), lambda _: whole, words)
        alive = alive[again]
        high[alive] += 1
    sizes = low + step * high
    negative = words(len(low)) < 0
    sizes[negative] *= -1
    kept: NDArray[np.int64] = sizes[~negative | (sizes != 0)]  # else 0 would count twice
    return kept


def _exp_coins(
    exponents: NDArray[np.floating[Any]], exact: Callable[[int], Fraction], words: Words
) -> NDArray[np.bool_]:
    """True with probability exp(-exact(i)), each; `exponents` are those numbers as doubles."""
    drawn = _low(words, len(exponents))
    # An exponent x errs by less than 2^-46 e^x: relatively by a few units in the last place, and
    # the square of a difference, which cancels, is small where it does.
    gap = drawn / 2.0**_BITS - np.exp(-np.minimum(exponents, 745.0))
    outcome: NDArray[np.bool_] = gap < 0.0
    for i in np.flatnonzero(np.abs(gap) < _AMBIGUOUS):
        outcome[i] = _decided(int(drawn[i]), exact(int(i)), words)
    return outcome


def _decided(drawn: int, exponent: Fraction, words: Words) -> bool:
    """Whether a uniform number that starts with `drawn` lies below exp(-exponent)."""
    if exponent == 0:
        return True
    bits = _BITS
    with localcontext() as context:
        context.Emin, context.Emax = -(10**17), 10**17  # exp(-10^6) is no underflow
        while True:
            context.prec = bits // 3 + 30
            threshold = (-Decimal(exponent.numerator) / exponent.denominator).exp() * 2**bits
            if threshold >= drawn + 2:
                return True
            if threshold <= drawn - 1:
                return False
            drawn, bits = (drawn << _BITS) + int(_low(words, 1)[0]), bits + _BITS


def _tail(rest: Fraction, words: Words) -> bool:
    """Whether further bits lie below those of `rest`, a number in 0..1."""
    while rest:
        rest *= 2**_BITS
        drawn, digit = int(_low(words, 1)[0]), math.floor(rest)
        if drawn != digit:
            return drawn < digit
        rest -= digit
    return False


def _filled(shape: tuple[int, ...], tried: Callable[[int], NDArray[np.int64]]) -> Tensor:
    """The first draws that `tried` keeps, of as many as it is asked to try."""
    count = math.prod(shape)
    parts: list[NDArray[np.int64]] = []
    missing = count
    while missing > 0:
        parts.append(tried(max(64, 2 * missing)))
        missing -= len(parts[-1])
    joined = np.concatenate(parts)[:count] if parts else np.empty(0, dtype=np.int64)
    return torch.from_numpy(joined.copy()).reshape(shape)

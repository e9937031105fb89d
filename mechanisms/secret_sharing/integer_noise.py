r"""Discrete Gaussian noise, sampled exactly, whose shares add up under secure summation.

Every client adds integer noise of variance v, m of them honestly. Write
eta(s) = 2 sum_k exp(-2 pi^2 s^2 k^2) for how far a Gaussian's sum over shifted integers is from its
integral (Poisson summation). Then, pointwise in the masses:

1. A sum of discrete Gaussians of variances a, b is one of variance a + b up to factors
   (1 +- eta): the sum over k of n_a(k) n_b(z-k) is n_(a+b)(z) times a sum of a Gaussian of variance
   ab/(a+b) >= v/2 over shifted integers. Hence m of them: 4 m factors at most.
2. A discrete Gaussian of variance V is the release N(0, V - r^2) rounded to an integer at random
   (z given y with mass proportional to exp(-(z-y)^2 / (2 r^2))), up to 4 such factors: the
   normaliser of the rounding is constant up to 1 +- eta(r). Shifts by integers pass through, and
   the rounding does not look at the data.

So the noisy sum of integer vectors is, up to a factor e^(+-tau) with
tau = coordinates (4 m + 4) 2 eta(min(r, sqrt(v/2))), a post-processing of a *continuous* Gaussian
release of variance m v - r^2, and delta(epsilon) <= e^tau delta_Gauss(epsilon - 2 tau). With r = 4
and v >= 32, eta < 1e-136: `effective_variance` refuses smaller v and charges r^2. Reduction modulo
a prime is a post-processing too: a wrapped value is wrong, but costs no privacy.

Source of the sampler: Canonne, Kamath & Steinke, arXiv:2004.00010, algorithms 1-3; of the first
step: Kairouz, Liu & Steinke, arXiv:2102.06387.
"""

import math
from decimal import Decimal, localcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ParameterError
from .masks import Source

ROUNDING = 4  # r above, in units of the integers
_LEAST = 2 * ROUNDING**2
_AMBIGUOUS = 2.0**-40  # far above the error of a comparison in doubles
_MOST = 2**44  # (|y| t - v) is then below 2^53


def effective_variance(*, variance: int, honest: int) -> int:
    """Variance of the continuous Gaussian whose guarantee `honest` noise shares have.

    Args:
        variance: of one client's discrete Gaussian, in units of the integers, >= 32.
        honest: clients whose noise no coalition knows, that reply, and that follow the protocol.

    >>> effective_variance(variance=100, honest=6)
    584
    """
    check.count(variance=variance, honest=honest)
    if variance < _LEAST:
        raise ParameterError(
            f"noise shares need a variance of at least {_LEAST} in units of the integers, so that "
            f"their sum is as good as a Gaussian, but {variance} was given. Use more fractional "
            "bits."
        )
    if variance > _MOST:
        raise ParameterError(
            "noise shares need a variance of at most 2^44 in units of the integers, but "
            f"{variance} was given. Use fewer fractional bits."
        )
    return variance * honest - ROUNDING**2


def discrete_gaussian(source: Source, variance: int, *shape: int) -> Tensor:
    """int64[shape] with mass proportional to exp(-x^2 / (2 variance)), exactly.

    Doubles decide only what they can decide: a uniform number within 2^-40 of its threshold is
    compared again with 60 digits.

    >>> from .masks import SeededSource
    >>> found = discrete_gaussian(SeededSource(3), 100, 4000).double()
    >>> abs(float(found.square().mean()) - 100) < 10
    True
    """
    check.count(variance=variance)
    if variance > _MOST:
        raise ParameterError(f"variance must be at most {_MOST}, but is {variance}")
    count, bits = math.prod(shape), _Bits(source)
    scale = math.isqrt(variance) + 1
    found = np.empty(0, dtype=np.int64)
    while len(found) < count:
        tried = _discrete_laplace(bits, scale, max(64, 2 * (count - len(found))))
        numerator = np.abs(tried) * scale - variance
        keep = bits.bernoulli_exp_square(numerator, 2 * variance * scale**2)
        found = np.concatenate([found, tried[keep]])
    return torch.from_numpy(found[:count].copy()).reshape(shape)


def _discrete_laplace(bits: "_Bits", scale: int, count: int) -> NDArray[np.int64]:
    """Up to `count` integers with mass proportional to exp(-|y| / scale)."""
    low = bits.below(scale, count)
    low = low[bits.bernoulli_exp(low, scale)]
    high = np.zeros_like(low)
    alive = np.arange(len(low))
    while len(alive):
        alive = alive[bits.bernoulli_exp(np.ones(len(alive), dtype=np.int64), 1)]
        high[alive] += 1
    sizes = low + scale * high
    negative = bits.below(2, len(low)) == 1
    kept = ~(negative & (sizes == 0))  # else 0 would count twice
    signed: NDArray[np.int64] = np.where(negative, -sizes, sizes)[kept]
    return signed


class _Bits:
    """A stream of 62-bit words of a source."""

    def __init__(self, source: Source) -> None:
        self._source, self._block = source, 0

    def words(self, count: int) -> NDArray[np.int64]:
        self._block += 1
        return self._source.words(count, self._block) & (2**62 - 1)

    def below(self, limit: int, count: int) -> NDArray[np.int64]:
        """Uniform over 0..limit-1, by rejection."""
        top = 2**62 - 2**62 % limit
        words = self.words(count)
        while bool((wrong := words >= top).any()):
            words[wrong] = self.words(int(wrong.sum()))
        return words % limit

    def bernoulli_exp(self, top: NDArray[np.int64], bottom: int) -> NDArray[np.bool_]:
        """True with probability exp(-top/bottom), each."""
        return self._decide(top / bottom, lambda i: Decimal(int(top[i])) / bottom)

    def bernoulli_exp_square(self, top: NDArray[np.int64], bottom: int) -> NDArray[np.bool_]:
        """True with probability exp(-top^2/bottom), each."""
        doubles = top.astype(np.float64)
        return self._decide(
            doubles * doubles / bottom, lambda i: Decimal(int(top[i])) ** 2 / bottom
        )

    def _decide(self, exponents: NDArray[np.float64], exact) -> NDArray[np.bool_]:  # type: ignore[no-untyped-def]
        words = self.words(len(exponents))
        # exponent errs by 2^-51 relatively, so exp(-exponent) by less than 2^-50 absolutely.
        gap = words / 2.0**62 - np.exp(-np.minimum(exponents, 745.0))
        outcome = gap < 0.0
        for i in np.flatnonzero(np.abs(gap) < _AMBIGUOUS):
            with localcontext() as context:
                context.prec = 60
                threshold = (-exact(i)).exp() * 2**124
                fine = (int(words[i]) << 62) + int(self.words(1)[0])
                if abs(threshold - fine) < 2:  # pragma: no cover - probability 2^-122
                    raise ArithmeticError("a uniform number of 124 bits did not decide; run again")
                outcome[i] = fine < threshold
        return outcome

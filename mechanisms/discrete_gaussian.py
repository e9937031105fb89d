r"""Sums of whole numbers with exact discrete Gaussian noise: nothing depends on the low bits.

How a discrete Gaussian is accounted in several dimensions, alone or as the sum of m shares of noise
of variance v each. Write eta(s) = 2 sum_k exp(-2 pi^2 s^2 k^2) for how far a Gaussian's sum over
shifted integers is from its integral (Poisson summation). Then, pointwise in the masses:

1. A sum of discrete Gaussians of variances a, b is one of variance a + b up to factors
   (1 +- eta): the sum over k of n_a(k) n_b(z-k) is n_(a+b)(z) times a sum of a Gaussian of variance
   ab/(a+b) >= v/2 over shifted integers. Hence m of them: 4 m factors at most.
2. A discrete Gaussian of variance V is the release N(0, V - r^2) rounded to an integer at random
   (z given y with mass proportional to exp(-(z-y)^2 / (2 r^2))), up to 4 such factors: the
   normaliser of the rounding is constant up to 1 +- eta(r). Shifts by integers pass through, and
   the rounding does not look at the data.

So the noisy sum of integer vectors is, up to a factor e^(+-tau) with
tau = coordinates (4 m + 4) 2 eta(min(r, sqrt(v/2))), a post-processing of a *continuous* Gaussian
release of variance m v - r^2, and delta(epsilon) <= e^tau delta_Gauss(epsilon - 2 tau). With r = 3
and v >= 32, eta < 1e-76 and tau < 1e-60 up to 10^15 coordinates times shares. `effective_variance`
refuses smaller v and charges r^2; `gaussian_multiplier` charges tau. Reduction modulo a number is a
post-processing too: a wrapped value is wrong, but costs no privacy. Source of the first step:
Kairouz, Liu & Steinke, arXiv:2102.06387.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import dp_accounting.dp_event as dpe
from torch import Tensor

from ..accountant import check
from ..accountant.adjacency import contribution_factor
from ..accountant.assumption import Assumption
from ..accountant.errors import ParameterError
from ..accountant.events import DiscreteGaussianDpEvent
from .assumed import NAN_IS_ZERO, WHOLE_NUMBERS, public
from .base import Key, Point
from .exact_sampling import discrete_gaussian, key_words
from .rounding import LARGEST, LARGEST_NOISE, clipped_steps

ROUNDING = 3  # r above, in units of the integers
LEAST_VARIANCE = 32  # v above
# A multiplier smaller by this much has a delta larger by far more than tau < 1e-60 makes.
_CHARGE = Fraction(1) - Fraction(1, 10**12)


def effective_variance(*, variance: Fraction | int, honest: int = 1) -> Fraction:
    """Variance of the continuous Gaussian whose guarantee `honest` shares of noise have.

    Args:
        variance: parameter of one discrete Gaussian, in units of the integers, >= 32.
        honest: shares that are in the sum and that no coalition knows.

    Raises:
        ParameterError: the variance is too small for the proof.

    >>> effective_variance(variance=100, honest=6)
    Fraction(591, 1)
    """
    check.count(honest=honest)
    if variance < LEAST_VARIANCE:
        raise ParameterError(
            f"noise needs a variance of at least {LEAST_VARIANCE} in units of the integers, so "
            f"that it is as good as a Gaussian, but {float(variance):g} was given. Use more "
            "fractional bits, or a finer step."
        )
    return Fraction(variance) * honest - ROUNDING**2


def gaussian_multiplier(*, variance: Fraction | int, honest: int = 1, moved: int) -> float:
    """Noise multiplier of the Gaussian release that dominates the noisy sum, rounded down.

    Args:
        variance: as in `effective_variance`; raises as it does.
        honest: likewise.
        moved: L2 norm of one contribution at most, in units of the integers.
    """
    check.count(moved=moved)
    effective = effective_variance(variance=variance, honest=honest)
    # The root of a fraction from below: of its numerator over a power of two.
    root = Fraction(math.isqrt(math.floor(effective * 2**128)), 2**64)
    return math.nextafter(float(root / moved * _CHARGE), 0.0)


def concentrated(*, scale: Fraction) -> dpe.DpEvent:
    """The zCDP event of a release that `scale` times its noise parameter is moved by at most.

    Accounting does not multiply rho by the adjacency's factor, so it is that of replace-one, which
    is right under every adjacency.
    """
    rho = (scale * int(contribution_factor("replace-one"))) ** 2 / 2
    return dpe.ZCDpEvent(math.nextafter(float(rho), math.inf))


@dataclass(frozen=True, kw_only=True)
class DiscreteGaussianSum:
    """Clip each row in L2 on a grid, sum, add discrete Gaussian noise to each coordinate.

    Source: Canonne, Kamath & Steinke, arXiv:2004.00010.

    Attributes:
        step: width of the grid, > 0, in the units of a row.
        clip_steps: bound on one row's L2 norm, in steps.
        sigma_steps: noise parameter, in steps.
        dimension: size of a row.
    """

    point: ClassVar[Point] = "aggregate"
    step: float
    clip_steps: int
    sigma_steps: float
    dimension: int

    def __post_init__(self) -> None:
        check.positive(step=self.step, sigma_steps=self.sigma_steps)
        check.count(clip_steps=self.clip_steps, dimension=self.dimension)
        if self.clip_steps > LARGEST or self.sigma_steps > LARGEST_NOISE:
            raise ParameterError(
                f"clip_steps = {self.clip_steps} and sigma_steps = {self.sigma_steps} give sums "
                "that whole numbers of 64 bits may not hold.\n  Use a coarser step."
            )

    def contribution(self, rows: Tensor) -> Tensor:
        """int64[..., dimension]: each row clipped, in steps."""
        if rows.shape[-1] != self.dimension:
            raise ParameterError(
                f"rows must be float[..., n, {self.dimension}], but are {list(rows.shape)}"
            )
        return clipped_steps(rows, bound=self.clip_steps, step=self.step, order=2)

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """Noisy sums, float64[..., dimension], of float[..., n, dimension]; n may be 0."""
        total = self.contribution(payload).sum(dim=-2)
        variance = Fraction(self.sigma_steps) ** 2
        noise = discrete_gaussian(tuple(total.shape), variance=variance, words=key_words(key))
        return (total + noise.to(total)).double() * self.step

    def event(self) -> dpe.DpEvent:
        """One release, right under every adjacency.

        Exact for one coordinate. For several it is the Gaussian of this module's docstring, or
        below a variance of 32 steps zCDP: a row's whole-number parts satisfy an L2 bound together,
        and rho = Delta^2 / (2 sigma^2) holds for any number of coordinates (Theorem 14 of the
        source). That one is the event of replace-one: four times too large under the others.
        """
        if self.dimension == 1:
            return DiscreteGaussianDpEvent(self.sigma_steps, self.clip_steps)
        variance = Fraction(self.sigma_steps) ** 2
        if variance < LEAST_VARIANCE:
            return concentrated(scale=Fraction(self.clip_steps) / Fraction(self.sigma_steps))
        return dpe.GaussianDpEvent(gaussian_multiplier(variance=variance, moved=self.clip_steps))

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        return (public("The grid, the clip bound and the noise scale"), NAN_IS_ZERO, WHOLE_NUMBERS)

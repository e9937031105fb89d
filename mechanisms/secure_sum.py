"""Secure sums with distributed noise: each client adds a share of the noise, then all are added.

The server sees the sum over the surviving clients and nothing else. Noise leaves with a client
that drops out, so shares are scaled for the fewest survivors, less the clients that would tell the
server their own share. A client whose *data* are exchanged still adds its share: zero-out and
replace-one are covered, add-remove is not, and the accountant refuses the events under it.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ..accountant import check
from ..accountant.adjacency import FIXED_SIZE
from ..accountant.assumption import Assumption
from ..accountant.errors import ParameterError
from ..accountant.events import RestrictedDpEvent
from .assumed import DOUBLE_PRECISION, NAN_IS_ZERO, ONE_KEY, WHOLE_NUMBERS, public
from .base import Key, Point, require_floating
from .clipping import Clip
from .discrete_gaussian import LEAST_VARIANCE, concentrated, gaussian_multiplier
from .exact_sampling import Words, discrete_gaussian, key_words
from .rounding import LARGEST, LARGEST_NOISE, clipped_steps
from .sums import noisy, restored, total

_SUM_ONLY = Assumption(
    text="The server learns the sum of the survivors and nothing else.",
    how="the job of the secure-aggregation protocol; not checked here",
    holds=None,
)


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Who adds noise.

    Attributes:
        fewest_survivors: a sum of fewer clients is not opened.
        colluding: clients that may tell the server their noise, < fewest_survivors.
    """

    fewest_survivors: int
    colluding: int = 0

    def __post_init__(self) -> None:
        check.count(fewest_survivors=self.fewest_survivors)
        check.whole(colluding=self.colluding)
        if self.colluding >= self.fewest_survivors:
            raise ParameterError(
                f"colluding = {self.colluding} must be below fewest_survivors = "
                f"{self.fewest_survivors}: no noise would be left"
            )

    @property
    def honest(self) -> int:
        """Shares of noise that are in every opened sum and that nobody knows."""
        return self.fewest_survivors - self.colluding

    def survivors(self, clients: int, alive: Tensor | None) -> Tensor:
        """bool[clients]; all if `alive` is None.

        Raises:
            ParameterError: too few are alive; nothing may be opened.
        """
        found = torch.ones(clients, dtype=torch.bool) if alive is None else alive
        if found.dtype != torch.bool:
            raise ParameterError(f"alive must be bool[{clients}], but is of type {found.dtype}")
        if found.shape != (clients,) or int(found.sum()) < self.fewest_survivors:
            raise ParameterError(
                f"{int(found.sum())} of {clients} clients are alive, but at least "
                f"{self.fewest_survivors} are needed: their noise would be too small.\n"
                "  Repeat the round with more clients, or plan for fewer survivors."
            )
        return found

    def assumptions(self) -> tuple[Assumption, ...]:
        """What distributing the noise needs."""
        return (
            _SUM_ONLY,
            Assumption(
                text="A client adds its noise whatever its data are.",
                how="zero-out and replace-one are covered; add-remove takes a share away, and the "
                "accountant refuses it",
                holds=None,
            ),
            Assumption(
                text=f"At least {self.honest} survivors draw their noise as told, in secret.",
                how=f"sums of fewer than {self.fewest_survivors} clients are refused; "
                f"{self.colluding} may collude; honesty is declared",
                holds=None,
            ),
        )


@dataclass(frozen=True, kw_only=True)
class SecureGaussianSum:
    """Each client clips, adds its share of Gaussian noise; survivors are summed.

    Source: Dwork, Kenthapadi, McSherry, Mironov & Naor, EUROCRYPT 2006 (distributed noise).

    Attributes:
        clip_norm: bound on one client's update, > 0.
        noise_multiplier: noise std of the smallest sum / clip_norm, > 0.
        cohort: survivors and colluding clients.
    """

    point: ClassVar[Point] = "per_upload"
    clip_norm: float
    noise_multiplier: float
    cohort: Cohort

    def __post_init__(self) -> None:
        check.positive(clip_norm=self.clip_norm, noise_multiplier=self.noise_multiplier)

    @property
    def share_stddev(self) -> float:
        """Noise of one client, rounded up."""
        exact = self.noise_multiplier * self.clip_norm / math.sqrt(self.cohort.honest)
        return exact * (1.0 + 2.0**-50)

    def contribution(self, rows: Tensor) -> Tensor:
        """float[..., dim]: each client's update clipped."""
        return Clip(joint_norm=self.clip_norm).apply(rows)

    def shares(self, payload: Tensor, key: Key) -> Tensor:
        """float64[..., clients, dim]: what each client puts into the secure sum."""
        require_floating(payload)
        own = key.child("shares of noise")
        return noisy(self.contribution(payload).double(), self.share_stddev, own)

    def release(self, payload: Tensor, key: Key, alive: Tensor | None = None) -> Tensor:
        """Noisy sums, float[..., dim], of updates float[..., clients, dim].

        Raises:
            ParameterError: fewer survivors than planned.
        """
        alive = self.cohort.survivors(payload.shape[-2], alive).to(payload.device)
        return restored(total(self.shares(payload, key)[..., alive, :]), payload)

    def event(self) -> dpe.DpEvent:
        """One sum; zero-out or replace-one of one client's data."""
        return RestrictedDpEvent(dpe.GaussianDpEvent(self.noise_multiplier), FIXED_SIZE)

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        scales = public("The clip bound and the noise scale")
        return (*self.cohort.assumptions(), scales, NAN_IS_ZERO, ONE_KEY, DOUBLE_PRECISION)


@dataclass(frozen=True, kw_only=True)
class SecureDiscreteSum:
    """The same on whole numbers modulo a power of two: distributed discrete Gaussian noise.

    A sum of discrete Gaussians is not one, but close; the distance is charged. Values that wrap
    around are garbled, not less private. Source: Kairouz, Liu & Steinke, arXiv:2102.06387,
    Proposition 14, for shares below a variance of 32; `discrete_gaussian`'s docstring above.

    Attributes:
        step: width of the grid, > 0, in the units of an update.
        clip_steps: bound on one client's L2 norm, in steps.
        share_sigma: noise parameter of one client, in steps, >= 0.5.
        dimension: size of an update.
        cohort: survivors and colluding clients.
        bits: sums are taken modulo 2^bits, 2..62.
    """

    point: ClassVar[Point] = "per_upload"
    step: float
    clip_steps: int
    share_sigma: float
    dimension: int
    cohort: Cohort
    bits: int = 32

    def __post_init__(self) -> None:
        check.positive(step=self.step, share_sigma=self.share_sigma)
        check.count(clip_steps=self.clip_steps, dimension=self.dimension, bits=self.bits)
        if self.share_sigma < 0.5:
            raise ParameterError(f"share_sigma must be >= 0.5, but is {self.share_sigma}")
        if self.clip_steps > LARGEST or self.share_sigma > LARGEST_NOISE or not 2 <= self.bits < 63:
            raise ParameterError(
                f"clip_steps = {self.clip_steps}, share_sigma = {self.share_sigma} and bits = "
                f"{self.bits} do not fit whole numbers of 64 bits.\n  Use a coarser step (fewer "
                "fractional bits), and 2 to 62 bits for the sum."
            )

    @property
    def variance(self) -> Fraction:
        """Of one client's noise, in steps^2; exactly `share_sigma`'s square."""
        return Fraction(self.share_sigma) ** 2

    def contribution(self, rows: Tensor) -> Tensor:
        """int64[..., dimension]: each client's update clipped, in steps."""
        if rows.shape[-1] != self.dimension:
            raise ParameterError(
                f"updates must be float[..., clients, {self.dimension}], but are {list(rows.shape)}"
            )
        return clipped_steps(rows, bound=self.clip_steps, step=self.step, order=2)

    def noise(self, shape: tuple[int, ...], words: Words) -> Tensor:
        """int64[shape]: noise of clients, in steps."""
        return discrete_gaussian(shape, variance=self.variance, words=words)

    def release(self, payload: Tensor, key: Key, alive: Tensor | None = None) -> Tensor:
        """Noisy sums, float64[..., dimension], of updates float[..., clients, dimension].

        Raises:
            ParameterError: fewer survivors than planned.
        """
        alive = self.cohort.survivors(payload.shape[-2], alive).to(payload.device)
        whole = self.contribution(payload)
        noise = self.noise(tuple(whole.shape), key_words(key)).to(whole)
        half = 1 << (self.bits - 1)
        total = (whole + noise)[..., alive, :].sum(dim=-2)
        return (((total + half) % (2 * half)) - half).double() * self.step

    @property
    def distance(self) -> float:
        """Bound on how far the sum of shares is from a discrete Gaussian, per coordinate."""
        terms = (
            math.exp(-2.0 * (math.pi * self.share_sigma) ** 2 * k / (k + 1))
            for k in range(1, self.cohort.honest)
        )
        return 10.0 * math.fsum(terms) * (1.0 + 1e-9)

    @property
    def noise_multiplier(self) -> float:
        """Of the Gaussian release that dominates a sum; shares of variance 32 or more."""
        return gaussian_multiplier(
            variance=self.variance, honest=self.cohort.honest, moved=self.clip_steps
        )

    def event(self) -> dpe.DpEvent:
        """One sum; zero-out or replace-one of one client's data.

        The Gaussian that dominates the sum. Shares below a variance of 32 are accounted as zCDP of
        replace-one, which is four times too large under zero-out.
        """
        if self.variance >= LEAST_VARIANCE:
            return RestrictedDpEvent(dpe.GaussianDpEvent(self.noise_multiplier), FIXED_SIZE)
        root = Fraction(math.sqrt(self.cohort.honest)) * (1 - Fraction(1, 2**50))
        scale = self.clip_steps / (root * Fraction(self.share_sigma))
        # Proposition 14 adds the distance once, whatever the client moves: halved, since the
        # factor of replace-one doubles the scale.
        far = Fraction(math.sqrt(self.dimension) * self.distance) * (1 + Fraction(1, 10**12)) / 2
        return RestrictedDpEvent(concentrated(scale=scale + far), FIXED_SIZE)

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        scales = public("The grid, the clip bound and the noise scale")
        return (*self.cohort.assumptions(), scales, NAN_IS_ZERO, WHOLE_NUMBERS)

"""Sums of whole numbers with exact discrete Gaussian noise: nothing depends on the low bits."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import dp_accounting.dp_event as dpe
from torch import Tensor

from ..accountant import check
from ..accountant.adjacency import Adjacency, contribution_factor
from ..accountant.assumption import Assumption
from ..accountant.errors import ParameterError
from ..accountant.events import DiscreteGaussianDpEvent
from .assumed import NAN_IS_ZERO, WHOLE_NUMBERS, public
from .base import Key, Point
from .exact_sampling import discrete_gaussian
from .rounding import LARGEST, LARGEST_NOISE, clipped_steps


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
        noise = discrete_gaussian(tuple(total.shape), sigma=self.sigma_steps, key=key).to(total)
        return (total + noise).double() * self.step

    def event(self, adjacency: Adjacency = "replace-one") -> dpe.DpEvent:
        """One release under `adjacency`: exact for one coordinate, zCDP for several.

        A row's whole-number parts satisfy an L2 bound together; rho = Delta^2 / (2 sigma^2) holds
        for any number of coordinates (Theorem 14 of the source). An event of zCDP is not doubled
        by accounting, so account under this adjacency; the default is safe under every one.
        """
        if self.dimension == 1:
            return DiscreteGaussianDpEvent(self.sigma_steps, self.clip_steps)
        moved = Fraction(int(contribution_factor(adjacency)) * self.clip_steps)
        rho = moved**2 / (2 * Fraction(self.sigma_steps) ** 2)
        return dpe.ZCDpEvent(math.nextafter(float(rho), math.inf))

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        return (public("The grid, the clip bound and the noise scale"), NAN_IS_ZERO, WHOLE_NUMBERS)

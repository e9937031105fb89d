"""Sums with Laplace noise, of doubles and of whole numbers."""

from dataclasses import dataclass
from typing import ClassVar

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ..accountant import check
from ..accountant.assumption import Assumption
from ..accountant.errors import ParameterError
from .assumed import DOUBLE_PRECISION, NAN_IS_ZERO, WHOLE_NUMBERS, public
from .base import Key, Point, require_floating
from .exact_sampling import discrete_laplace, key_words
from .rounding import LARGEST, LARGEST_NOISE, clipped_steps

_LOW_BITS = Assumption(
    text="The low bits of a noisy sum tell no more than its value.",
    how="not so for doubles: which of them a sampler can reach depends on the true sum (Mironov, "
    "CCS 2012), and one noisy sum may refute a neighbour. `DiscreteLaplaceSum` has no such bits",
    holds=None,
)


def laplace_like(like: Tensor, key: Key) -> Tensor:
    """Independent Laplace noise of scale 1 in the shape of `like`."""
    return torch.from_numpy(key.generator().laplace(size=tuple(like.shape))).to(like)


@dataclass(frozen=True, kw_only=True)
class LaplaceSum:
    """Clip each row in L1, sum, add Laplace noise to each coordinate.

    Noise on floating-point numbers: the proof is about real ones, and the difference can be
    attacked (see `assumptions`). Source: Dwork, McSherry, Nissim & Smith, TCC 2006.

    Attributes:
        l1_norm: bound on one row's L1 norm, > 0.
        noise_multiplier: noise scale / l1_norm, > 0.
    """

    point: ClassVar[Point] = "aggregate"
    l1_norm: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        check.positive(l1_norm=self.l1_norm, noise_multiplier=self.noise_multiplier)

    def contribution(self, rows: Tensor) -> Tensor:
        """float[..., dim]: each row clipped; one that is not finite becomes zero."""
        finite = torch.isfinite(rows).all(dim=-1, keepdim=True)
        rows = torch.where(finite, rows, 0.0)
        norms = rows.abs().sum(dim=-1, keepdim=True)
        return rows * (self.l1_norm / norms).clamp(max=1.0)

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """Noisy sums, float[..., dim], of float[..., n, dim]; n may be 0.

        Added up in doubles; a narrower payload's type is restored at the end, when it is safe.

        Raises:
            ParameterError: whole numbers, which would cut the noise off.
        """
        require_floating(payload)
        total = self.contribution(payload.double()).sum(dim=-2)
        noisy = total + self.noise_multiplier * self.l1_norm * laplace_like(total, key)
        return noisy.to(payload.dtype)

    def event(self) -> dpe.DpEvent:
        """One release; exact for one coordinate and for records that move one coordinate."""
        return dpe.LaplaceDpEvent(self.noise_multiplier)

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        scales = public("The clip bound and the noise scale")
        return (scales, NAN_IS_ZERO, DOUBLE_PRECISION, _LOW_BITS)


@dataclass(frozen=True, kw_only=True)
class DiscreteLaplaceSum:
    """Clip each row in L1 on a grid, sum, add exact discrete Laplace noise.

    Source: Ghosh, Roughgarden & Sundararajan, arXiv:0811.2841; sampler arXiv:2004.00010.

    Attributes:
        step: width of the grid, > 0, in the units of a row.
        clip_steps: bound on one row's L1 norm, in steps.
        noise_parameter: a in exp(-a |x|), per step; epsilon is a * clip_steps.
    """

    point: ClassVar[Point] = "aggregate"
    step: float
    clip_steps: int
    noise_parameter: float

    def __post_init__(self) -> None:
        check.positive(step=self.step, noise_parameter=self.noise_parameter)
        check.count(clip_steps=self.clip_steps)
        if self.clip_steps > LARGEST or 1.0 / self.noise_parameter > LARGEST_NOISE:
            raise ParameterError(
                f"clip_steps = {self.clip_steps} and noise_parameter = {self.noise_parameter} give "
                "sums that whole numbers of 64 bits may not hold.\n  Use a coarser step."
            )

    def contribution(self, rows: Tensor) -> Tensor:
        """int64[..., dim]: each row clipped, in steps."""
        return clipped_steps(rows, bound=self.clip_steps, step=self.step, order=1)

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """Noisy sums, float64[..., dim], of float[..., n, dim]; n may be 0."""
        total = self.contribution(payload).sum(dim=-2)
        noise = discrete_laplace(
            tuple(total.shape), noise_parameter=self.noise_parameter, words=key_words(key)
        )
        return (total + noise.to(total)).double() * self.step

    def event(self) -> dpe.DpEvent:
        """One release; exact for one coordinate and for records that move one coordinate."""
        return dpe.DiscreteLaplaceDpEvent(self.noise_parameter, self.clip_steps)

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        return (public("The grid, the clip bound and the noise scale"), NAN_IS_ZERO, WHOLE_NUMBERS)

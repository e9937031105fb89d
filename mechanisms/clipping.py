"""Clip rules: bound one record, per group, jointly, or by an ellipsoid."""

import math
from dataclasses import dataclass
from fractions import Fraction

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ..accountant import check
from ..accountant.errors import ParameterError
from ..accountant.events import GroupwiseGaussianDpEvent


@dataclass(frozen=True, kw_only=True)
class Clip:
    """The set that one record is scaled into. Groups are consecutive dimensions.

    Give `group_norms`, `joint_norm` or both (per group first, then jointly), or
    `ellipsoid_radii` alone: sum_g |z_g|^2 / radius_g^2 <= 1.

    Raises:
        ParameterError: none or too many are given, or a bound is not positive.
    """

    group_norms: tuple[float, ...] | None = None
    joint_norm: float | None = None
    ellipsoid_radii: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        boxed = self.group_norms is not None or self.joint_norm is not None
        if boxed == (self.ellipsoid_radii is not None):
            raise ParameterError(
                f"give group_norms, joint_norm or both, or else ellipsoid_radii alone; got {self}"
            )
        for bounds in (self.group_norms, self.ellipsoid_radii):
            if bounds is not None and not bounds:
                raise ParameterError(f"a clip needs a bound for each group; got none in {self}")
            for bound in bounds or ():
                check.positive(norm_bound=bound)
        if self.joint_norm is not None:
            check.positive(joint_norm=self.joint_norm)

    def require_groups(self, group_sizes: tuple[int, ...]) -> None:
        """Raise `ParameterError` unless there is a bound for each group."""
        for bounds in (self.group_norms, self.ellipsoid_radii):
            if bounds is not None:
                check.same_length(group_sizes=group_sizes, norm_bounds=bounds)

    def apply(self, rows: Tensor, group_sizes: tuple[int, ...] | None = None) -> Tensor:
        """`rows`, float[..., dim], each scaled into the set; a row that is not finite becomes zero.

        A NaN that got through would show that its record took part. Lengths are taken in double
        precision and rounding is allowed for, so that the rows of any type lie in the set exactly.
        Without `group_sizes` all dimensions are one group.
        """
        group_sizes = (rows.shape[-1],) if group_sizes is None else group_sizes
        self.require_groups(group_sizes)
        rows = rows if rows.is_floating_point() else rows.double()
        finite = torch.isfinite(rows).all(dim=-1, keepdim=True)
        rows = torch.where(finite, rows, 0.0)
        if self.ellipsoid_radii is not None:
            parts = rows.split(group_sizes, dim=-1)
            pairs = zip(parts, self.ellipsoid_radii, strict=True)
            length = torch.stack([_norm(p) / r for p, r in pairs]).square().sum(dim=0).sqrt()
            return _shorten(rows, length, 1.0, narrowest=min(self.ellipsoid_radii))
        if self.group_norms is not None:
            parts = rows.split(group_sizes, dim=-1)
            pairs = zip(parts, self.group_norms, strict=True)
            rows = torch.cat([_shorten(p, _norm(p), c) for p, c in pairs], dim=-1)
        return rows if self.joint_norm is None else _shorten(rows, _norm(rows), self.joint_norm)

    def event(self, noise_stddevs: tuple[float, ...], *, divisor: int) -> dpe.DpEvent:
        """Cost of releasing sum / divisor with Gaussian noise of these standard deviations.

        The event holds one record's contribution; the accountant applies the adjacency. For an
        ellipsoid the worst record puts everything into the group with the largest radius over
        noise, so it is a plain Gaussian. Rounded so that the event never costs less than the
        release: bounds up, noise multipliers down.
        """
        check.count(divisor=divisor)
        if self.ellipsoid_radii is not None:
            pairs = zip(noise_stddevs, self.ellipsoid_radii, strict=True)
            return dpe.GaussianDpEvent(min(_multiplier(s, divisor, r) for s, r in pairs))
        if self.joint_norm is None:
            bounds = tuple(_share(c, divisor) for c in self.group_norms or ())
            return GroupwiseGaussianDpEvent(noise_stddevs, bounds)
        if len(noise_stddevs) == 1 and self.group_norms is None:
            return dpe.GaussianDpEvent(_multiplier(noise_stddevs[0], divisor, self.joint_norm))
        # Without bounds of their own, the joint bound holds for each group.
        norms = self.group_norms or (self.joint_norm,) * len(noise_stddevs)
        bounds = tuple(_share(c, divisor) for c in norms)
        return GroupwiseGaussianDpEvent(noise_stddevs, bounds, _share(self.joint_norm, divisor))


def _share(bound: float, divisor: int) -> float:
    """Bound / divisor, rounded up."""
    exact = Fraction(bound) / divisor
    nearest = float(exact)
    return nearest if nearest >= exact else math.nextafter(nearest, math.inf)


def _multiplier(stddev: float, divisor: int, bound: float) -> float:
    """Stddev / (bound / divisor), rounded down."""
    if stddev == math.inf:
        return math.inf
    exact = Fraction(stddev) * divisor / Fraction(bound)
    nearest = float(exact)
    return nearest if nearest <= exact else math.nextafter(nearest, 0.0)


def _norm(rows: Tensor) -> Tensor:
    """float64[..., 1], with a relative error of at most (dim + 8) 2^-53."""
    norm: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True, dtype=torch.float64)
    safe = (norm > 1e-140) & (norm < 1e150)  # no square overflowed or vanished
    if rows.dtype != torch.float64 or bool(safe.all()):
        return norm
    largest = torch.linalg.vector_norm(rows, ord=math.inf, dim=-1, keepdim=True)
    shape = rows / torch.where(largest > 0.0, largest, 1.0)
    # row by row: no row may change how another one is rounded
    return torch.where(safe, norm, largest * torch.linalg.vector_norm(shape, dim=-1, keepdim=True))


def _shorten(rows: Tensor, lengths: Tensor, bound: float, *, narrowest: float = 1.0) -> Tensor:
    """`rows` scaled to a length of at most `bound`, after all roundings; shorter ones unchanged.

    Args:
        rows: float[..., dim].
        lengths: float64[..., 1], in units in which an entry of `rows` counts 1 / narrowest at most.
        bound: of the length.
        narrowest: see `lengths`.
    """
    size, kind = rows.shape[-1], torch.finfo(rows.dtype)
    wide = torch.promote_types(rows.dtype, torch.float32)
    measured = (size + 16) * 2.0**-53  # relative error of a length
    rounded = 4.0 * torch.finfo(wide).eps + 0.5 * kind.eps  # of a product, and of the result
    step = 2.0 * kind.smallest_normal * kind.eps * math.sqrt(size) / narrowest  # near zero
    target = max(0.0, bound * (1.0 - rounded - 3.0 * measured) - step)
    long = lengths > bound * (1.0 - measured)
    doubtful = long & (lengths <= bound)
    if bool(doubtful.any()):  # but the length of a row with one entry is exact
        long = long & ~(doubtful & (rows.count_nonzero(dim=-1).unsqueeze(-1) <= 1))
    # In two halves: the whole factor may be too small for the type, and then has no digits left.
    half = (math.sqrt(target) / lengths.sqrt()).clamp(max=1.0).to(wide)
    half = torch.where(half < torch.finfo(wide).smallest_normal, 0.0, half)
    half = torch.where(long, half, 1.0)
    return (rows.to(wide) * half * half).to(rows.dtype)

"""How to spread Gaussian noise over groups of coordinates at a fixed mu.

Minimise the weighted noise power sum_g w_g d_g s_g^2 subject to sum_g c_g^2/s_g^2 <= mu^2, with d_g
the dimension of group g, w_g its weight per dimension and c_g the bound on how far it moves. By
Cauchy-Schwarz the optimum is s_g^2 = c_g H/(sqrt(w_g d_g) mu^2), H = sum_h c_h sqrt(w_h d_h), and
its cost is H^2/mu^2. Equal noise costs (sum w d)(sum c^2)/mu^2, which is never less.

With a global clip alone there is nothing to gain: mu then depends on the quietest group only, so
equal noise at that level has the same mu and less noise elsewhere. Groups, weights and radii must
be public, or be paid for.

Source: Lagrange multipliers; related allocations: Pichapati et al., arXiv:1908.07643.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

from . import check
from .geometry import square, squared_clip_mu

_UP = 1.0 + 2.0**-52


def optimal_stddevs(
    norm_bounds: Sequence[float],
    dimensions: Sequence[int],
    *,
    mu: float,
    weights: Sequence[float] | None = None,
) -> tuple[float, ...]:
    """Noise standard deviation of each group, of least weighted power at `mu`.

    Rounded up until mu, computed exactly, is not exceeded.

    Args:
        norm_bounds: >= 0, how far each group can move: clip bounds times the factor of adjacency.
            A group that cannot move gets no noise.
        dimensions: coordinates in each group, >= 1.
        mu: > 0, no unit.
        weights: > 0, what a unit of noise power costs in each group; equal if not given.

    Raises:
        ParameterError: lengths that differ, or a number outside its range.

    >>> [round(s, 9) for s in optimal_stddevs([1.0, 1.0], [1, 16], mu=1.0)]
    [2.236067977, 1.118033989]
    """
    shares = _shares(norm_bounds, dimensions, mu, weights)
    total = math.fsum(c * share for c, share in zip(norm_bounds, shares, strict=True))
    stddevs = [
        math.sqrt(c / share) * math.sqrt(total) / mu
        for c, share in zip(norm_bounds, shares, strict=True)
    ]
    while squared_clip_mu(stddevs, norm_bounds=norm_bounds) > square(mu):
        stddevs = [stddev * _UP for stddev in stddevs]
    return tuple(stddevs)


def optimal_cost(
    norm_bounds: Sequence[float],
    dimensions: Sequence[int],
    *,
    mu: float,
    weights: Sequence[float] | None = None,
) -> float:
    """Least weighted noise power sum w_g d_g s_g^2 at `mu`; arguments as in `optimal_stddevs`.

    >>> optimal_cost([1.0, 1.0], [1, 16], mu=1.0)
    25.0
    """
    shares = _shares(norm_bounds, dimensions, mu, weights)
    return (math.fsum(c * share for c, share in zip(norm_bounds, shares, strict=True)) / mu) ** 2


def ellipsoid_stddevs(
    norms: Sequence[float],
    dimensions: Sequence[int],
    *,
    mu: float,
    weights: Sequence[float] | None = None,
    factor: float = 1.0,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(radii, stddevs) for clipping to sum_g |v_g|^2/r_g^2 <= 1, of least weighted noise power.

    The radii are the best ones for which a contribution with group norms `norms` is just not
    clipped: r_g^2 = m_g H/sqrt(w_g d_g), H = sum m_h sqrt(w_h d_h). Noise: s_g = factor r_g/mu.

    Args:
        norms: > 0, public typical norm of each group.
        dimensions: coordinates in each group, >= 1.
        mu: > 0, no unit.
        weights: > 0; equal if not given.
        factor: how far the release moves in units of one contribution, > 0.

    Raises:
        ParameterError: lengths that differ, or a number outside its range.

    >>> radii, stddevs = ellipsoid_stddevs([1.0, 1.0], [1, 16], mu=2.0)
    >>> [round(r, 9) for r in radii], [round(s, 9) for s in stddevs]
    ([2.236067977, 1.118033989], [1.118033989, 0.559016994])
    """
    shares = _shares(norms, dimensions, mu, weights)
    check.positive(factor=factor)
    for norm in norms:
        check.positive(norms=norm)
    total = math.fsum(m * share for m, share in zip(norms, shares, strict=True))
    radii = tuple(
        math.sqrt(m / share) * math.sqrt(total) for m, share in zip(norms, shares, strict=True)
    )
    stddevs = [factor * radius / mu for radius in radii]
    limit = square(mu) / Fraction(factor) ** 2
    while squared_clip_mu(stddevs, ellipsoid_radii=radii) > limit:
        stddevs = [stddev * _UP for stddev in stddevs]
    return radii, tuple(stddevs)


def is_isotropic_optimal(
    norm_bounds: Sequence[float],
    dimensions: Sequence[int],
    *,
    weights: Sequence[float] | None = None,
    tolerance: float = 1e-9,
) -> bool:
    """Whether equal noise in all groups is already optimal: norm_bounds ~ sqrt(w_g d_g).

    >>> is_isotropic_optimal([1.0, 4.0], [1, 16])
    True
    >>> is_isotropic_optimal([1.0, 1.0], [1, 16])
    False
    """
    shares = _shares(norm_bounds, dimensions, 1.0, weights)
    check.non_negative(tolerance=tolerance)
    ratios = [c / share for c, share in zip(norm_bounds, shares, strict=True)]
    return max(ratios) - min(ratios) <= tolerance * max(ratios)


def equal_power_stddevs(
    isotropic_stddev: float, fraction: float, ratio: float
) -> tuple[float, float]:
    """(quiet, loud) noise with the average power of isotropic noise.

    The quiet group holds `fraction` of the dimensions; loud = ratio * quiet. With a global clip
    alone this raises mu by isotropic_stddev/quiet = sqrt(fraction + (1 - fraction) ratio^2).

    Args:
        isotropic_stddev: > 0.
        fraction: in [0, 1].
        ratio: > 0.

    Raises:
        ParameterError: a number outside its range.

    >>> equal_power_stddevs(5.0, 0.5, 7.0)
    (1.0, 7.0)
    """
    check.positive(isotropic_stddev=isotropic_stddev, ratio=ratio)
    check.probability(fraction=fraction)
    quiet = isotropic_stddev / math.sqrt(fraction + (1.0 - fraction) * ratio * ratio)
    return quiet, ratio * quiet


def _shares(
    bounds: Sequence[float],
    dimensions: Sequence[int],
    mu: float,
    weights: Sequence[float] | None,
) -> list[float]:
    # sqrt(w_g d_g), with everything checked
    weights = [1.0] * len(bounds) if weights is None else weights
    check.positive(mu=mu)
    check.same_length(bounds=bounds, dimensions=dimensions, weights=weights)
    for bound, dimension, weight in zip(bounds, dimensions, weights, strict=True):
        check.non_negative(bounds=bound)
        check.count(dimensions=dimension)
        check.positive(weights=weight)
    return [math.sqrt(w * d) for w, d in zip(weights, dimensions, strict=True)]

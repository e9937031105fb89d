"""The Gaussian-DP parameter of one Gaussian release, from the set that clipping leaves.

Releasing p(D) + N(0, S) is exactly mu-GDP with mu = sup |S^(-1/2) (p(D) - p(D'))| over neighbours:
whitening is a bijection, and the coordinates orthogonal to the shift carry no information. What
remains is to maximise over the clip set, which every formula here does exactly (the maximum is
attained). How far a sum or mean can move in units of one contribution is a separate factor: see
`adjacency.contribution_factor` and, for class means, `class_mean_factor`.

Assumed of the release: the noise covariance, the groups and the radii do not depend on the private
records, and neither does the encoder (or each is a release accounted on its own).

Source: Dong, Roth & Su, arXiv:1905.02383 (Gaussian mechanism); Balle & Wang, arXiv:1805.06530.

Rounding: `squared_clip_mu` is exact in rational numbers, `clip_mu` the nearest double to its root,
`covariance_mu` is rounded up by the error bound of its eigenvalue.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from . import check
from .adjacency import ADJACENCIES, Adjacency
from .errors import ParameterError

# A fraction, or the float infinity.
Exact = Fraction | float


def clip_mu(
    noise_stddevs: Sequence[float],
    *,
    norm_bounds: Sequence[float] | None = None,
    joint_norm_bound: float | None = None,
    ellipsoid_radii: Sequence[float] | None = None,
) -> float:
    """Largest |S^(-1/2) v| over the clipped contributions v, one noise scale per group.

    =====================================  =====================================================
    given                                  result
    =====================================  =====================================================
    joint_norm_bound C                     C / min s_g: all of it in the quietest group
    norm_bounds C_g                        sqrt(sum C_g^2/s_g^2)
    both                                   fill the groups by increasing s_g, each up to C_g
    ellipsoid_radii r_g                    max r_g/s_g, for sum (norm of v_g)^2/r_g^2 <= 1
    =====================================  =====================================================

    Args:
        noise_stddevs: >= 0, one per group. 0 gives infinity where the group can move.
        norm_bounds: >= 0, one per group, in the units of the noise. 0: the group cannot move.
        joint_norm_bound: >= 0, over all groups.
        ellipsoid_radii: >= 0, one per group; excludes the other two.

    Raises:
        ParameterError: no bound, bounds that exclude each other, lengths that differ, or a number
            that is negative or NaN.

    >>> clip_mu([1.0, 2.0], norm_bounds=[3.0, 8.0])
    5.0
    >>> clip_mu([1.0, 2.0], norm_bounds=[3.0, 8.0], joint_norm_bound=5.0)  # 3/1 and 4/2
    3.605551275463989
    """
    squared = squared_clip_mu(
        noise_stddevs,
        norm_bounds=norm_bounds,
        joint_norm_bound=joint_norm_bound,
        ellipsoid_radii=ellipsoid_radii,
    )
    lower, upper = root_interval(squared)
    return lower if lower == upper or root_is_below_middle(squared, lower, upper) else upper


def squared_clip_mu(
    noise_stddevs: Sequence[float],
    *,
    norm_bounds: Sequence[float] | None = None,
    joint_norm_bound: float | None = None,
    ellipsoid_radii: Sequence[float] | None = None,
) -> Exact:
    """The square of `clip_mu`, exact.

    >>> squared_clip_mu([2.0, 4.0], norm_bounds=[1.0, 1.0])
    Fraction(5, 16)
    """
    if ellipsoid_radii is not None and (norm_bounds is not None or joint_norm_bound is not None):
        raise ParameterError(
            "ellipsoid_radii excludes norm_bounds and joint_norm_bound; give the set that "
            "contributions are really clipped to"
        )
    bounds = norm_bounds if ellipsoid_radii is None else ellipsoid_radii
    if bounds is None and joint_norm_bound is None:
        raise ParameterError(
            "nothing bounds a contribution: give norm_bounds, joint_norm_bound or ellipsoid_radii"
        )
    if bounds is None:
        bounds = [math.inf] * len(noise_stddevs)
    check.same_length(noise_stddevs=noise_stddevs, bounds=bounds)
    for stddev, bound in zip(noise_stddevs, bounds, strict=True):
        check.non_negative(noise_stddevs=stddev, bounds=bound)
    groups = sorted(zip(noise_stddevs, bounds, strict=True))
    if ellipsoid_radii is not None:
        return max(_share(stddev, square(bound)) for stddev, bound in groups)
    left: Exact = math.inf
    if joint_norm_bound is not None:
        check.non_negative(joint_norm_bound=joint_norm_bound)
        left = square(joint_norm_bound)
    # A linear programme in t_g = |v_g|^2 with one coupling constraint: greedy is optimal.
    total: Exact = Fraction(0)
    for stddev, bound in groups:
        part = min(square(bound), left)
        total += _share(stddev, part)
        if left != math.inf:
            left -= part
    return total


def covariance_mu(covariance: Any, bound: float) -> float:
    """Upper end of `covariance_mu_interval`.

    >>> round(covariance_mu([[2.0, 1.0], [1.0, 2.0]], 3.0), 12)
    3.0
    """
    return covariance_mu_interval(covariance, bound)[1]


def covariance_mu_interval(covariance: Any, bound: float) -> tuple[float, float]:
    """Largest |S^(-1/2) v| over |v| <= bound, for noise with covariance S: bound/sqrt(lambda_min).

    The upper end is infinite where S is singular to working precision: the noise then misses a
    direction (one noise draw used twice is such a case).

    Args:
        covariance: float[dim, dim], symmetric, positive semi-definite.
        bound: >= 0, L2 norm of a contribution.

    Raises:
        ParameterError: not square, not finite, not symmetric, or with a negative eigenvalue.
    """
    check.non_negative(bound=bound)
    matrix = np.asarray(covariance, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise ParameterError(f"covariance must be a square matrix, but has shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ParameterError("covariance must be finite, but holds NaN or infinity")
    if not np.array_equal(matrix, matrix.T):
        gap = float(np.abs(matrix - matrix.T).max())
        raise ParameterError(
            f"covariance must be symmetric, but differs from its transpose by up to {gap:g}.\n"
            "  If that is rounding, pass (S + S.T) / 2."
        )
    values = np.linalg.eigvalsh(matrix)
    # Backward error of a symmetric eigensolver: a modest multiple of dim * 2^-53 * |S|.
    error = 16.0 * len(values) * 2.0**-53 * float(np.abs(values).max())
    smallest = float(values[0])
    if smallest < -error:
        raise ParameterError(f"covariance must not be indefinite, but has eigenvalue {smallest:g}")
    if bound == 0.0:
        return 0.0, 0.0
    above = max(smallest, 0.0) + error
    lower = bound / math.sqrt(above) * (1.0 - 2.0**-50) if above else math.inf
    if smallest <= error:
        return lower, math.inf
    return lower, bound / math.sqrt(smallest - error) * (1.0 + 2.0**-50)


def class_mean_factor(
    adjacency: Adjacency, count: int, *, divisor: Literal["public", "true_count"]
) -> float:
    """How far sum/divisor can move, in units of one contribution's bound.

    - replace-one, public divisor n: 2/n (the clip set K is symmetric and convex, K - K = 2 K).
    - add-remove or zero-out, public divisor n0: 1/n0.
    - add-remove, divided by the true number of records: 2/n, n the larger of the two counts; not
      1/n, since the other n - 1 records move too. The noise must then not be scaled by n: a noise
      level that shows the count is not covered by this factor.

    Args:
        adjacency: what a neighbour is.
        count: the divisor, >= 1.
        divisor: "public" if it is the same for both neighbours, else "true_count".

    Raises:
        ParameterError: a combination for which no factor is proven.

    >>> class_mean_factor("add-remove", 50, divisor="public")
    0.02
    """
    check.one_of(ADJACENCIES, adjacency=adjacency)
    check.one_of(("public", "true_count"), divisor=divisor)
    check.count(count=count)
    if divisor == "true_count" and adjacency != "add-remove":
        raise ParameterError(
            f'divisor="true_count" is not defined under "{adjacency}".\n'
            '  There the number of records is fixed: say divisor="public", if it is public '
            "also for each class; otherwise release a noisy count (noisy_count_mu)."
        )
    return (1.0 if adjacency != "replace-one" and divisor == "public" else 2.0) / count


def noisy_count_mu(
    sum_mus: Sequence[float],
    count_stddevs: Sequence[float],
    *,
    adjacency: Adjacency,
    label_may_change: bool,
) -> float:
    """Per class one noisy sum and one noisy count, all released together.

    - add-remove, zero-out: one class moves, sum and count: mu_c^2 = m_c^2 + 1/s_c^2.
    - replace-one, labels fixed: the sum moves by twice the bound, no count moves: 2 m_c.
    - replace-one, the label may change: either that, within a class, or a record leaves class a
      and another enters b: mu_a^2 + mu_b^2. The larger of the two; without counts the first.

    The largest over classes (or pairs). Sum/max(noisy count, n_min) is post-processing.

    Args:
        sum_mus: `clip_mu` of each class sum, for one contribution.
        count_stddevs: noise of each count, > 0; infinity where no count is released.
        adjacency: what a neighbour is.
        label_may_change: whether a replaced record may get another class.

    Raises:
        ParameterError: lengths that differ, or a number that is negative or NaN.

    >>> noisy_count_mu([3.0], [0.25], adjacency="add-remove", label_may_change=False)
    5.0
    """
    check.one_of(ADJACENCIES, adjacency=adjacency)
    check.same_length(sum_mus=sum_mus, count_stddevs=count_stddevs)
    for sum_mu, stddev in zip(sum_mus, count_stddevs, strict=True):
        check.non_negative(sum_mus=sum_mu, count_stddevs=stddev)
    singles = sorted(
        math.hypot(sum_mu, 1.0 / stddev if stddev else math.inf)
        for sum_mu, stddev in zip(sum_mus, count_stddevs, strict=True)
    )
    if adjacency != "replace-one":
        return singles[-1]
    within = 2.0 * max(sum_mus)
    return max(within, math.hypot(*singles[-2:])) if label_may_change and singles[1:] else within


def square(value: float) -> Exact:
    """The exact square of a number >= 0."""
    return math.inf if value == math.inf else Fraction(value) ** 2


def root_interval(squared: Exact) -> tuple[float, float]:
    """The tightest doubles with lower <= sqrt(squared) <= upper.

    >>> root_interval(Fraction(1, 4))
    (0.5, 0.5)
    """
    if squared == math.inf:
        return math.inf, math.inf
    exact = Fraction(squared)
    # 70 bits and more of the root, from integers: no overflow, no underflow.
    shift = max(0, 70 - (exact.numerator.bit_length() - exact.denominator.bit_length()) // 2)
    digits = math.isqrt((exact.numerator << 2 * shift) // exact.denominator)
    try:
        lower = upper = digits / (1 << shift)
    except OverflowError:
        return math.nextafter(math.inf, 0.0), math.inf
    while Fraction(lower) ** 2 > exact:
        lower = math.nextafter(lower, 0.0)
    while upper < math.inf and Fraction(upper) ** 2 < exact:
        upper = math.nextafter(upper, math.inf)
    return lower, upper


def root_is_below_middle(squared: Exact, lower: float, upper: float) -> bool:
    """Whether the root of `squared`, in [lower, upper], is nearer to `lower`."""
    if upper == math.inf:
        return squared != math.inf
    return squared <= ((Fraction(lower) + Fraction(upper)) / 2) ** 2


def _share(stddev: float, squared_norm: Exact) -> Exact:
    if squared_norm == 0:
        return Fraction(0)
    if stddev == 0.0 or squared_norm == math.inf:
        return math.inf
    return Fraction(0) if stddev == math.inf else squared_norm / square(stddev)

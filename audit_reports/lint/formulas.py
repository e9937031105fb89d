"""Noise multipliers as published code computes them, and the exact one. No formula is endorsed.

Each gives sigma, the noise in units of the assumed sensitivity, for `releases` releases together.
"""

import math

from ...accountant import check
from ...accountant.calibrate import calibrate_gaussian
from ...accountant.errors import ParameterError
from ...accountant.gaussian import mu_interval
from .release import Formula, Release

# The grid of orders in the public code of VPDR, utils, commit 51ba672.
_ORDERS = (
    *(1.0 + 0.1 * step for step in range(1, 100)),
    *(float(order) for order in range(11, 64)),
    128.0,
    256.0,
    512.0,
)


def classical(epsilon: float, delta: float) -> float:
    """sqrt(2 ln(1.25/delta))/epsilon, one release; proven for epsilon <= 1 only.

    Source: Dwork & Roth, "The Algorithmic Foundations of Differential Privacy", 2014, Theorem A.1.

    >>> round(0.1 * classical(25.0, 1e-5), 5)
    0.01938
    """
    return math.sqrt(2.0 * math.log(1.25 / delta)) / epsilon


def moments(epsilon: float, delta: float, releases: int, rate: float = 1.0) -> float:
    """Noise rate sqrt(releases ln(1/delta))/epsilon: the moments accountant without its constant.

    That asymptotic form needs a small sampling rate and a small epsilon; at rate 1 nothing is
    proven by it. Source of the form: Abadi et al., arXiv:1607.00133.

    >>> round(moments(0.4, 1e-5, 100), 2)
    84.83
    """
    return rate * math.sqrt(releases * math.log(1.0 / delta)) / epsilon


def rdp(epsilon: float, delta: float, releases: int) -> float:
    """Smallest sigma with releases a/(2 sigma^2) + ln(1/delta)/(a - 1) <= epsilon for some order a.

    The classic conversion from Renyi DP, over the orders of VPDR's code. Valid, not tight. Source:
    Mironov, arXiv:1702.07476.

    >>> round(rdp(1.0, 1e-5, 20), 2)
    21.92
    """
    found = math.inf
    for order in _ORDERS:
        left = epsilon - math.log(1.0 / delta) / (order - 1.0)
        if left > 0.0:
            found = min(found, math.sqrt(0.5 * releases * order / left))
    if found == math.inf:
        raise ParameterError(
            f"no order of the grid reaches epsilon {epsilon:g} at delta {delta:g}: use an exact "
            "accountant"
        )
    return found


def exact(epsilon: float, delta: float, releases: int) -> float:
    """The smallest sigma, rounded up.

    >>> round(exact(1.0, 1e-5, 20), 2)
    16.68
    """
    return calibrate_gaussian(
        mu=mu_interval(epsilon, delta)[0], rounds=releases, adjacency="zero-out"
    )


def sigma(release: Release, delta: float) -> float:
    """The noise of `release` in units of its assumed sensitivity.

    Raises:
        ParameterError: the release has no Gaussian noise.
    """
    if release.formula == "given":
        if release.sigma is None:
            raise ParameterError(f"release {release.name!r} has no sigma; its kind needs one")
        return release.sigma
    check.positive(formula_epsilon=release.formula_epsilon)
    return by_name(
        release.formula, float(release.formula_epsilon or 0.0), delta, release.formula_releases
    )


def by_name(formula: Formula, epsilon: float, delta: float, releases: int) -> float:
    """Sigma by the formula of this name."""
    match formula:
        case "classical":
            return classical(epsilon, delta)
        case "moments":
            return moments(epsilon, delta, releases)
        case "rdp":
            return rdp(epsilon, delta, releases)
        case "exact":
            return exact(epsilon, delta, releases)
    raise ParameterError(f"formula {formula!r} computes no sigma; give release.sigma")

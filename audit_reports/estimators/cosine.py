"""One-shot federated estimate of epsilon from the cosines of random canary updates.

Asymptotic: k random unit canaries, each sent by one virtual client; c_j is the cosine between
canary j and the final change of the model. Without it c_j would be N(0, 1/d); with it N(m, s^2),
fitted. Epsilon is that between the two normals. It is consistent for the Gaussian mechanism and
proves nothing about others, hence it cannot refute. Source: Andrew et al., arXiv:2302.03098.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import chdtri, ndtr, stdtrit

from ...accountant import check
from ...accountant.adjacency import Adjacency, Unit
from ...accountant.claim import PrivacyClaim
from ...accountant.errors import ClaimError, DesignError
from .bound import Guarantee
from .clopper_pearson import risk

Normal = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class CosineEstimate:
    """An estimate, never a bound.

    Attributes:
        method: "cosine".
        guarantee: "asymptotic".
        confidence: of the interval of (mean, stddev) behind `epsilon_low`.
        adjacency: how the worlds of a canary differ.
        unit: whose data it is about.
        delta: where epsilon is stated.
        canaries: how many cosines.
        dimension: of the model's change.
        mean: fitted to the cosines.
        stddev: fitted to the cosines.
        epsilon_estimate: between N(0, 1/dimension) and the fit; nats.
        epsilon_low: the smallest over the t interval of the mean and the chi-square interval of
            the standard deviation: what is left if the cosines are independent normals.
    """

    method: str
    guarantee: Guarantee
    confidence: float
    adjacency: Adjacency
    unit: Unit
    delta: float
    canaries: int
    dimension: int
    mean: float
    stddev: float
    epsilon_estimate: float
    epsilon_low: float

    def refutes(self, claim: PrivacyClaim) -> bool:
        """Raise: an estimate does not refute anything."""
        raise ClaimError(
            f'the cosine estimate cannot refute the claim "{claim.text()}": it assumes a Gaussian '
            'mechanism and many canaries.\n  Use method "one_run_fdp" on the cosines as scores.'
        )


def normal_delta(epsilon: float, first: Normal, second: Normal) -> float:
    """Hockey stick of N(m0, s0^2) over e^epsilon N(m1, s1^2): largest P(A) - e^epsilon Q(A).

    The best A is where A x^2 + B x + C > 0: a half-line, an interval or its complement.
    """
    (m0, s0), (m1, s1) = first, second
    # in units of the first, so that nothing is lost at small deviations
    shift, ratio = (m1 - m0) / s0, s1 / s0
    a = 0.5 / ratio**2 - 0.5
    b = -shift / ratio**2
    c = 0.5 * (shift / ratio) ** 2 + math.log(ratio) - epsilon

    def mass(low: float, high: float) -> float:
        p = _between(low, high)
        q = _between((low - shift) / ratio, (high - shift) / ratio)
        return p - math.exp(min(epsilon, 700.0)) * q if q > 0.0 else p

    if abs(a) < 1e-14 * (1.0 + abs(b) + abs(c)):
        if b == 0.0:
            return max(0.0, -math.expm1(epsilon)) if c > 0.0 else 0.0
        root = -c / b
        return max(0.0, mass(root, math.inf) if b > 0.0 else mass(-math.inf, root))
    disc = b * b - 4.0 * a * c
    if disc <= 0.0:
        return max(0.0, -math.expm1(epsilon)) if a > 0.0 else 0.0
    q = -0.5 * (b + math.copysign(math.sqrt(disc), b))
    ends = sorted((q / a, c / q if q else 0.0))
    if a < 0.0:
        return max(0.0, mass(ends[0], ends[1]))
    return max(0.0, mass(-math.inf, ends[0]) + mass(ends[1], math.inf))


def _between(low: float, high: float) -> float:
    if low > 0.0:  # from the side that keeps its digits
        low, high = -high, -low
    return float(ndtr(high) - ndtr(low))


def normal_epsilon(delta: float, first: Normal, second: Normal) -> float:
    """Smallest epsilon >= 0 at which both hockey sticks of two normals are at most `delta`.

    Args:
        delta: in (0, 1).
        first: mean and standard deviation, > 0.
        second: the same.

    >>> null = (0.0, 2500.0**-0.5)
    >>> [round(normal_epsilon(1e-5, null, fit), 6) for fit in ((0.03, 0.021), (0.01, 0.018))]
    [8.193599, 4.333205]
    """
    check.open_probability(delta=delta)
    check.positive(stddev=first[1])
    check.positive(stddev=second[1])

    def excess(epsilon: float) -> float:
        worse = max(normal_delta(epsilon, first, second), normal_delta(epsilon, second, first))
        return worse - delta

    if excess(0.0) <= 0.0:
        return 0.0
    high = 1.0
    while excess(high) > 0.0:
        if high > 1e300:
            return math.inf
        high *= 2.0
    return float(brentq(excess, 0.0, high, xtol=1e-11))


def cosine_estimate(
    cosines: ArrayLike,
    *,
    dimension: int,
    delta: float,
    adjacency: Adjacency,
    unit: Unit = "client",
    confidence: float = 0.95,
    null: ArrayLike | None = None,
) -> CosineEstimate:
    """Fit a normal to the cosines of the canaries and compare it with the null.

    Source: Andrew et al., arXiv:2302.03098, Algorithms 1 and 2.

    Args:
        cosines: float[k], k >= 2; for all iterates, of each canary the largest over the rounds.
        dimension: d of the model's change.
        delta: in (0, 1).
        adjacency: how the worlds of a canary differ.
        unit: whose data it is about.
        confidence: in (0, 1).
        null: cosines of canaries that were never sent; None: N(0, 1/d).

    Raises:
        DesignError: fewer than two cosines, NaN, or all the same.
    """
    check.count(dimension=dimension)
    check.open_probability(delta=delta)
    alpha = risk(confidence)
    mean, stddev, k = _fit(cosines, "cosines")
    base: Normal = (0.0, dimension**-0.5)
    if null is not None:
        base = _fit(null, "null")[:2]
    # half of the error for each; the t quantile by Student's inverse, the other by chi-square
    reach = float(stdtrit(k - 1, 1.0 - alpha / 4.0)) * stddev / math.sqrt(k)
    spread = [
        stddev * math.sqrt((k - 1) / float(chdtri(k - 1, p))) for p in (alpha / 4, 1 - alpha / 4)
    ]
    nearest = min(max(base[0], mean - reach), mean + reach)
    trial = np.append(
        np.linspace(spread[0], spread[1], 65), min(max(base[1], spread[0]), spread[1])
    )
    low = min(normal_epsilon(delta, base, (nearest, float(s))) for s in trial)
    estimate = normal_epsilon(delta, base, (mean, stddev))
    return CosineEstimate(
        method="cosine",
        guarantee="asymptotic",
        confidence=confidence,
        adjacency=adjacency,
        unit=unit,
        delta=delta,
        canaries=k,
        dimension=dimension,
        mean=mean,
        stddev=stddev,
        epsilon_estimate=estimate,
        epsilon_low=min(low, estimate),
    )


def _fit(values: ArrayLike, name: str) -> tuple[float, float, int]:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or found.size < 2 or not np.isfinite(found).all():
        raise DesignError(f"{name} must be float[k], finite, k >= 2, but are {found.shape}")
    stddev = float(found.std(ddof=1))
    if stddev <= 1e-12 * float(np.abs(found).max()):
        raise DesignError(f"all {found.size} {name} are the same: nothing can be fitted")
    return float(found.mean()), stddev, found.size

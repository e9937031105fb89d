"""A bound in other words: one Gaussian parameter, zCDP, a point of the trade-off curve, an attack.

Each conversion has a direction, which its docstring states. Source, unless another is named: Dong,
Roth & Su, arXiv:1905.02383; Wasserman & Zhou, arXiv:0811.2501.
"""

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from . import check, gaussian
from .bounds import Interval
from .errors import UnsupportedEventError
from .mills import UNIT, normal_quantile

Array = NDArray[np.float64]

_CLOSE = 1e-3  # relative excess of a fitted mu
_NEAR = 5e-3  # absolute excess of its regret
_MOST_POINTS = 6000  # of the privacy profile, in one fit
_MOST_RATES = 60  # of the trade-off curve


class Bound(Protocol):
    """Whatever encloses a privacy profile and a trade-off curve."""

    def epsilon(self, delta: float) -> Interval: ...  # noqa: D102
    def delta(self, epsilon: float) -> Interval: ...  # noqa: D102
    def tpr(self, fpr: float) -> Interval: ...  # noqa: D102


class GdpFit(NamedTuple):
    """The smallest Gaussian curve over a privacy profile.

    Attributes:
        mu: the profile lies below that of mu-GDP at every epsilon in `range`, proven.
        regret: mu-GDP overstates the best TPR at no FPR by more than this, rounded up by about
            0.005; what is lost by quoting mu instead of the curve.
        range: the epsilons for which `mu` is proven, up to where delta is below the smallest one
            asked for. Only where its upper end is infinite is this a proof of mu-GDP.
        excess: mu is at most this much above the smallest one that fits, relative.
    """

    mu: float
    regret: float
    range: Interval
    excess: float


def gdp_fit(bound: Bound, *, smallest_delta: float = 1e-9) -> GdpFit:
    """Smallest mu whose privacy profile is above that of `bound`, and how much that overstates.

    Proven between the points too: on each cell the profile's upper limit at the left end is at
    most the Gaussian's delta at the right end, and both curves fall. Cells are halved until the
    result is within a relative 1e-3 of the smallest mu that covers the profile's upper limit. Where
    the bound knows itself to be mu-GDP for a smaller mu, that one is returned, for all epsilons.

    Args:
        bound: what is proven.
        smallest_delta: where the range of epsilons ends, in (0, 1).

    Raises:
        ParameterError: a number outside its range.

    >>> from .bounds import ProvenBound
    >>> fit = gdp_fit(ProvenBound(mu=Interval(0.5, 0.5), adjacency="add-remove"))
    >>> fit.mu, fit.regret < 1e-12
    (0.5, True)
    """
    check.open_probability(smallest_delta=smallest_delta)
    end = bound.epsilon(smallest_delta).upper
    if end == math.inf:
        return GdpFit(math.inf, _regret(bound, math.inf), Interval(0.0, math.inf), math.inf)
    own = getattr(bound, "mu", None)
    known = own.upper if isinstance(own, Interval) else getattr(bound, "mu_upper", math.inf)
    points, _, deltas = profile(bound, np.unique(np.linspace(0.0, end, 65)))
    least = max(_mu_at(*point)[0] for point in zip(points, deltas, strict=True))
    last = _mu_at(points[-1], deltas[-1])[1]
    cells = [
        _Cell.of(*ends)
        for ends in zip(points[:-1], points[1:], deltas[:-1], deltas[1:], strict=True)
    ]
    spent = len(points)
    while known > least * (1.0 + _CLOSE) and spent < _MOST_POINTS:
        goal = max(least * (1.0 + _CLOSE), last)
        wide = [cell for cell in cells if cell.mu > goal]
        if not wide:
            break
        middles = np.array([0.5 * (cell.left + cell.right) for cell in wide])
        found = profile(bound, middles).upper
        spent += len(wide)
        cells = [cell for cell in cells if cell.mu <= goal]
        for cell, middle, delta in zip(wide, middles, found, strict=True):
            # an engine's limit may be worse here than at the point before, but delta falls
            inside = min(delta, cell.delta_left)
            least = max(least, _mu_at(middle, inside)[0])
            cells.append(_Cell.of(cell.left, middle, cell.delta_left, inside))
            cells.append(_Cell.of(middle, cell.right, inside, cell.delta_right))
    mu, reach = max([last, *(cell.mu for cell in cells)]), Interval(0.0, end)
    if known <= mu:
        mu, reach = known, Interval(0.0, math.inf)
    excess = 0.0 if mu <= least else math.inf if least == 0.0 else mu / least - 1.0
    return GdpFit(mu, _regret(bound, mu), reach, excess)


def zcdp(bound: Bound) -> Interval:
    """Smallest rho such that the mechanism is rho-zCDP: mu^2/2 where it is mu-GDP.

    The upper end always holds. The lower one is above 0 only for a bound that comes from Gaussians
    alone, since other mechanisms may have a smaller rho than their mu says.

    Raises:
        UnsupportedEventError: the bound has no mu.

    >>> from .bounds import ProvenBound
    >>> found = zcdp(ProvenBound(mu=Interval(0.5, 0.5), adjacency="add-remove"))
    >>> round(found.lower, 12), round(found.upper, 12)
    (0.125, 0.125)
    """
    mu = getattr(bound, "mu", None)
    if not isinstance(mu, Interval):
        raise UnsupportedEventError(
            f"rho is known only where mu is, but {type(bound).__name__} has no mu.\n"
            "  Ask for epsilon, delta or tpr instead."
        )
    exact = getattr(bound, "method", "") == "gaussian"
    low = _half_square(mu.lower, up=False) if exact else 0.0
    return Interval(min(low, 1.7e308), _half_square(mu.upper, up=True))


def _half_square(mu: float, *, up: bool) -> float:
    """The double next to mu^2/2 on that side, or mu^2/2 itself."""
    if math.isinf(mu) or mu > 1e154:
        return math.inf if up else 1.7e308
    exact = Fraction(mu) ** 2 / 2
    near = float(exact)
    if up and Fraction(near) < exact:
        return math.nextafter(near, math.inf)
    if not up and Fraction(near) > exact:
        return math.nextafter(near, 0.0)
    return near


def dp_to_tpr(epsilon: float, delta: float, fpr: float) -> float:
    """Upper limit of any attack's TPR at `fpr`, where only one (epsilon, delta) is known.

    A whole curve gives a smaller one: use `bound.tpr`.

    >>> round(dp_to_tpr(1.0, 1e-5, 0.01), 9)
    0.027192818
    """
    check.non_negative(epsilon=epsilon)
    check.probability(delta=delta, fpr=fpr)
    grown = math.exp(epsilon) * (1.0 + 8.0 * UNIT) if epsilon < 709.0 else math.inf
    first = 0.0 if fpr == 0.0 else grown * fpr * (1.0 + 8.0 * UNIT)
    first = math.nextafter(first + delta, math.inf) if first + delta > 0.0 else 0.0
    kept = max(0.0, (1.0 - fpr) - delta) * (1.0 - 8.0 * UNIT) - UNIT
    second = math.nextafter(1.0 - max(0.0, kept) / grown, 2.0) if grown < math.inf else 1.0
    return min(1.0, first, max(second, fpr))


def dp_to_advantage(epsilon: float, delta: float) -> float:
    """Upper limit of any attack's TPR - FPR, where only one (epsilon, delta) is known.

    It is (e^epsilon - 1 + 2 delta)/(e^epsilon + 1). A whole curve gives a smaller one: use
    `bound.advantage`. Source: Kairouz, Oh & Viswanath, arXiv:1311.0776.

    >>> round(dp_to_advantage(1.0, 1e-5), 9)
    0.462122536
    """
    check.non_negative(epsilon=epsilon)
    check.probability(delta=delta)
    if epsilon == 0.0:
        return float(delta)
    share = 2.0 * delta / (1.0 + math.exp(min(epsilon, 700.0)))
    value = (math.tanh(0.5 * epsilon) + share) * (1.0 + 16.0 * UNIT)
    return min(1.0, math.nextafter(value, 2.0))


def reconstruction_bound(bound: Bound, kappa: float) -> Interval:
    """Enclosure of 1 - f(kappa), above which no reconstruction attack succeeds.

    Args:
        bound: what is proven, f its trade-off curve.
        kappa: in [0, 1], the best probability of success without the release, by the prior alone.

    Returns:
        The upper end limits the success of any attack; no attack need come near the lower end.

    Source: Balle, Cherubin & Hayes, arXiv:2201.04845; Hayes, Mahloujifar & Balle,
    arXiv:2302.07225.

    >>> from .bounds import ProvenBound
    >>> bound = ProvenBound(mu=Interval(1.0, 1.0), adjacency="replace-one")
    >>> round(reconstruction_bound(bound, 0.01).upper, 6)
    0.092362
    """
    check.probability(kappa=kappa)
    return bound.tpr(kappa)


class Profile(NamedTuple):
    """Enclosures of delta, float[points] each."""

    epsilon: Array
    lower: Array
    upper: Array


def profile(bound: Bound, epsilons: Any) -> Profile:
    """Smallest delta at each of `epsilons` >= 0, enclosed.

    >>> from .bounds import ProvenBound
    >>> found = profile(ProvenBound(mu=Interval(1.0, 1.0), adjacency="add-remove"), [0.0, 1.0])
    >>> [round(float(value), 6) for value in found.upper]
    [0.382925, 0.126937]
    """
    at = np.atleast_1d(np.asarray(epsilons, dtype=np.float64))
    for epsilon in at:
        check.non_negative(epsilon=float(epsilon))
    several = getattr(bound, "profile", None)  # one call for all points is cheaper for an engine
    if several is not None:
        low, high = several(at)
        return Profile(at, np.asarray(low), np.asarray(high))
    found = [bound.delta(float(epsilon)) for epsilon in at]
    return Profile(at, np.array([d.lower for d in found]), np.array([d.upper for d in found]))


class _Cell(NamedTuple):
    # epsilons between two points; mu covers the profile on all of them
    left: float
    right: float
    delta_left: float
    delta_right: float
    mu: float

    @classmethod
    def of(cls, left: float, right: float, delta_left: float, delta_right: float) -> "_Cell":
        return cls(left, right, delta_left, delta_right, _mu_at(right, delta_left)[1])


def _mu_at(epsilon: float, delta: float) -> tuple[float, float]:
    # enclosure of the smallest mu whose delta at epsilon is at least this
    return gaussian.mu_interval(float(epsilon), float(delta))


class _Point(NamedTuple):
    # upper limit of the Gaussian's TPR and lower limit of the bound's
    fpr: float
    high: float
    low: float


def _regret(bound: Bound, mu: float) -> float:
    if mu == 0.0:
        return 0.0
    own = getattr(bound, "mu", None)
    if isinstance(own, Interval) and getattr(bound, "method", "") == "gaussian" and mu < math.inf:
        # of two Gaussians the difference is largest in the middle
        return gaussian.advantage_interval(mu=math.nextafter(max(0.0, mu - own.lower), math.inf))[1]

    def point(fpr: float) -> _Point:
        # 0 and 1 are safe at the ends, and an engine may need long to do better
        low = bound.tpr(fpr).lower if 0.0 < fpr < 1.0 else fpr
        return _Point(fpr, _gaussian_tpr(fpr, mu), low)

    # one rate may cost an engine 50 ms, so only the cell that decides is halved
    points = [point(float(fpr)) for fpr in (0.0, 1e-6, 1e-3, 0.03, 0.2, 0.5, 0.8, 1.0)]
    gaps = [_largest_gap(left, right, mu) for left, right in pairwise(points)]
    least = max(each.high - each.low for each in points)
    while max(gaps) > least + _NEAR and len(points) < _MOST_RATES:
        worst = gaps.index(max(gaps))
        left, right = points[worst], points[worst + 1]
        middle = point(0.5 * (left.fpr + right.fpr))
        least = max(least, middle.high - middle.low)
        points.insert(worst + 1, middle)
        gaps[worst : worst + 1] = _largest_gap(left, middle, mu), _largest_gap(middle, right, mu)
    return min(1.0, max(gaps))


def _largest_gap(left: _Point, right: _Point, mu: float) -> float:
    """Upper limit of the Gaussian's TPR minus the bound's at all FPRs between two points."""
    a, b = left.fpr, right.fpr
    grown = right.high - left.low  # both grow with the FPR
    if mu == math.inf:
        return math.nextafter(grown, 2.0)
    # The Gaussian's curve lies below each of its lines e^epsilon fpr + delta(epsilon). The bound's,
    # the larger of two concave curves, lies above the chords to (0, 0) and to (1, 1), though not
    # above those between any two of its points.
    epsilon = max(-700.0, min(700.0, -mu * (normal_quantile(0.5 * (a + b)) + 0.5 * mu)))
    delta, slope = gaussian.delta_interval(abs(epsilon), mu=mu)[1], math.exp(epsilon)
    if epsilon >= 0.0:
        ends = slope * a + delta, slope * b + delta
    else:  # delta(epsilon) = 1 - e^epsilon + e^epsilon delta(-epsilon)
        ends = 1.0 - slope * (1.0 - a - delta), 1.0 - slope * (1.0 - b - delta)
    forth = left.low + (b - a) * (1.0 - left.low) / (1.0 - a)
    back = right.low * a / b
    chords = (
        max(ends[0] - left.low, ends[1] - forth),
        max(ends[0] - back, ends[1] - right.low),
    )
    # sums of a few terms of which those that decide are at most 1, or 1e-14 of a larger one
    return min(grown, *chords) + 1e-14


def _gaussian_tpr(fpr: float, mu: float) -> float:
    # mu = inf: 1 at every FPR > 0; at 0 the limit from the right
    return 1.0 if mu == math.inf else gaussian.tpr_interval(fpr, mu=mu)[1]

"""Renyi accounting: upper bounds for events of which nothing exact is known.

Divergences (`renyi_divergences`) of independent or adaptively chosen releases add up; an epsilon, a
delta or a point of the trade-off curve follows from the sum. Source: Mironov, arXiv:1702.07476.
Everything is rounded up, so each number stays an upper bound; none is tight, which is why Gaussians
and sampled Gaussians are accounted elsewhere.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from . import check, gaussian
from .bounds import Interval
from .errors import ParameterError
from .mills import UNIT
from .renyi_divergences import ORDERS as ORDERS
from .renyi_divergences import Array, checked_orders, up
from .renyi_divergences import rdp_gaussian as rdp_gaussian
from .renyi_divergences import rdp_laplace as rdp_laplace
from .renyi_divergences import rdp_pure as rdp_pure
from .renyi_divergences import rdp_subsampled_gaussian as rdp_subsampled_gaussian
from .renyi_divergences import rdp_zcdp as rdp_zcdp


def compose_rdp(terms: Iterable[tuple[Array, int]]) -> Array:
    """Divergence of several releases: the sum of count times rdp, over the same orders.

    >>> [round(float(value), 9) for value in compose_rdp([(rdp_gaussian(0.5, [2.0]), 4)])]
    [1.0]
    """
    total: Array | None = None
    for rdp, count in terms:
        check.count(count=count)
        part = np.where(rdp > 0.0, up(rdp * float(count)), 0.0)
        if total is not None and total.shape != part.shape:
            raise ParameterError("rdp of all releases must be given at the same orders")
        total = part if total is None else np.where(total + part > 0.0, up(total + part), 0.0)
    if total is None:
        raise ParameterError("at least one release is needed, but there is none")
    return total


def rdp_repeat_and_select(rdp: Any, orders: Any = ORDERS, *, mean: float, shape: float) -> Array:
    """Divergence of running a mechanism a random number of times and keeping the best output.

    The number of runs is Poisson (`shape` infinite), geometric (1), logarithmic (0) or, in
    general, negative binomial without its zero. Source: Papernot & Steinke, arXiv:2110.03620,
    Theorem 2 and, for Poisson, Theorem 6.

    Args:
        rdp: float[orders], of a single run.
        orders: float[orders].
        mean: expected number of runs, >= 1.
        shape: >= 0, may be infinite.

    Raises:
        ParameterError: a number outside its range.

    >>> once = rdp_gaussian(0.1)
    >>> epsilon_from_rdp(rdp_repeat_and_select(once, mean=10.0, shape=1.0), ORDERS, 1e-6) < 1.03
    True
    """
    check.positive(mean=mean)
    check.non_negative(shape=shape)
    if mean < 1.0:
        raise ParameterError(f"mean must be a number of runs >= 1, but is {mean!r}")
    a, once = _checked(orders, rdp)
    with np.errstate(over="ignore"):
        selection = up(np.log(float(mean)) / (a - 1.0)) if mean > 1.0 else np.zeros_like(a)
        if shape == math.inf:
            # smaller epsilons are allowed too: e^epsilon <= 1 + 1/(a - 1)
            at = np.log1p(1.0 / (a - 1.0)) * (1.0 - 32.0 * UNIT)
            deltas = np.array([delta_from_rdp(once, a, float(epsilon)) for epsilon in at])
            found = up(once + up(float(mean) * deltas) + selection)
        else:
            halt = _minus_log_gamma(float(mean), float(shape))
            parts = up(np.where(once < math.inf, (1.0 - 1.0 / a) * once, math.inf) + halt / a)
            found = up(once + selection + up((1.0 + float(shape)) * float(parts.min())))
    return _monotone(found)


def epsilon_from_rdp(rdp: Any, orders: Any, delta: float) -> float:
    """An epsilon >= 0 at which the mechanism is (epsilon, delta)-DP; infinite if there is none.

    Source: Canonne, Kamath & Steinke, arXiv:2004.00010, Proposition 12, for the best order; and 0
    where delta is at least the total variation distance that the divergence allows.

    >>> round(epsilon_from_rdp(rdp_gaussian(1.0), ORDERS, 1e-5), 4)  # exact: 4.3772
    4.7289
    """
    check.probability(delta=delta)
    a, found = _checked(orders, rdp)
    if delta >= _total_variation(found):
        return 0.0
    if delta == 0.0:
        return math.inf
    log, share = abs(math.log(delta)), np.log((a - 1.0) / a)
    with np.errstate(over="ignore"):
        value = found + share + (log - np.log(a)) / (a - 1.0)
        slack = 24.0 * UNIT * (1.0 + found - share + (log + np.log(a)) / (a - 1.0))
        return max(0.0, float((value + slack).min()))


def delta_from_rdp(rdp: Any, orders: Any, epsilon: float) -> float:
    """A delta <= 1 at which the mechanism is (epsilon, delta)-DP.

    Source: as `epsilon_from_rdp`.

    >>> round(delta_from_rdp(rdp_gaussian(1.0), ORDERS, 4.7289), 7)
    1e-05
    """
    check.non_negative(epsilon=epsilon)
    a, found = _checked(orders, rdp)
    variation = _total_variation(found)
    if variation == 0.0 or not (found < math.inf).any():
        return variation
    if epsilon == math.inf:
        return 0.0
    share = np.log((a - 1.0) / a)
    with np.errstate(over="ignore", invalid="ignore"):
        value = (a - 1.0) * (found - epsilon + share) - np.log(a)
        slack = 24.0 * UNIT * ((a - 1.0) * (1.0 + found + epsilon - share) + np.log(a))
        # NaN: an infinite slack, where the order or epsilon is absurdly large
        best = float(np.nanmin(np.append(value + slack, math.inf)))
    return min(variation, exp_up(best))


class Curve(Protocol):
    """Whatever encloses a privacy profile and a trade-off curve."""

    def epsilon(self, delta: float) -> Interval: ...  # noqa: D102
    def delta(self, epsilon: float) -> Interval: ...  # noqa: D102
    def tpr(self, fpr: float) -> Interval: ...  # noqa: D102
    def advantage(self) -> Interval: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class RenyiCurve:
    """What divergences prove. The upper ends hold; the lower ends are trivial without `lower`.

    Attributes:
        orders: float[orders], increasing, > 1.
        rdp: float[orders], >= 0, of everything released, in both directions.
        mu_upper: the mechanism is also mu-GDP for this mu; infinite if for none.
        lower: a curve whose lower ends hold for the worst mechanism that fits the event, such as
            the Gaussian with mu = sqrt(2 rho) for rho-zCDP, which is rho-zCDP.

    >>> RenyiCurve(ORDERS, rdp_zcdp(0.5)).epsilon(1e-5).upper < 4.73
    True
    """

    orders: Array
    rdp: Array
    mu_upper: float = math.inf
    lower: Curve | None = None

    def __post_init__(self) -> None:
        check.non_negative(mu_upper=self.mu_upper)
        orders, rdp = _checked(self.orders, self.rdp)
        object.__setattr__(self, "orders", orders)
        object.__setattr__(self, "rdp", _monotone(rdp))

    def epsilon(self, delta: float) -> Interval:
        """Smallest epsilon at `delta`, in nats."""
        upper = epsilon_from_rdp(self.rdp, self.orders, delta)
        known = gaussian.epsilon_interval(delta, mu=self.mu_upper)[1]
        return Interval(self.lower.epsilon(delta).lower if self.lower else 0.0, min(upper, known))

    def delta(self, epsilon: float) -> Interval:
        """Smallest delta at `epsilon` >= 0."""
        upper = delta_from_rdp(self.rdp, self.orders, epsilon)
        known = gaussian.delta_interval(epsilon, mu=self.mu_upper)[1]
        return Interval(self.lower.delta(epsilon).lower if self.lower else 0.0, min(upper, known))

    def tpr(self, fpr: float) -> Interval:
        """Best true-positive rate of any attack at false-positive rate `fpr`.

        The upper end is e^epsilon fpr + delta(epsilon) and 1 - e^-epsilon (1 - delta - fpr), each
        minimised over all real epsilon; per order that is a closed form, Hoelder's inequality.
        """
        check.probability(fpr=fpr)
        upper = min(
            _best_rate(self.orders, self.rdp, float(fpr)),
            1.0 if fpr == 1.0 else math.nextafter(fpr + _total_variation(self.rdp), 2.0),
            gaussian.tpr_interval(fpr, mu=self.mu_upper)[1] if self.mu_upper < math.inf else 1.0,
        )
        lower = self.lower.tpr(fpr).lower if self.lower else float(fpr)
        return Interval(lower, max(min(upper, 1.0), float(fpr)))

    def advantage(self) -> Interval:
        """Best TPR - FPR of any attack, which is delta at epsilon = 0."""
        return Interval(self.lower.advantage().lower if self.lower else 0.0, self.delta(0.0).upper)


def _best_rate(a: Array, rdp: Array, fpr: float) -> float:
    # tpr^a fpr^(1-a) <= e^((a-1) rdp), and the same for 1 - fpr, 1 - tpr in the other direction.
    if fpr in (0.0, 1.0):
        return 1.0 if fpr == 1.0 or not (rdp < math.inf).any() else 0.0
    log, share = math.log(fpr), (a - 1.0) / a
    hit = share * (log + rdp) + 24.0 * UNIT * share * (rdp - log)
    rest = math.log1p(-fpr)
    miss = rest / share - rdp
    miss -= 24.0 * UNIT * (rdp - rest / share)
    spared = math.exp(max(float(miss.max()), -800.0)) * (1.0 - 8.0 * UNIT)
    return min(exp_up(float(hit.min())), math.nextafter(1.0 - max(0.0, spared - 1e-322), 2.0))


def _total_variation(rdp: Array) -> float:
    # Pinsker and Bretagnolle-Huber; the Kullback-Leibler divergence is below every rdp.
    least = float(rdp.min())
    if least == 0.0:
        return 0.0
    value = min(math.sqrt(0.5 * least), math.sqrt(-math.expm1(-least)))
    return min(1.0, math.nextafter(value * (1.0 + 32.0 * UNIT), 2.0))


def _minus_log_gamma(mean: float, shape: float) -> float:
    # x = -ln gamma >= 0 at which (e^x - 1) shape / (1 - e^(-shape x)) is `mean`, not below it.
    def reaches(x: float) -> bool:
        if x > 700.0:
            return mean < 1e300
        y = shape * x
        rest = -math.expm1(-y) / y if y > 0.0 else 1.0
        if rest == 0.0:  # shape x is beyond the double range, and so is the mean
            return True
        return math.expm1(x) / x / rest * (1.0 - 64.0 * UNIT) >= mean

    if mean == 1.0:
        return 0.0
    # (e^x - 1)/x >= e^(x/2), and the other factor is at least 1: the root is below 2 ln mean
    low, high = 0.0, 2.0 * math.log(mean) * (1.0 + 16.0 * UNIT)
    for _ in range(200):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high


def _monotone(rdp: Array) -> Array:
    # divergences do not decrease with the order, so a later, smaller limit holds earlier too
    return np.minimum.accumulate(rdp[::-1])[::-1]


def exp_up(log: float) -> float:
    """e^log rounded up, at most 1, never 0."""
    if log >= 0.0:
        return 1.0
    return min(1.0, math.nextafter(math.exp(log) * (1.0 + 16.0 * UNIT), 2.0))


def _checked(orders: Any, rdp: Any) -> tuple[Array, Array]:
    a, found = checked_orders(orders), np.asarray(rdp, dtype=np.float64)
    if found.shape != a.shape:
        raise ParameterError(f"rdp must have one entry per order, {a.size}, but has {found.size}")
    if np.isnan(found).any() or found.min() < 0.0:
        raise ParameterError("rdp must be numbers >= 0, but some are negative or NaN")
    return a, found

"""Two concrete Gaussians with different means and covariances: a lower bound without sampling.

For P = N(mean1, S1), Q = N(mean0, S0), what a mechanism returns on two neighbouring data sets, the
smallest delta at which the pair is (epsilon, delta)-indistinguishable in this direction is

    delta_PQ(epsilon) = sup over events A of P(A) - e^epsilon Q(A).

The mechanism is **not** (epsilon, delta)-DP if delta_PQ(epsilon) > delta for one pair in one
direction. This is never an upper bound: other pairs may be worse.

=======================================  ==========================================================
pair                                     method
=======================================  ==========================================================
all eigenvalues 1                        `gaussian`, closed form with a proven enclosure
no shift, one eigenvalue other than 1    `chi_square`, a real integral with a positive integrand
any other, and eigenvalues that are      `quadratic`, a contour integral, which carries their
themselves rounded                       error on to delta
=======================================  ==========================================================

Rounding, and (to first order, with the usual constants of a symmetric eigenvalue solver) what a
covariance loses on its way to eigenvalues, is bounded. The discretisation error of the last two
rows is estimated from two step widths and, for the contour, two contours.

Source: Balle, Barthe & Gaboardi, arXiv:1807.01647 (divergence and DP); Gil, Alajaji & Linder,
"Renyi divergence measures for commonly used univariate continuous distributions", 2013.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import check, chi_square, gaussian, mills, quadratic
from .errors import ParameterError
from .quadratic import UNIT, LogValue
from .solve import push
from .whiten import whiten

Pair = tuple[float, float]


@dataclass(frozen=True)
class GaussianPair:
    """P against Q, in coordinates that make Q standard normal and P's covariance diagonal.

    Attributes:
        eigenvalues: > 0, lambda_i, of S0^(-1/2) S1 S0^(-1/2): the variances of P.
        shifts: d_i, the means of P. Signs do not matter.
        multiplicities: how many coordinates have this (lambda, d).
        rounding: relative error of the eigenvalues, and of the shifts relative to their norm, as
            left by `from_moments`. `delta_interval` pays for it.
    """

    eigenvalues: tuple[float, ...]
    shifts: tuple[float, ...]
    multiplicities: tuple[int, ...]
    rounding: float = 0.0

    def __post_init__(self) -> None:
        check.same_length(
            eigenvalues=self.eigenvalues, shifts=self.shifts, multiplicities=self.multiplicities
        )
        for eigenvalue, shift, count in zip(
            self.eigenvalues, self.shifts, self.multiplicities, strict=True
        ):
            check.positive(eigenvalues=eigenvalue)
            check.non_negative(shifts=abs(shift))
            size = abs(shift) * max(1.0, eigenvalue**-0.5)  # also what it is after a swap
            if not 1.0 / _LARGEST <= eigenvalue <= _LARGEST or size > _LARGEST:
                raise ParameterError(
                    "eigenvalues must lie in [1e-30, 1e30] and shifts, in units of either law, in "
                    f"[-1e30, 1e30], but are {eigenvalue!r} and {shift!r}"
                )
            check.count(multiplicities=count)
        check.non_negative(rounding=self.rounding)

    @classmethod
    def from_moments(
        cls, mean1: Any, covariance1: Any, mean0: Any, covariance0: Any
    ) -> "GaussianPair":
        """P = N(mean1, covariance1) against Q = N(mean0, covariance0).

        Args:
            mean1: float[dim].
            covariance1: float[dim], variances, or float[dim, dim].
            mean0: float[dim].
            covariance0: float[dim] or float[dim, dim].

        Raises:
            ParameterError: shapes that differ, numbers not finite, or a covariance that is not
                symmetric positive definite beyond rounding.

        >>> GaussianPair.from_moments([1.0, 0.0], [4.0, 1.0], [0.0, 0.0], [1.0, 1.0]).eigenvalues
        (1.0, 4.0)
        """
        found = whiten(mean1, covariance1, mean0, covariance0)
        pairs = zip(found.eigenvalues.tolist(), np.abs(found.shifts).tolist(), strict=True)
        counts = Counter(pairs)
        keys = sorted(counts)
        first, second = tuple(k[0] for k in keys), tuple(k[1] for k in keys)
        return cls(first, second, tuple(counts[k] for k in keys), found.rounding)

    @classmethod
    def scaled(cls, ratio: float, dimension: int) -> "GaussianPair":
        """S1 = ratio * S0 and equal means.

        >>> pair = GaussianPair.scaled((5 / 4) ** 2, 512)  # noise 1/n, n - 1 = 4 against n = 5
        >>> round(pair.delta(70.562358), 10)
        1e-05
        """
        check.positive(ratio=ratio)
        check.count(dimension=dimension)
        return cls((float(ratio),), (0.0,), (dimension,))

    def swapped(self) -> "GaussianPair":
        """Q against P."""
        values = tuple(1.0 / v for v in self.eigenvalues)
        shifts = tuple(d / math.sqrt(v) for d, v in zip(self.shifts, self.eigenvalues, strict=True))
        changed = any(v != 1.0 for v in self.eigenvalues)
        rounding = self.rounding + (4.0 * UNIT if changed else 0.0)
        return GaussianPair(values, shifts, self.multiplicities, rounding)

    def repeated(self, times: int) -> "GaussianPair":
        """`times` independent releases: P^times against Q^times."""
        check.count(times=times)
        counts = tuple(times * m for m in self.multiplicities)
        return GaussianPair(self.eigenvalues, self.shifts, counts, self.rounding)

    def log_delta(self, epsilon: float) -> float:
        """Logarithm of `delta`; -inf where delta is 0. Good also below the double range."""
        return _log_delta(self, _number(epsilon)).value

    def delta(self, epsilon: float) -> float:
        """Supremum over events A of P(A) - e^epsilon Q(A), for epsilon of either sign.

        >>> GaussianPair((0.25,), (0.0,), (1,)).delta(math.log(2.0))  # the loss never exceeds ln 2
        0.0
        """
        return math.exp(self.log_delta(epsilon))

    def delta_interval(self, epsilon: float) -> Pair:
        """Enclosure of `delta`; what is proven and what estimated, the module says.

        >>> lower, upper = GaussianPair((2.0, 0.5), (0.3, 1.0), (1, 1)).delta_interval(0.5)
        >>> 0.0 < upper - lower < 1e-12
        True
        """
        low, high = _log_delta(self, _number(epsilon)).enclosure()
        floor = -math.expm1(epsilon) if epsilon < 0.0 else 0.0  # everything is an event
        lower = math.nextafter(max(math.exp(low), floor) * (1.0 - 8.0 * UNIT), 0.0)
        upper = math.exp(high) * (1.0 + 8.0 * UNIT)
        return lower, min(1.0, upper if high == -math.inf else math.nextafter(upper, 2.0))

    def renyi(self, order: float) -> float:
        """Renyi divergence D_order(P||Q), nats; infinite where it does not exist.

        Args:
            order: > 0; 1 gives the Kullback-Leibler divergence, infinity the largest loss.

        >>> pair = GaussianPair((2.0,), (0.0,), (1,))
        >>> round(pair.renyi(1.5), 9), pair.renyi(2.0)
        (0.34657359, inf)
        """
        if order != math.inf:
            check.positive(order=order)
        terms = self._terms()
        if len(terms.copies) == 0:
            return 0.0
        if order == math.inf:
            return terms.largest_loss[0]
        z = order - 1.0
        a = 1.0 - z * terms.excess
        if not bool((a > 0.0).all()):
            return math.inf
        shift = order * terms.square / a
        ell = quadratic.log1p_minus(-z * terms.excess)
        rest = ell / z + terms.ell if z != 0.0 else terms.ell
        return 0.5 * float((terms.copies * (shift - rest)).sum())

    def _terms(self) -> quadratic.Terms:
        return quadratic.Terms.of(
            np.array(self.eigenvalues, dtype=float),
            np.array(self.shifts, dtype=float),
            np.array(self.multiplicities, dtype=float),
            self.rounding,
        )


def epsilon_lower(pair: GaussianPair, delta: float, *, repeats: int = 1) -> float:
    """Largest epsilon that the pair refutes at `delta`, in the worse direction, rounded down.

    A mechanism whose outputs on two neighbouring data sets are the pair is not (e, delta)-DP for
    any e below the result. 0 if nothing is refuted; infinite at delta = 0, unless P = Q.

    Args:
        pair: what one release returns on two neighbouring data sets.
        delta: in [0, 1].
        repeats: independent releases of the same pair.

    Raises:
        ParameterError: a number outside its range.

    >>> pair = GaussianPair.scaled((100 / 99) ** 2, 512)
    >>> round(epsilon_lower(pair, 1e-5), 5)
    1.33149
    >>> round(epsilon_lower(GaussianPair((1.0,), (1.0,), (1,)), 1e-5), 6)
    4.377178
    """
    check.probability(delta=delta)
    whole = pair.repeated(repeats)
    terms = whole._terms()
    if delta == 1.0 or not len(terms.copies):
        return 0.0
    if delta == 0.0:
        # P differs from Q beyond rounding: then in one direction the loss has no upper limit
        differ = np.abs(terms.excess).max() > 2.0 * terms.rounding or (
            terms.rounding < 0.5 and bool(terms.square.any())
        )
        return math.inf if differ else 0.0
    return max(_one_way(whole, delta), _one_way(whole.swapped(), delta))


def _one_way(pair: GaussianPair, delta: float) -> float:
    if pair.delta_interval(0.0)[1] <= delta:
        return 0.0
    from scipy.optimize import brentq

    terms, target = pair._terms(), math.log(delta)
    # Chernoff: ln delta <= K(z) - z epsilon
    places = np.geomspace(1e-24, 0.999, 160) * min(terms.end, 1e12)
    moments = quadratic.log_moment(terms, places.astype(complex))[0].real
    end = min(terms.largest_loss[0], float(((moments - target) / places).min())) + 1e-9

    def miss(epsilon: float) -> float:
        return max(_log_delta(pair, epsilon, checked=False).value, target - 50.0) - target

    point = end
    if miss(0.0) > 0.0 > miss(end):
        point = brentq(miss, 0.0, end, xtol=1e-300, rtol=1e-13)
    low, high = pair.delta_interval(point)
    steep = max(quadratic.saddle(terms, point), 1e-12)
    step = max((high - low) / (delta * steep), 4.0 * UNIT * point)
    return max(0.0, push(point, -step, lambda e: e <= 0.0 or pair.delta_interval(e)[0] > delta))


def _log_delta(pair: GaussianPair, epsilon: float, *, checked: bool = True) -> LogValue:
    if epsilon < 0.0:
        return _mirrored(_log_delta(pair.swapped(), -epsilon, checked=checked), epsilon)
    terms = pair._terms()
    if len(terms.copies) == 0 or epsilon == math.inf:
        return LogValue(-math.inf, 0.0)
    if epsilon > _BEYOND:  # delta decreases
        ceiling = _log_delta(pair, _BEYOND).enclosure()[1]
        return LogValue(ceiling, math.inf, ceiling)
    exact = terms.rounding == 0.0
    if exact and not terms.excess.any():
        return _gaussian(epsilon, math.sqrt(math.fsum(terms.copies * terms.square)))
    if exact and not terms.square.any() and np.ptp(terms.excess) == 0.0:
        ratio = next(v for v in pair.eigenvalues if v != 1.0)
        return chi_square.log_delta(epsilon, ratio=ratio, dimension=round(terms.copies.sum()))
    return quadratic.log_delta(terms, epsilon, checked=checked)


def _mirrored(other: LogValue, epsilon: float) -> LogValue:
    # delta_PQ(epsilon) = 1 - e^epsilon + e^epsilon delta_QP(-epsilon)
    low, value, high = (
        math.log(-math.expm1(epsilon) + math.exp(epsilon + v))
        for v in (other.enclosure()[0], other.value, other.enclosure()[1])
    )
    return LogValue(min(0.0, value), max(high - value, value - low) + 8.0 * UNIT)


def _gaussian(epsilon: float, mu: float) -> LogValue:
    value = gaussian.log_delta(epsilon, mu=mu)
    low = mills.log_delta(epsilon, mu * (1.0 - 8.0 * UNIT)).enclosure()[0]
    high = mills.log_delta(epsilon, mu * (1.0 + 8.0 * UNIT)).enclosure()[1]
    return LogValue(value, max(high - value, value - low) if value > -math.inf else 0.0)


_LARGEST, _BEYOND = 1.01e30, 1e100


def _number(epsilon: float) -> float:
    if isinstance(epsilon, bool) or math.isnan(epsilon):
        raise ParameterError(f"epsilon must be a number, but is {epsilon!r}")
    return float(epsilon)

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
any other                                `quadratic`, a contour integral
=======================================  ==========================================================

Rounding, and what a covariance loses on its way to eigenvalues, is bounded. The discretisation
error of the last two rows is estimated from two step widths and, for the contour, two contours; it
was at most 1/50 of the error reported in every case compared with mpmath.

Source: Balle, Barthe & Gaboardi, arXiv:1807.01647 (divergence and DP); Gil, Alajaji & Linder,
"Renyi divergence measures for commonly used univariate continuous distributions", 2013.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import check, chi_square, gaussian, mills, quadratic
from .errors import ParameterError
from .quadratic import UNIT
from .solve import push

Pair = tuple[float, float]
Array = NDArray[np.float64]


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
            if not _TINY <= eigenvalue <= 1.0 / _TINY or abs(shift) > 1.0 / _TINY:
                raise ParameterError(
                    f"eigenvalues must lie in [{_TINY}, {1.0 / _TINY}] and shifts not beyond, but "
                    f"are {eigenvalue!r}, {shift!r}"
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
        means = _vector(mean1=mean1), _vector(mean0=mean0)
        gap = means[0] - means[1] if means[0].shape == means[1].shape else np.empty(0)
        upper = _covariance(len(gap), covariance1=covariance1)
        lower = _covariance(len(gap), covariance0=covariance0)
        # of the difference of the means, against their size
        lost = UNIT * float(np.abs(gap).max()) / max(float(np.linalg.norm(gap)), 1e-300)
        if upper.ndim == lower.ndim == 1:
            return cls._merged(upper / lower, gap / np.sqrt(lower), 8.0 * UNIT + lost)
        values, vectors = np.linalg.eigh(_full(lower))
        whiten = vectors / np.sqrt(values)
        middle = whiten.T @ _full(upper) @ whiten
        found, turn = np.linalg.eigh(0.5 * (middle + middle.T))
        if not found[0] > 0.0:
            raise ParameterError(_SINGULAR.format("covariance1", found[0]))
        # eigh is exact for a matrix within about `unit` of its argument. A change of covariance0
        # by a factor I + E moves eigenvalues by a factor 1 + |E| (Ostrowski), and the law of P
        # relative to itself by |E| times the root of their spread.
        unit, spread = 4.0 * len(gap) * UNIT, float(found[-1] / found[0])
        rounding = unit * (float(values[-1] / values[0]) * math.sqrt(spread) + spread)
        return cls._merged(found, turn.T @ (whiten.T @ gap), rounding + lost)

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

    @classmethod
    def _merged(cls, eigenvalues: Array, shifts: Array, rounding: float) -> "GaussianPair":
        counts: dict[Pair, int] = {}
        for pair in zip(eigenvalues.tolist(), np.abs(shifts).tolist(), strict=True):
            counts[pair] = counts.get(pair, 0) + 1
        keys = sorted(counts)
        first, second = tuple(k[0] for k in keys), tuple(k[1] for k in keys)
        return cls(first, second, tuple(counts[k] for k in keys), rounding)

    def swapped(self) -> "GaussianPair":
        """Q against P."""
        values = tuple(1.0 / v for v in self.eigenvalues)
        shifts = tuple(
            d / math.sqrt(v) for d, v in zip(self.shifts, self.eigenvalues, strict=True)
        )
        unchanged = all(v == 1.0 for v in self.eigenvalues)
        rounding = self.rounding if unchanged else self.rounding + 4.0 * UNIT
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
        slack = self._slack()
        floor = max(0.0, -math.expm1(epsilon)) if epsilon < 0.0 else 0.0  # all outcomes are an event
        lower = math.exp(low) * (1.0 - 4.0 * UNIT) - slack
        upper = math.exp(high) * (1.0 + 4.0 * UNIT) + slack + (0.0 if high == -math.inf else 5e-324)
        return max(0.0, lower, floor * (1.0 - 4.0 * UNIT)), min(1.0, upper)

    def renyi(self, order: float) -> float:
        """Renyi divergence D_order(P||Q), nats; infinite where it does not exist.

        Args:
            order: > 0; 1 gives the Kullback-Leibler divergence, infinity the largest loss.

        >>> round(GaussianPair((2.0,), (0.0,), (1,)).renyi(1.5), 12), GaussianPair(
        ...     (2.0,), (0.0,), (1,)).renyi(2.0)
        (0.346573590279972, inf)
        """
        if order != math.inf:
            check.positive(order=order)
        terms = self._terms()
        if len(terms.count) == 0:
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
        return 0.5 * float((terms.count * (shift - rest)).sum())

    def _terms(self) -> quadratic.Terms:
        return quadratic.Terms.of(
            np.array(self.eigenvalues, dtype=float),
            np.array(self.shifts, dtype=float),
            np.array(self.multiplicities, dtype=float),
        )

    def _slack(self) -> float:
        # Pinsker: total variation between P and a P whose numbers differ by `rounding`, which is
        # the most by which delta can differ.
        if self.rounding == 0.0:
            return 0.0
        size, r = float(sum(self.multiplicities)), self.rounding
        shift = sum(m * d * d for m, d in zip(self.multiplicities, self.shifts, strict=True))
        bend = 0.5 * size * r * r / max(0.25, 1.0 - 2.0 * r) + shift * r * r / min(self.eigenvalues)
        return min(1.0, 0.5 * math.sqrt(bend) * 1.01)


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
    4.377177
    """
    check.probability(delta=delta)
    whole = pair.repeated(repeats)
    if delta == 1.0 or not len(whole._terms().count):
        return 0.0
    if delta == 0.0:
        # P differs from Q beyond rounding, so in one direction the loss has no upper limit
        return math.inf if whole._slack() < whole.delta_interval(0.0)[0] else 0.0
    return max(_one_way(whole, delta), _one_way(whole.swapped(), delta))


def _one_way(pair: GaussianPair, delta: float) -> float:
    if pair.delta_interval(0.0)[0] <= delta:
        return 0.0
    from scipy.optimize import brentq

    terms, target = pair._terms(), math.log(delta)
    # Chernoff: ln delta <= K(z) - z epsilon
    places = np.geomspace(1e-12, 0.999, 80) * min(terms.end, 1e12)
    moments = quadratic.log_moment(terms, places.astype(complex))[0].real
    end = min(terms.largest_loss[0], float(((moments - target) / places).min())) + 1e-9

    def miss(epsilon: float) -> float:
        return max(_log_delta(pair, epsilon, checked=False).value, target - 50.0) - target

    point = end
    if miss(0.0) > 0.0 > miss(end):
        point = brentq(miss, 0.0, end, xtol=1e-300, rtol=1e-14)
    low, high = pair.delta_interval(point)
    steep = max(quadratic.saddle(terms, point), 1e-12)
    step = max((high - low) / (delta * steep), 4.0 * UNIT * point)
    return max(
        0.0, push(point, -step, lambda e: e <= 0.0 or pair.delta_interval(e)[0] > delta)
    )


def _log_delta(
    pair: GaussianPair, epsilon: float, *, checked: bool = True
) -> quadratic.LogValue:
    terms = pair._terms()
    if len(terms.count) == 0 or math.isinf(epsilon):
        value = _trivial(epsilon) if math.isfinite(epsilon) else -epsilon
        return quadratic.LogValue(min(0.0, value), 0.0)
    if not terms.excess.any():
        return _gaussian(epsilon, math.sqrt(math.fsum(terms.count * terms.square)))
    if not terms.square.any() and np.ptp(terms.excess) == 0.0:
        ratio = next(v for v in pair.eigenvalues if v != 1.0)
        return chi_square.log_delta(epsilon, ratio=ratio, dimension=round(terms.count.sum()))
    return quadratic.log_delta(terms, epsilon, checked=checked)


def _gaussian(epsilon: float, mu: float) -> quadratic.LogValue:
    ends = [mills.log_delta(abs(epsilon), mu * (1.0 + e)).enclosure() for e in (-_FEW, 0.0, _FEW)]
    low, value, high = ends[0][0], gaussian.log_delta(abs(epsilon), mu=mu), ends[2][1]
    if epsilon < 0.0:  # the swapped pair is the same one
        low, value, high = (
            math.log(-math.expm1(epsilon) + math.exp(epsilon + v)) for v in (low, value, high)
        )
    error = max(high - value, value - low) + 8.0 * UNIT if value > -math.inf else 0.0
    return quadratic.LogValue(min(0.0, value), error)


def _trivial(epsilon: float) -> float:
    # ln(1 - e^epsilon)+: what every pair has
    return math.log(-math.expm1(epsilon)) if epsilon < 0.0 else -math.inf


_FEW = 8.0 * UNIT
_TINY = 1e-100
_SINGULAR = "{} must be positive definite, but has the eigenvalue {:.3g} (relative)"


def _number(epsilon: float) -> float:
    if isinstance(epsilon, bool) or math.isnan(epsilon):
        raise ParameterError(f"epsilon must be a number, but is {epsilon!r}")
    return float(epsilon)


def _vector(**values: Any) -> Array:
    ((name, value),) = values.items()
    found = np.asarray(value, dtype=float)
    if found.ndim != 1 or found.size == 0 or not np.isfinite(found).all():
        raise ParameterError(f"{name} must be a vector of finite numbers, but is {value!r}")
    return found


def _covariance(dimension: int, **values: Any) -> Array:
    ((name, value),) = values.items()
    found = np.asarray(value, dtype=float)
    if dimension == 0 or found.shape not in ((dimension,), (dimension, dimension)):
        raise ParameterError(
            f"means and covariances must have one dimension; {name} has shape {found.shape}"
        )
    if not np.isfinite(found).all():
        raise ParameterError(f"{name} must hold finite numbers")
    if found.ndim == 2 and np.abs(found - found.T).max() > 1e-12 * np.abs(found).max():
        raise ParameterError(f"{name} must be symmetric")
    values_ = found if found.ndim == 1 else np.linalg.eigvalsh(found)
    smallest, largest = float(values_.min()), float(values_.max())
    if not smallest > (0.0 if found.ndim == 1 else 16.0 * dimension * UNIT * largest):
        raise ParameterError(_SINGULAR.format(name, smallest / largest if largest else 0.0))
    return found if found.ndim == 1 else 0.5 * (found + found.T)


def _full(covariance: Array) -> Array:
    return np.diag(covariance) if covariance.ndim == 1 else covariance

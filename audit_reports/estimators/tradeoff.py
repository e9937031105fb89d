"""`TradeOff`: a claimed trade-off function, rounded so that nothing true is ever accused."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from ...accountant import check, gaussian
from ...accountant.adjacency import Adjacency, Unit
from ...accountant.bounds import ProvenBound
from ...accountant.claim import PrivacyClaim
from ...accountant.errors import ClaimError, ParameterError
from .clopper_pearson import Floats, limit_table, risk
from .envelope import Envelope
from .power_at import power_at

_UNIT = 2.0**-53
_STEEPEST = 690.0  # e^epsilon of a larger one leaves the double range; such a line is left out
_POINTS = 300
_SMALLEST_DELTA = 1e-12


@dataclass(frozen=True, eq=False)
class TradeOff:
    """The smallest false-negative rate that a guarantee allows at each false-positive rate.

    P is the output with the record, Q without it. For every event S and every k

        P(S) <= e^epsilon[k] Q(S) + delta_remove[k],
        Q(S) <= e^epsilon[k] P(S) + delta_add[k],

    so an attack with rates (FPR, FNR) has FNR >= 1 - delta_remove - e^epsilon FPR and
    FNR >= e^-epsilon (1 - delta_add - FPR). The curve is the largest of these lines; if `mu` is
    given it is that of mu-GDP, exactly, and the lines are for the estimators that need lines.
    Source: Wasserman & Zhou, arXiv:0811.2501; Dong, Roth & Su, arXiv:1905.02383.

    Attributes:
        epsilon: float[k], >= 0 and finite.
        delta_remove: float[k], in [0, 1].
        delta_add: float[k], in [0, 1].
        mu: of the Gaussian curve, or None.
        name: what is claimed, in words.

    Raises:
        ParameterError: arrays of different length, or a number outside its range.

    >>> TradeOff.point(1.0, 0.0).fnr([0.0, 0.1, 1.0]).round(6)
    array([1.      , 0.728172, 0.      ])
    """

    epsilon: Floats
    delta_remove: Floats
    delta_add: Floats
    mu: float | None = None
    name: str = "profile"
    _hull: "Envelope" = field(init=False, repr=False)
    _inverse: "Envelope" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for key in ("epsilon", "delta_remove", "delta_add"):
            values = np.atleast_1d(np.array(getattr(self, key), dtype=np.float64))
            values.flags.writeable = False
            object.__setattr__(self, key, values)
        shapes = {self.epsilon.shape, self.delta_remove.shape, self.delta_add.shape}
        if len(shapes) != 1 or self.epsilon.ndim != 1 or self.epsilon.size == 0:
            raise ParameterError(
                "epsilon, delta_remove and delta_add must be float[k] of one length k >= 1, but "
                f"are {self.epsilon.shape}, {self.delta_remove.shape}, {self.delta_add.shape}"
            )
        if not (np.all(np.isfinite(self.epsilon)) and np.all(self.epsilon >= 0.0)):
            raise ParameterError("every epsilon of a trade-off must be finite and >= 0")
        for deltas in (self.delta_remove, self.delta_add):
            if not np.all((deltas >= 0.0) & (deltas <= 1.0)):
                raise ParameterError("every delta of a trade-off must lie in [0, 1]")
        if self.mu is not None:
            check.non_negative(mu=self.mu)
        kept = self.epsilon <= _STEEPEST
        grown = np.exp(self.epsilon[kept])
        hull = Envelope.of(
            np.concatenate((grown, 1.0 / grown)),
            np.concatenate((1.0 - self.delta_remove[kept], (1.0 - self.delta_add[kept]) / grown)),
        )
        object.__setattr__(self, "_hull", hull)
        # The same curve from the other side: 1 - x of the curve with the directions exchanged.
        worse = np.maximum(self.delta_remove[kept], self.delta_add[kept])
        both = Envelope.of(
            np.concatenate((grown, 1.0 / grown)),
            np.concatenate((1.0 - worse, (1.0 - worse) / grown)),
        )
        object.__setattr__(self, "_inverse", both)

    @classmethod
    def gaussian(cls, mu: float) -> "TradeOff":
        """The curve Phi(Phi^-1(1 - FPR) - mu) of mu-GDP.

        >>> float(TradeOff.gaussian(1.0).fnr(0.1)[0].round(9))
        0.610856308
        """
        check.non_negative(mu=mu)
        if mu == math.inf:
            return cls(np.zeros(1), np.ones(1), np.ones(1), mu=mu, name="nothing")
        end = gaussian.epsilon_interval(_SMALLEST_DELTA, mu=mu)[1]
        grid = _grid(min(end, _STEEPEST), 100)
        deltas = np.array([gaussian.delta_interval(float(e), mu=mu)[1] for e in grid])
        return cls(grid, deltas, deltas, mu=float(mu), name=f"{mu:g}-GDP")

    @classmethod
    def point(cls, epsilon: float, delta: float) -> "TradeOff":
        """What (epsilon, delta)-DP allows, and nothing more is known."""
        check.non_negative(epsilon=epsilon)
        check.probability(delta=delta)
        one = np.array([min(float(epsilon), 1e308)])
        return cls(one, np.array([delta]), np.array([delta]), name=f"({epsilon:g}, {delta:g})-DP")

    @classmethod
    def zcdp(cls, rho: float) -> "TradeOff":
        """What rho-zCDP allows, through the delta that all its Renyi orders give.

        Source: Bun & Steinke, arXiv:1605.02065; Canonne, Kamath & Steinke, arXiv:2004.00010.
        """
        from ...accountant.renyi import ORDERS, RenyiCurve, rdp_zcdp

        check.non_negative(rho=rho)
        if rho == math.inf:
            return cls(np.zeros(1), np.ones(1), np.ones(1), name="nothing")
        curve = RenyiCurve(ORDERS, rdp_zcdp(rho))
        grid = _grid(min(curve.epsilon(_SMALLEST_DELTA).upper, _STEEPEST), _POINTS)
        deltas = np.array([curve.delta(float(e)).upper for e in grid])
        return cls(grid, deltas, deltas, name=f"{rho:g}-zCDP")

    @classmethod
    def profile(cls, pairs: Iterable[tuple[float, float]]) -> "TradeOff":
        """What several (epsilon, delta) that all hold allow together, in both directions."""
        table = np.array(list(pairs), dtype=np.float64)
        if table.ndim != 2 or table.shape[1] != 2:
            raise ParameterError("a profile is a list of (epsilon, delta), at least one")
        return cls(table[:, 0], table[:, 1], table[:, 1], name=f"profile of {len(table)} points")

    @classmethod
    def of(cls, bound: ProvenBound, epsilons: ArrayLike | None = None) -> "TradeOff":
        """What a proven bound allows: the upper ends of its privacy profile, as lines.

        The worse direction is used for both, so the curve may be lower than a one-sided one.

        Args:
            bound: of an accountant; the trade-off is for its adjacency, unit and group size.
            epsilons: where to put lines; by default 300, denser at small epsilon, up to where
                delta is below 1e-12.
        """
        if epsilons is None and bound.method == "gaussian":
            return cls.gaussian(bound.mu.upper)
        if epsilons is None:
            grid = _grid(_end(bound), _POINTS)
        else:
            grid = np.atleast_1d(np.asarray(epsilons, dtype=np.float64))
        deltas = np.minimum(1.0, bound.profile(grid)[1])
        return cls(grid, deltas, deltas, name=f"bound by {bound.method}")

    @classmethod
    def of_claim(cls, claim: PrivacyClaim) -> "TradeOff":
        """What a claim allows: a curve, or the one point (epsilon, delta).

        Of an event it is the accountant's own curve.

        >>> claim = PrivacyClaim(mu=0.5, adjacency="add-remove", unit="example")
        >>> TradeOff.of_claim(claim).mu
        0.5
        """
        if claim.is_curve:
            return cls.gaussian(claim.gaussian_mu().upper)
        if claim.rho is not None:
            return cls.zcdp(claim.rho)
        if claim.profile:
            return cls.profile(claim.profile)
        if claim.event is not None:
            text = json.dumps(claim.event, sort_keys=True)
            return _of_event(text, claim.adjacency, claim.unit)
        if claim.epsilon is None or claim.delta is None:
            raise ClaimError("the claim has no guarantee")
        return cls.point(claim.epsilon, claim.delta)

    def fnr(self, fpr: ArrayLike) -> Floats:
        """At most the smallest false-negative rate at each of `fpr`, float[n]; rounded down."""
        x = np.atleast_1d(np.asarray(fpr, dtype=np.float64))
        if not np.all((x >= 0.0) & (x <= 1.0)):
            raise ParameterError(f"fpr must be numbers in [0, 1], but is {fpr!r}")
        if self.mu is not None:
            return _gaussian_fnr(x, self.mu)
        return self._hull.at(x)

    def tpr(self, fpr: ArrayLike) -> Floats:
        """At least the best true-positive rate of any attack at each of `fpr`; rounded up.

        >>> float(TradeOff.point(1.0, 1e-5).tpr(0.01)[0].round(9))
        0.027192818
        """
        return np.minimum(1.0, np.nextafter(1.0 - self.fnr(fpr), 2.0))

    def least_fpr(self) -> Callable[[float], float]:
        """A fast scalar function: at most the smallest FPR at which `tpr` reaches its argument.

        For guesses about both worlds alike, so the worse direction at every epsilon; rounded down.
        """
        if self.mu is not None:
            return gaussian_least_fpr(self.mu)
        return self._inverse.from_the_other_side()

    def power_of(
        self,
        n_in: int,
        n_out: int,
        *,
        mu: float,
        confidence: float = 0.95,
        method: str = "band",
    ) -> float:
        """Probability that n_in + n_out trials at the best fixed threshold refute this curve.

        The truth is taken to be mu-GDP with the best attack. For the band a lower bound, since
        more than one threshold may refute. Source: exact; the two counts are binomials.

        >>> 0.99 < TradeOff.gaussian(0.5).power_of(2000, 2000, mu=1.0)
        True
        """
        from .band import pair_level

        check.one_of(("band", "split", "clopper_pearson"), method=method)
        check.count(n_in=n_in, n_out=n_out)
        check.non_negative(mu=mu)
        if method == "split":
            n_in, n_out = n_in - n_in // 2, n_out - n_out // 2
        alpha = risk(confidence)
        level = pair_level(n_in, n_out, alpha) if method == "band" else alpha / 2.0
        allowed = self.fnr(limit_table(n_out, level))
        most = np.searchsorted(limit_table(n_in, level), allowed, side="left") - 1
        return power_at(mu, n_in, n_out, most.astype(np.int64), every=False)

    def __repr__(self) -> str:
        return f"TradeOff({self.name}, {self.epsilon.size} lines)"


@lru_cache(maxsize=32)
def _of_event(text: str, adjacency: Adjacency, unit: Unit) -> TradeOff:
    event = json.loads(text)
    return TradeOff.of(PrivacyClaim(event=event, adjacency=adjacency, unit=unit).proven())


def gaussian_least_fpr(mu: float) -> Callable[[float], float]:
    """Phi(Phi^-1(tpr) - mu), rounded down: the inverse of the best TPR under mu-GDP."""
    from statistics import NormalDist

    if mu == math.inf:
        return lambda tpr: 0.0
    quantile, erfc, root = NormalDist().inv_cdf, math.erfc, math.sqrt(0.5)

    def least_fpr(tpr: float) -> float:
        if tpr <= 1e-290:
            return 0.0
        if tpr >= 1.0:
            return 1.0
        # both functions are right to a few units; 1e-12 covers them for |z| up to 20, and
        # beyond that the value is below 1e-80 and taken as 0
        z = quantile(tpr) - mu
        return 0.5 * erfc(-z * root) * (1.0 - 1e-12) if z > -20.0 else 0.0

    return least_fpr


def _gaussian_fnr(x: Floats, mu: float) -> Floats:
    if mu == 0.0:
        return np.maximum(0.0, np.nextafter(1.0 - x, -1.0))
    if mu == math.inf:
        return np.zeros_like(x)
    with np.errstate(under="ignore"):
        # -Phi^-1(x), and not Phi^-1(1 - x), which loses all digits at small x
        z = -ndtri(np.clip(x, 1e-300, 1.0))
        z = np.where(z == -math.inf, -1e3, z)
        below = z - mu
        # the quantile may be off by a few units of |z|, the distribution by a few units
        slack = 1e-13 * (1.0 + (np.abs(below) + 1.0) * (np.abs(z) + mu))
        low = ndtr(below) * np.maximum(0.0, 1.0 - slack)
        high = 1.0 - ndtr(-below) * (1.0 + slack) - 4.0 * _UNIT  # keeps its digits near 1
        value = np.where(below <= 0.0, low, np.maximum(low, high))
    value = np.where(x == 0.0, 1.0, value)
    return np.asarray(np.where(x == 1.0, 0.0, value), dtype=np.float64)


def _grid(end: float, points: int) -> Floats:
    """From 0 to `end`, denser at small epsilon."""
    return max(end, 1e-9) * np.linspace(0.0, 1.0, points) ** 1.5


def _end(bound: ProvenBound) -> float:
    """Where delta is below 1e-12, or stops falling."""
    for delta in (_SMALLEST_DELTA, 1e-9, 1e-6, 1e-4, 1e-2):
        end = bound.epsilon(delta).upper
        if end < math.inf:
            return min(end, _STEEPEST)
    return 20.0

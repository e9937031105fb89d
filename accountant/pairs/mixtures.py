"""Dominating pairs that are mixtures of unit Gaussians on a line.

All of them come from Poisson sampling of Gaussian releases (noise std 1 after scaling, mu =
sensitivity/noise std), see the builders. Sources: Mironov, Talwar & Zhang, arXiv:1908.10530 (one
record); Ganesh, arXiv:2401.10294 (groups); that the one-dimensional pairs are the worst in any
dimension, also for replacement, follows from Kahane's comparison inequality: E F(sum c_i M_i), F
convex and M_i Gaussian likelihood ratios, does not fall when covariances of terms with equal signs
of c_i are raised and of opposite signs lowered, so that aligned (antipodal) shifts are the worst.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from .. import check
from ..errors import ParameterError
from ..mills import UNIT
from .base import Array, Masses, Progression, above, below
from .mixture_moment import log_moment
from .mixture_terms import exponent, log_sum, posterior_mean
from .normal_cells import TINY, normal_cells

_REACH = 39.0  # a unit Gaussian has less than 1e-330 beyond
_ROUNDING = 1e-12  # weights may sum to 1 within this
_SMALLEST = 1e-290


@dataclass(frozen=True)
class GaussianMixture:
    """P = sum w_i N(a_i, 1) against Q = sum v_j N(b_j, 1), with min a >= max b.

    Then dP/dQ increases in x. Weights are taken to be rounded: within 4 units in the last place of
    the true ones, and where they do not sum to 1 by as much as they miss it.

    >>> pair = poisson(0.1, 1.0)
    >>> round(pair.lowest, 6)
    -0.105361
    """

    weights_p: tuple[float, ...]
    means_p: tuple[float, ...]
    weights_q: tuple[float, ...]
    means_q: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, weights, means in (
            ("p", self.weights_p, self.means_p),
            ("q", self.weights_q, self.means_q),
        ):
            check.same_length(**{f"weights_{name}": weights, f"means_{name}": means})
            for weight in weights:
                check.positive(**{f"weights_{name}": weight})
                if weight < _SMALLEST:
                    raise ParameterError(
                        f"weights_{name} holds {weight:g}; weights below {_SMALLEST:g} cannot be "
                        "kept to full precision. Use a larger sampling rate or a smaller group."
                    )
            if not all(math.isfinite(mean) and abs(mean) <= 1e6 for mean in means):
                raise ParameterError(f"means_{name} must lie within 1e6 of 0, but are {means}")
            if abs(math.fsum(weights) - 1.0) > _ROUNDING:
                raise ParameterError(
                    f"weights_{name} must sum to 1, but sum to {math.fsum(weights)!r}"
                )
        if min(self.means_p) < max(self.means_q):
            raise ParameterError(
                "the smallest of means_p must not be below the largest of means_q, but "
                f"{min(self.means_p)} < {max(self.means_q)}; the loss would not be monotone"
            )
        if max(self.means_p) == min(self.means_q):
            raise ParameterError("the two laws are equal; leave the step out, it reveals nothing")

    @property
    def weight_error(self) -> float:
        """Bound of the relative error of the weights."""
        return 8.0 * UNIT + 2.0 * max(
            abs(math.fsum(weights) - 1.0) for weights in (self.weights_p, self.weights_q)
        )

    @property
    def lowest(self) -> float:
        """Ln of the weight in P of Q's only component, if P has it; else -inf."""
        if max(self.means_q) > min(self.means_q) or min(self.means_p) > self.means_q[0]:
            return -math.inf
        pairs = zip(self.weights_p, self.means_p, strict=True)
        weight = math.fsum(w for w, mean in pairs if mean == self.means_q[0])
        return math.log(weight) * (1.0 + 8.0 * UNIT) - 2.0 * self.weight_error

    @property
    def highest(self) -> float:
        """The same with P and Q exchanged."""
        return -self._exchanged_mirror().lowest

    @property
    def ends_error(self) -> float:
        """Errors of the weights and of their logarithms, on both sides."""
        size = max(
            (abs(end) for end in (self.lowest, self.highest) if math.isfinite(end)), default=0
        )
        return 4.0 * self.weight_error + 16.0 * UNIT * size

    def _exchanged_mirror(self) -> "GaussianMixture":
        # (Q, P) seen in a mirror is again of this form
        return GaussianMixture(
            self.weights_q,
            tuple(-mean for mean in self.means_q),
            self.weights_p,
            tuple(-mean for mean in self.means_p),
        )

    @property
    def infinite(self) -> float:  # noqa: D102
        return 0.0

    @property
    def missing(self) -> float:  # noqa: D102
        return 0.0

    @property
    def progression(self) -> Progression | None:  # noqa: D102
        return None

    @property
    def mu_upper(self) -> float:
        """The largest shift: trade-off functions of joint mixtures lie above the worst component's.

        Each component of P against each of Q is a shift by at most this, and any coupling of the
        two mixtures only adds information.
        """
        return above((max(self.means_p) - min(self.means_q)) * (1.0 + 4.0 * UNIT))

    def losses(self, x: Array) -> tuple[Array, Array]:
        """Ln dP/dQ at finite x and a bound of its error."""
        origin = self.means_q[0]
        if self._is_amplified():
            rate = self._weight_of_shift()
            t, slack = exponent(x, max(self.means_p), origin)
            small = np.minimum(t, 30.0)
            grown = rate * np.expm1(small)
            # below 1/2 log1p would magnify the rounding of `grown`
            low = np.log(self.weights_p[0] + rate * np.exp(small))
            near = np.where(grown < -0.5, low, np.log1p(np.maximum(grown, -0.5)))
            far = t + np.log(rate + (1.0 - rate) * np.exp(-np.maximum(t, 30.0)))
            loss = np.where(t < 30.0, near, far)
            share = rate / (rate + (1.0 - rate) * np.exp(np.minimum(-t, 700.0)))
            error = share * slack + UNIT * (40.0 * np.abs(loss) + 16.0)
            return loss, error + 2.0 * self.weight_error
        top, top_error = log_sum(x, self.weights_p, self.means_p, origin)
        bottom, bottom_error = log_sum(x, self.weights_q, self.means_q, origin)
        loss = top - bottom
        return loss, top_error + bottom_error + UNIT * np.abs(loss) + 2.0 * self.weight_error

    def _is_amplified(self) -> bool:
        # (1-q) N(b) + q N(a) against N(b)
        return (
            len(self.means_q) == 1
            and len(self.means_p) == 2
            and self.means_p[0] == self.means_q[0] < self.means_p[1]
        )

    def _weight_of_shift(self) -> float:
        return self.weights_p[1]

    def _is_antipodal(self) -> bool:
        # (1-q) N(b) + q N(b + m) against (1-q) N(b) + q N(b - m)
        return (
            len(self.means_q) == len(self.means_p) == 2
            and self.weights_p == self.weights_q
            and self.means_p[0] == self.means_q[0] < self.means_p[1]
            and self.means_p[1] - self.means_p[0] == self.means_q[0] - self.means_q[1]
        )

    def points(self, losses: Array) -> tuple[Array, float]:
        """Points x, not decreasing, where the loss is about as asked, and how far off it may be.

        -inf and +inf stand for losses that are reached only beyond `_REACH`, or not at all.
        """
        low = min(self.means_q) - _REACH
        high = max(self.means_p) + _REACH
        ends, slack = self.losses(np.array([low, high]))
        under, over = losses <= ends[0] + slack[0], losses >= ends[1] - slack[1]
        inside = ~(under | over)
        x = np.where(under, -np.inf, np.inf)
        error = 0.0
        if inside.any():
            wanted = losses[inside]
            with np.errstate(all="ignore"):  # a start that fails is replaced
                start = self._start(wanted, low, high)
            found = np.maximum.accumulate(self._polish(wanted, start, low, high))
            actual, rounding = self.losses(found)
            error = float((np.abs(actual - wanted) + rounding).max())
            x[inside] = found
        # an end is taken as reached where it is nearer than its own rounding
        for end, rounding in zip(ends, slack, strict=True):
            if (np.abs(losses - end) <= rounding).any():
                error = max(error, 2.0 * float(rounding))
        return x, error

    def _start(self, losses: Array, low: float, high: float) -> Array:
        origin = self.means_q[0]
        shift = max(self.means_p) - origin
        if self._is_amplified():
            rate = self._weight_of_shift()
            near = np.log((np.expm1(np.minimum(losses, 30.0)) + rate) / rate)
            far = losses - np.log(rate) + np.log1p((rate - 1.0) * np.exp(-losses))
            return origin + 0.5 * shift + np.where(losses < 30.0, near, far) / shift
        if self._is_antipodal():
            # with y = e^(m x), a = q e^(-m^2/2): a y^2 + (1-q)(1 - e^l) y - a e^l = 0; for l < 0
            # the mirror image, so that the root is a sum of positive terms
            size = np.abs(losses)
            log_a = math.log(self.weights_p[1]) - 0.5 * shift * shift
            half = 0.5 * self.weights_p[0] * -np.expm1(-size)  # all divided by e^l
            log_root = np.logaddexp(
                np.log(half), 0.5 * np.logaddexp(2.0 * np.log(half), 2.0 * log_a - size)
            )
            return origin + np.sign(losses) * (log_root + size - log_a) / shift
        grid = np.linspace(low, high, 4096)
        return np.asarray(np.interp(losses, self.losses(grid)[0], grid))

    def _polish(self, losses: Array, start: Array, low: float, high: float) -> Array:
        """Newton within a shrinking bracket; only where the residual is above rounding."""
        x = np.where(np.isfinite(start), np.clip(start, low, high), 0.5 * (low + high))
        lower, upper = np.full_like(x, low), np.full_like(x, high)
        todo = np.arange(len(x))
        for _ in range(80):
            at = x[todo]
            value, rounding = self.losses(at)
            gap = value - losses[todo]
            bad = np.abs(gap) > rounding
            todo, at, gap = todo[bad], at[bad], gap[bad]
            if not len(todo):
                break
            lower[todo] = np.where(gap < 0.0, at, lower[todo])
            upper[todo] = np.where(gap > 0.0, at, upper[todo])
            with np.errstate(all="ignore"):
                new = at - gap / self._slope(at)
            outside = ~((new > lower[todo]) & (new < upper[todo]))
            x[todo] = np.where(outside, 0.5 * (lower[todo] + upper[todo]), new)
        return x

    def _slope(self, x: Array) -> Array:
        origin = self.means_q[0]
        return posterior_mean(x, self.weights_p, self.means_p, origin) - posterior_mean(
            x, self.weights_q, self.means_q, origin
        )

    def masses(self, losses: Array) -> Masses:  # noqa: D102
        x, loss_error = self.points(np.asarray(losses, dtype=np.float64))
        cells = {mean: normal_cells(x, mean) for mean in {*self.means_p, *self.means_q}}
        size = len(x) + 1
        found = []
        for weights, means in ((self.weights_p, self.means_p), (self.weights_q, self.means_q)):
            mass, error = np.zeros(size), np.full(size, TINY)
            for weight, mean in zip(weights, means, strict=True):
                mass += weight * cells[mean][0]
                error += weight * cells[mean][1]
            found.append((mass, error * (1.0 + 1e-9) + mass * self._relative(len(means))))
        (p, p_error), (q, q_error) = found
        return Masses(p, q, p_error, q_error, loss_error)

    def _relative(self, count: int) -> float:
        return self.weight_error + 2.0 * (count + 2) * UNIT

    def moment(self, power: float) -> tuple[float, float]:
        """By quadrature with proven errors (`mixture_moment`)."""
        low, high = log_moment(self, power)
        # E is homogeneous of degree 1 + power in P's weights, -power in Q's
        slack = (abs(1.0 + power) + abs(power)) * self.weight_error
        return below(low - slack), above(high + slack)


def gaussian(mu: float) -> GaussianMixture:
    """N(mu, 1) against N(0, 1), the Gaussian mechanism without sampling."""
    check.positive(mu=mu)
    return GaussianMixture((1.0,), (float(mu),), (1.0,), (0.0,))


def poisson(rate: float, mu: float) -> GaussianMixture:
    """One record that takes part with probability `rate`; "remove": P has it."""
    return poisson_group(rate, mu, 1)


def poisson_group(rate: float, mu: float, group_size: int) -> GaussianMixture:
    """`group_size` records, each with its own coin; all present under P, none under Q."""
    weights, means = _binomial(rate, mu, group_size)
    return GaussianMixture(weights, means, (1.0,), (0.0,))


def poisson_replace(rate: float, mu: float, group_size: int = 1) -> GaussianMixture:
    """`group_size` records replaced by others, which may be opposite; symmetric under exchange."""
    weights, means = _binomial(rate, mu, group_size)
    return GaussianMixture(weights, means, weights, tuple(-mean for mean in means))


def _binomial(rate: float, mu: float, size: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    check.positive(rate=rate, mu=mu)
    check.probability(rate=rate)
    check.count(group_size=size)
    if rate == 1.0:
        return (1.0,), (size * float(mu),)
    q = Fraction(rate)
    weights = [float(math.comb(size, j) * q**j * (1 - q) ** (size - j)) for j in range(size + 1)]
    return tuple(weights), tuple(j * float(mu) for j in range(size + 1))

"""Releases of which only Renyi divergences are known, and the Renyi divergences of everything else.

Used where nothing tighter is proven: as soon as one release of a composition is such a term, all
of them are added up by Renyi orders.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from . import gaussian, renyi
from . import renyi_divergences as divergences
from .bounds import Interval
from .pairs.base import Exchanged

Array = NDArray[np.float64]
_UP = 1.0 + 2.0**-48


class RenyiTerm(Protocol):
    """A release with a known upper bound of its Renyi divergences."""

    def rdp(self, orders: Array) -> Array:
        """Upper bound of the divergence of each order, worse direction, float[n]."""


@dataclass(frozen=True)
class ZCdp:
    """(xi, rho)-zCDP: D_a <= xi + rho a. Source: Bun & Steinke, arXiv:1605.02065."""

    rho: float
    xi: float

    def rdp(self, orders: Array) -> Array:
        """Xi + rho a."""
        return divergences.rdp_zcdp(self.rho, self.xi, orders)


@dataclass(frozen=True)
class UpperOnly:
    """Another term, of which nothing is known to be attained."""

    term: RenyiTerm

    def rdp(self, orders: Array) -> Array:
        """That of the term."""
        return self.term.rdp(orders)


@dataclass(frozen=True)
class Selected:
    """The best of a random number of runs. Source: Papernot & Steinke, arXiv:2110.03620.

    Attributes:
        inner: one run: mu^2, then sampled, pairs and renyi as in `Parts`, as tuples.
        mean, shape: of the number of runs, as in `RepeatAndSelectDpEvent`.
    """

    inner: Any
    mean: float
    shape: float

    @classmethod
    def of(cls, parts: Any, mean: float, shape: float) -> "Selected":
        """From the flat list of one run."""
        tables = (parts.sampled, parts.pairs, parts.renyi)
        inner = (parts.squared_mu, *(tuple(table.items()) for table in tables))
        return cls(inner, mean, shape)

    def rdp(self, orders: Array) -> Array:
        """Of the selection."""
        return renyi.rdp_repeat_and_select(
            _total(orders, *self.inner), orders, mean=self.mean, shape=self.shape
        )


def rdp_of(parts: Any, orders: Array) -> Array:
    """Upper bounds of the Renyi divergences of a flat list (`Parts`), float[n]."""
    tables = (parts.sampled, parts.pairs, parts.renyi)
    return _total(orders, parts.squared_mu, *(tuple(table.items()) for table in tables))


def _total(orders: Array, squared_mu: Any, sampled: Any, pairs: Any, terms: Any) -> Array:
    total = np.zeros_like(orders)
    if squared_mu[1] == math.inf:
        return total + math.inf
    if squared_mu[1] > 0:
        total = total + divergences.rdp_gaussian(math.sqrt(squared_mu[1]) * _UP, orders)
    for (rate, noise, _), count in sampled:
        total = total + count * divergences.rdp_subsampled_gaussian(rate, noise, orders) * _UP
    for (upper, _), count in pairs:
        if upper.infinite > 0.0 or upper.missing > 0.0:
            return total + math.inf
        for index, order in enumerate(orders):
            worst = max(pair.moment(float(order) - 1.0)[1] for pair in (upper, Exchanged(upper)))
            total[index] += count * max(0.0, worst) / (float(order) - 1.0) * _UP
    for term, count in terms:
        total = total + count * term.rdp(orders) * _UP
    return np.asarray(total * _UP)


class RenyiOnly:
    """The curve of a flat list by Renyi orders; lower ends only where a term has one."""

    def __init__(self, parts: Any) -> None:
        self._known = renyi.RenyiCurve(renyi.ORDERS, rdp_of(parts, renyi.ORDERS))
        # A Gaussian is rho-zCDP with rho = mu^2/2, and may be what the event stands for; whatever
        # else was released cannot make it leak less.
        rho = sum(t.rho * count for t, count in parts.renyi.items() if isinstance(t, ZCdp))
        mu2 = 2.0 * rho * (1.0 - 2.0**-48) + float(parts.squared_mu[0]) * (1.0 - 2.0**-50)
        self._mu = math.sqrt(mu2) * (1.0 - 2.0**-50)

    def log_delta(self, epsilon: Any) -> tuple[Array, Array]:
        """Limits of ln delta at each epsilon >= 0, float[n] each."""
        high = np.array([self._known.delta(float(e)).upper for e in epsilon])
        low = np.array([gaussian.delta_interval(float(e), mu=self._mu)[0] for e in epsilon])
        with np.errstate(divide="ignore"):
            logs = np.log(np.minimum(low, high)), np.log(high)
        return logs[0] - 1e-15 * np.abs(logs[0]), np.minimum(logs[1] * (1.0 - 1e-15), 0.0)

    def epsilon(self, delta: float) -> Interval:
        """Smallest epsilon at `delta`."""
        low = gaussian.epsilon_interval(delta, mu=self._mu)[0]
        if delta == 0.0:
            return Interval(low, math.inf)
        high = self._known.epsilon(delta).upper if delta < 1.0 else 0.0
        return Interval(min(low, high), high)

    def tpr(self, fpr: float) -> Interval:
        """Best true-positive rate at `fpr`."""
        high = self._known.tpr(fpr).upper
        return Interval(min(gaussian.tpr_interval(fpr, mu=self._mu)[0], high), high)

    def by_direction(self, delta: float) -> dict[str, Interval]:
        """Epsilon at `delta`; the directions are not told apart."""
        both = self.epsilon(delta)
        return {"remove": both, "add": both}

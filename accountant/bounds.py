"""`Interval`: a two-sided enclosure. `ProvenBound`: what accounting proves about a release.

A `ProvenBound` of Gaussians is one number, mu. `CurveBound` is the bound of anything else: it has
a whole curve from an engine, and its mu is only an enclosure of the best Gaussian curve above it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from . import check, gaussian
from .adjacency import Adjacency, Unit
from .errors import ParameterError


@dataclass(frozen=True)
class Interval:
    """lower <= true value <= upper. Either end may be infinite, neither NaN.

    >>> Interval(1.0, 2.0).width
    1.0
    """

    lower: float
    upper: float

    def __post_init__(self) -> None:
        if math.isnan(self.lower) or math.isnan(self.upper) or self.lower > self.upper:
            raise ParameterError(
                f"an interval needs lower <= upper and no NaN, but is [{self.lower}, {self.upper}]"
            )

    @property
    def width(self) -> float:
        """The difference upper - lower; 0 where both ends are the same infinity."""
        return 0.0 if self.lower == self.upper else self.upper - self.lower

    def __contains__(self, value: float) -> bool:
        return self.lower <= value <= self.upper


@dataclass(frozen=True, kw_only=True)
class ProvenBound:
    """What is provably leaked: the mechanism is mu-GDP, for a mu inside `mu`, and no smaller one.

    Any epsilon, delta or point of the trade-off curve can be asked. Here all of it is derived from
    mu in closed form, which is exact for Gaussians; `CurveBound` asks an engine instead. `mu.upper`
    is infinite where nothing is proven. A record keeps these fields for other mechanisms too:
    their curve lies below the Gaussian one of `mu.upper`, but not above that of `mu.lower`, so that
    every other lower end is then 0 (or guessing), as long as `method` does not say "gaussian".

    Attributes:
        mu: Gaussian-DP parameter, no unit. Source: Dong, Roth & Su, arXiv:1905.02383.
        adjacency: what a neighbour is.
        unit: whose data is protected.
        group_size: how many records (of one unit each) the bound covers together.
        method: the engine that gave the number, then how far its lower end can be off.
    """

    mu: Interval
    adjacency: Adjacency
    unit: Unit = "example"
    group_size: int = 1
    method: str = "gaussian"

    @property
    def _attained(self) -> float:
        """The mu of a Gaussian curve that lies below the true one."""
        return self.mu.lower if self.method.split(",")[0] == "gaussian" else 0.0

    def epsilon(self, delta: float) -> Interval:
        """Smallest epsilon at `delta`, in nats; infinite at delta = 0 unless mu = 0."""
        return Interval(
            gaussian.epsilon_interval(delta, mu=self._attained)[0],
            gaussian.epsilon_interval(delta, mu=self.mu.upper)[1],
        )

    def delta(self, epsilon: float) -> Interval:
        """Smallest delta at `epsilon` >= 0."""
        return Interval(
            gaussian.delta_interval(epsilon, mu=self._attained)[0],
            gaussian.delta_interval(epsilon, mu=self.mu.upper)[1],
        )

    def tpr(self, fpr: float) -> Interval:
        """Best true-positive rate of any attack at false-positive rate `fpr`."""
        return Interval(
            gaussian.tpr_interval(fpr, mu=self._attained)[0],
            gaussian.tpr_interval(fpr, mu=self.mu.upper)[1],
        )

    def advantage(self) -> Interval:
        """Best TPR - FPR of any attack."""
        return Interval(
            gaussian.advantage_interval(mu=self._attained)[0],
            gaussian.advantage_interval(mu=self.mu.upper)[1],
        )

    def tradeoff(self, alphas: Any) -> NDArray[np.float64]:
        """Smallest false-negative rate of any attack at each false-positive rate in `alphas`.

        Rounded down: the truth is nowhere below the curve.
        """
        rates = np.atleast_1d(np.asarray(alphas, dtype=np.float64))
        for rate in rates:
            check.probability(alphas=float(rate))
        return np.array([max(0.0, 1.0 - self.tpr(float(rate)).upper) for rate in rates])

    def profile(self, epsilons: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper limits of delta at each of `epsilons`, float[n] each."""
        found = [self.delta(float(e)) for e in np.atleast_1d(np.asarray(epsilons, np.float64))]
        return np.array([d.lower for d in found]), np.array([d.upper for d in found])

    def rdp(self, orders: Any) -> NDArray[np.float64]:
        """Upper limits of the Renyi divergence at each of `orders` > 1, in nats, float[n].

        Source: Mironov, arXiv:1702.07476.

        >>> ProvenBound(mu=Interval(0.5, 0.5), adjacency="add-remove").rdp([8.0, 16.0]).round(12)
        array([1., 2.])
        """
        from .renyi_divergences import rdp_gaussian

        return rdp_gaussian(self.mu.upper, orders)

    def by_direction(self, delta: float) -> dict[str, Interval]:
        """Epsilon at `delta` for a record that is removed and for one that is added."""
        both = self.epsilon(delta)
        return {"remove": both, "add": both}

    def statement(self, *, delta: float = 1e-5, event: Any = None) -> str:
        """The guarantee in plain words, with the assumptions that `event` carries."""
        from .statement import statement

        return statement(self, delta=delta, event=event)

    def to_frame(self, epsilons: Any = None) -> Any:
        """A pandas DataFrame: epsilon, delta_lower, delta_upper."""
        from .show import to_frame

        return to_frame(self, epsilons)

    def plot(self, ax: Any = None) -> Any:
        """Privacy profile and trade-off curve with matplotlib; gives the axes."""
        from .show import plot

        return plot(self, ax)

    def _repr_html_(self) -> str:
        from .show import html

        return html(self)

    def __repr__(self) -> str:
        return (
            f"ProvenBound(mu in [{self.mu.lower:.10g}, {self.mu.upper:.10g}], unit={self.unit}, "
            f"adjacency={self.adjacency}, group_size={self.group_size}, method={self.method})"
        )


class Curve(Protocol):
    """What an engine knows, in the worse direction."""

    def log_delta(self, epsilon: Any) -> tuple[Any, Any]:
        """Lower and upper limits of ln delta at real epsilons, float[n] each."""

    def epsilon(self, delta: float) -> Interval:
        """Smallest epsilon >= 0 at `delta` in [0, 1]."""

    def tpr(self, fpr: float) -> Interval:
        """Best true-positive rate at `fpr`."""

    def by_direction(self, delta: float) -> dict[str, Interval]:
        """epsilon, one interval per direction."""


class CurveBound(ProvenBound):
    """A `ProvenBound` with the whole curve of an engine.

    A record keeps the fields of `ProvenBound` only; from the event beside it the curve is computed
    again.
    """

    def __init__(
        self,
        curve: Curve,
        *,
        mu_upper: float,
        rdp: Callable[[NDArray[np.float64]], NDArray[np.float64]],
        **fields: Any,
    ) -> None:
        super().__init__(mu=Interval(0.0, mu_upper), **fields)
        object.__setattr__(self, "_curve", curve)
        object.__setattr__(self, "_rdp", rdp)

    _curve: Curve
    _rdp: Callable[[NDArray[np.float64]], NDArray[np.float64]]

    def rdp(self, orders: Any) -> NDArray[np.float64]:
        """Upper limits of the Renyi divergence at each of `orders` > 1; the worse direction."""
        from .renyi_divergences import checked_orders

        return self._rdp(checked_orders(orders))

    def __getattribute__(self, name: str) -> Any:
        if name == "mu":
            # Its lower end costs a table, so it is found when asked: no smaller mu reaches the
            # advantage 2 Phi(mu/2) - 1 that the curve has.
            mu: Interval = super().__getattribute__(name)
            if mu.lower == 0.0 < mu.upper:
                advantage = min(self.advantage().lower, 1.0 - 1e-12)
                if advantage > 1e-300:
                    lower = gaussian.mu_interval(0.0, advantage)[0]
                    mu = Interval(min(lower, mu.upper), mu.upper)
                    object.__setattr__(self, "mu", mu)
            return mu
        return super().__getattribute__(name)

    def epsilon(self, delta: float) -> Interval:
        """Smallest epsilon >= 0 at `delta` in [0, 1], nats; infinite where nothing is proven."""
        check.probability(delta=delta)
        return self._curve.epsilon(float(delta))

    def delta(self, epsilon: float) -> Interval:
        """Smallest delta at `epsilon` >= 0."""
        check.non_negative(epsilon=epsilon)
        low, high = self.profile([epsilon])
        return Interval(float(low[0]), float(high[0]))

    def profile(self, epsilons: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper limits of delta at each of `epsilons` >= 0, float[n] each."""
        at = np.atleast_1d(np.asarray(epsilons, dtype=np.float64))
        for epsilon in at:
            check.non_negative(epsilon=float(epsilon))
        finite = np.minimum(at, 1e6)  # delta falls, so its value there is an upper limit beyond
        logs = self._curve.log_delta(finite)
        with np.errstate(under="ignore"):
            low = np.maximum(0.0, np.exp(logs[0]) * (1.0 - 2.0**-50) - 5e-324)
            high = np.minimum(1.0, np.exp(logs[1]) * (1.0 + 2.0**-50) + 5e-324)
        low = np.where(at > finite, 0.0, low)
        if np.isinf(at).any() and hasattr(self._curve, "infinite"):
            high = np.where(np.isinf(at), np.minimum(high, self._curve.infinite()), high)
        high = np.where(logs[1] == -np.inf, 0.0, high)
        return np.where(logs[0] == -np.inf, 0.0, low), high

    def tpr(self, fpr: float) -> Interval:
        """Best true-positive rate of any attack at false-positive rate `fpr`."""
        check.probability(fpr=fpr)
        found = self._curve.tpr(float(fpr))
        if found.lower <= fpr < 1.0:
            # The ROC is concave and somewhere FPR + advantage: at a smaller FPR than there it lies
            # above its chord from 0, at a larger one above the advantage.
            advantage = self.advantage().lower * (1.0 - 2.0**-50)
            steep = fpr / (1.0 - advantage) if advantage < 1.0 else 1.0
            lower = max(found.lower, min(advantage, steep * (1.0 - 2.0**-50)))
            return Interval(min(lower, found.upper), found.upper)
        return found

    def advantage(self) -> Interval:
        """Best TPR - FPR of any attack: delta at epsilon 0, the same in both directions."""
        return self.delta(0.0)

    def by_direction(self, delta: float) -> dict[str, Interval]:
        """Epsilon at `delta` for a record that is removed and for one that is added."""
        check.open_probability(delta=delta)
        return self._curve.by_direction(float(delta))

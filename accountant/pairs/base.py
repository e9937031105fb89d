"""What every dominating pair (P, Q) can answer.

P is the output law on one data set, Q on its neighbour, L = ln(dP/dQ) the privacy loss. The pair
dominates an event in one direction if no pair of neighbours has a larger hockey-stick divergence
at any epsilon; then compositions are dominated by products, also adaptively chosen ones. Source:
Zhu, Dong & Wang, arXiv:2106.08567. The other direction is the pair exchanged (`Exchanged`).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Masses(NamedTuple):
    """Masses of P and Q in n + 1 cells of the loss, cut at n boundaries, and their errors.

    Cell 0 is L <= l[0] without L = -inf, cell j is l[j-1] < L <= l[j], cell n is L > l[n-1] without
    L = +inf. For each there is a true boundary within `loss_error` of the one asked for, at which
    |true mass - mass| <= error holds for P and Q alike.

    Attributes:
        p, q: float[n + 1], >= 0.
        p_error, q_error: float[n + 1], >= 0.
        loss_error: >= 0, absolute, of every boundary.
    """

    p: Array
    q: Array
    p_error: Array
    q_error: Array
    loss_error: float


class Progression(NamedTuple):
    """All finite losses of a discrete pair are offset + k spacing, k integer."""

    offset: float
    spacing: float


class Pair(Protocol):
    """A dominating pair. Implementations are frozen dataclasses, so that equal steps merge."""

    @property
    def lowest(self) -> float:
        """No finite loss is below it; rounded down; may be -inf."""

    @property
    def highest(self) -> float:
        """No finite loss is above it; rounded up; may be +inf."""

    @property
    def ends_error(self) -> float:
        """`lowest` and `highest`, where finite, are at most so far from the true ends; >= 0."""

    @property
    def infinite(self) -> float:
        """Mass of P where Q has none: P(L = inf), rounded up."""

    @property
    def missing(self) -> float:
        """Mass of Q where P has none, rounded up."""

    @property
    def progression(self) -> Progression | None:
        """Where all finite losses lie, if they lie on such a progression; else None."""

    @property
    def mu_upper(self) -> float:
        """The pair is mu-GDP for this mu, rounded up; inf if for none."""

    def masses(self, losses: Array) -> Masses:
        """Masses between increasing finite `losses`, float[n]."""

    def moment(self, power: float) -> tuple[float, float]:
        """Enclosure of ln E_P[e^(power L)], any real power; (inf, inf) where it diverges.

        Without the part where the loss is infinite: a pair with `infinite` > 0 is refused where
        moments are needed.
        """


@dataclass(frozen=True)
class Exchanged:
    """The other direction of a pair: (Q, P), with loss -L."""

    pair: Pair

    @property
    def lowest(self) -> float:  # noqa: D102
        return -self.pair.highest

    @property
    def highest(self) -> float:  # noqa: D102
        return -self.pair.lowest

    @property
    def ends_error(self) -> float:  # noqa: D102
        return self.pair.ends_error

    @property
    def infinite(self) -> float:  # noqa: D102
        return self.pair.missing

    @property
    def missing(self) -> float:  # noqa: D102
        return self.pair.infinite

    @property
    def progression(self) -> Progression | None:  # noqa: D102
        found = self.pair.progression
        return None if found is None else Progression(-found.offset, found.spacing)

    @property
    def mu_upper(self) -> float:  # noqa: D102
        return self.pair.mu_upper  # G_mu is symmetric

    def masses(self, losses: Array) -> Masses:
        """Cells in reversed order. An atom on a boundary lies in the cell above it, not below."""
        found = self.pair.masses(-losses[::-1])
        return Masses(
            found.q[::-1], found.p[::-1], found.q_error[::-1], found.p_error[::-1], found.loss_error
        )

    def moment(self, power: float) -> tuple[float, float]:
        """E_Q[e^(-power L)] = E_P[e^(-(1 + power) L)]."""
        return self.pair.moment(-1.0 - power)


@dataclass(frozen=True)
class Step:
    """`count` independent copies of one pair."""

    pair: Pair
    count: int = 1


def exchanged(steps: list[Step]) -> list[Step]:
    """The other direction of a composition."""
    return [Step(Exchanged(step.pair), step.count) for step in steps]


def below(value: float) -> float:
    """The next double towards -inf."""
    return math.nextafter(value, -math.inf)


def above(value: float) -> float:
    """The next double towards +inf."""
    return math.nextafter(value, math.inf)

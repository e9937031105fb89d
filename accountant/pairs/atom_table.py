"""Discrete pairs: cell masses, moments and limits from sorted atoms."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import check
from ..errors import ParameterError
from ..mills import UNIT, normal_quantile
from .base import Array, Masses, Progression, above, below


class AtomTable(NamedTuple):
    """Atoms of finite loss, sorted by it, and what is not listed.

    Attributes:
        loss: float[k], increasing; each the true loss within `loss_error`.
        p, q: float[k], >= 0, each within `relative` of the true mass, relative.
        infinite, missing: masses of P alone and of Q alone, rounded up.
        lost: masses of P and of Q not listed at all are at most this, each.
        loss_error: absolute.
        relative: see p, q.
    """

    loss: Array
    p: Array
    q: Array
    infinite: float
    missing: float
    lost: float
    loss_error: float
    relative: float


def tally(cell: NDArray[np.intp], weights: Array | None = None, size: int = 0) -> Array:
    """Sums of the weights, or numbers, of what is in each cell."""
    return np.asarray(np.bincount(cell, weights, minlength=size), dtype=np.float64)


def build(
    loss: Array,
    p: Array,
    q: Array,
    *,
    infinite: float = 0.0,
    missing: float = 0.0,
    lost: float = 0.0,
    loss_error: float = 0.0,
    relative: float = 8.0 * UNIT,
) -> AtomTable:
    """Sort and merge.

    Atoms whose computed losses are within the error of each other may be in either order; they
    become one, at the largest of their losses, and the loss error grows by their distance.
    """
    order = np.argsort(loss, kind="stable")
    loss, p, q = loss[order], p[order], q[order]
    if len(loss) > 1:
        fresh = np.concatenate([[True], np.diff(loss) > 2.0 * loss_error])
        if not fresh.all():
            group = np.cumsum(fresh) - 1
            first = loss[fresh]
            last = loss[np.concatenate([fresh[1:], [True]])]
            p, q = tally(group, p), tally(group, q)
            relative += UNIT * float(tally(group).max())
            loss, loss_error = last, loss_error + above(float((last - first).max()))
    return AtomTable(loss, p, q, infinite, missing, lost, loss_error, relative)


def pure_mu(epsilon: float) -> float:
    """The smallest mu such that every epsilon-DP pair is mu-GDP, rounded up.

    The trade-off curve of epsilon-DP has its kink at (a, a), a = 1/(1 + e^epsilon), and ends on the
    curves' common ends; G_mu is convex, so it lies below as soon as it does at the kink:
    mu = -2 Phi^-1(a). Far out Phi(-x) <= e^(-x^2/2)/2 gives mu <= 2 sqrt(2 epsilon).

    >>> round(pure_mu(1.0), 6)
    1.232035
    """
    if epsilon > 700.0:
        return 2.0 * math.sqrt(2.0 * epsilon) * (1.0 + 1e-12)
    if epsilon <= 0.0:
        return 0.0
    # -2 Phi^-1(1/2 - tanh(epsilon/2)/2) loses digits for tiny epsilon, hence the absolute slack
    return -2.0 * normal_quantile(1.0 / (1.0 + math.exp(epsilon))) * (1.0 + 1e-12) + 1e-14


class AtomPair:
    """What follows from a table alone. Subclasses are frozen dataclasses with a `table`."""

    @property
    def table(self) -> AtomTable:
        """The atoms."""
        raise NotImplementedError

    @property
    def lowest(self) -> float:
        """Smallest loss of an atom; -inf if some are not listed."""
        table = self.table
        if table.lost > 0.0:
            return -math.inf
        return below(float(table.loss[0]) - table.loss_error) if len(table.loss) else math.inf

    @property
    def highest(self) -> float:
        """Largest finite loss of an atom; +inf if some are not listed."""
        table = self.table
        if table.lost > 0.0:
            return math.inf
        return above(float(table.loss[-1]) + table.loss_error) if len(table.loss) else -math.inf

    @property
    def ends_error(self) -> float:
        """An atom is within `loss_error` of its loss, and an end is moved outwards by as much."""
        table = self.table
        size = float(np.abs(table.loss).max()) if len(table.loss) else 0.0
        return 2.0 * table.loss_error + 8.0 * UNIT * size

    @property
    def infinite(self) -> float:  # noqa: D102
        return self.table.infinite

    @property
    def missing(self) -> float:  # noqa: D102
        return self.table.missing

    @property
    def progression(self) -> Progression | None:  # noqa: D102
        return None

    @property
    def mu_upper(self) -> float:
        """As of any epsilon-DP pair; inf where losses are unbounded."""
        if self.infinite > 0.0 or self.missing > 0.0:
            return math.inf
        bound = max(self.highest, -self.lowest)
        return pure_mu(bound) if bound < math.inf else math.inf

    def masses(self, losses: Array) -> Masses:
        """Sums cell by cell, so that each is as accurate as its atoms."""
        table = self.table
        cuts = np.asarray(losses, dtype=np.float64)
        cell = np.searchsorted(cuts, table.loss, side="left")  # L <= cut belongs below it
        size = len(cuts) + 1
        p = tally(cell, table.p, size)
        q = tally(cell, table.q, size)
        relative = table.relative + UNIT * (tally(cell, None, size) + 1.0)
        floor = table.lost + 1e-320
        return Masses(p, q, p * relative + floor, q * relative + floor, table.loss_error)

    def moment(self, power: float) -> tuple[float, float]:
        """The sum; (-inf, inf) at its ends where atoms are not listed."""
        table = self.table
        keep = table.p > 0.0
        if not keep.any():
            return -math.inf, -math.inf
        logs = np.log(table.p[keep]) + power * table.loss[keep]
        top = float(logs.max())
        value = top + math.log(float(np.exp(logs - top).sum()))
        size = abs(top) + abs(value) + abs(power) * float(np.abs(table.loss).max()) + 800.0
        slack = table.relative + abs(power) * table.loss_error
        slack += UNIT * (8.0 * size + len(logs) + 16.0)
        return below(value - slack), above(value + slack) if table.lost == 0.0 else math.inf


@dataclass(frozen=True)
class Atoms(AtomPair):
    """A pair given by its atoms: p[i] under P and q[i] under Q, taken as exact.

    An atom with q = 0 has infinite loss, one with p = 0 is missing under P.

    >>> Atoms((0.75, 0.25), (0.25, 0.75)).highest > 1.0986
    True
    """

    p: tuple[float, ...]
    q: tuple[float, ...]

    def __post_init__(self) -> None:
        check.same_length(p=self.p, q=self.q)
        for name, masses in (("p", self.p), ("q", self.q)):
            for mass in masses:
                check.probability(**{name: mass})
            if abs(math.fsum(masses) - 1.0) > 1e-9:
                raise ParameterError(f"{name} must sum to 1, but sums to {math.fsum(masses)!r}")

    @property
    def table(self) -> AtomTable:  # noqa: D102
        return from_masses(np.array(self.p), np.array(self.q), relative=0.0)


def from_masses(p: Array, q: Array, *, relative: float) -> AtomTable:
    """Losses ln(p/q), from masses each within `relative` of the truth; zeros are exact."""
    both = (p > 0.0) & (q > 0.0)
    # a quotient out of range is avoided
    loss = np.log(p[both]) - np.log(q[both])
    near = np.abs(loss) < 600.0
    loss[near] = np.log(p[both][near] / q[both][near])
    size = float(np.abs(loss).max()) if len(loss) else 0.0
    error = 2.2 * relative + UNIT * (8.0 * size + 2.0)
    if size >= 600.0:
        error += UNIT * 6000.0
    slack = 1.0 + relative + 8.0 * UNIT * len(p)
    return build(
        loss,
        p[both],
        q[both],
        infinite=float(p[q == 0.0].sum()) * slack,
        missing=float(q[p == 0.0].sum()) * slack,
        loss_error=error,
        relative=relative,
    )

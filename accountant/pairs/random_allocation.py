"""Random allocation: each record takes part in exactly one of t Gaussian steps, chosen uniformly.

The worst pair is P = (1/t) sum_i N(mu e_i, I) against Q = N(0, I) in t dimensions (Chua et al.,
arXiv:2412.16802; Feldman & Shenfeld, arXiv:2502.08202), so the likelihood ratio is S, the mean of t
independent X with ln X ~ N(-mu^2/2, mu^2) under Q. Its law is found on a linear grid by one Fourier
transform (`allocation_laws`), in two ways.

- Upper: the deltas of both directions, E_Q (S - e^eps)_+ and E_Q (1 - e^eps S)_+, are convex in
  every X, so splitting X between grid points, means kept, only raises them. If some X is above the
  grid's end this is told: infinite loss for P's mass there, missing for Q's. On the grid P's mass
  is S times Q's exactly; so with computed masses q', p' = S q', delta is off by at most
  sum |p - p'|, in the other direction by sum |q - q'|: both are charged as infinite and missing.
- Lower: the sum of the cell numbers of the X is a function of the output, so its laws under P and Q
  are a valid pair by post-processing. Outcomes too rare for the transform are joined to neighbours.

Both serve both directions (`Exchanged`).
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .. import check
from ..errors import ParameterError
from ..mills import UNIT
from .allocation_laws import grid, outside, power_law, split
from .atom_table import AtomPair, AtomTable, build, tally
from .base import Array, Masses, above, below
from .normal_cells import normal_cells

_MOST_STEPS = 100_000
_DOUBT = 1e-5  # largest relative uncertainty of an outcome in the lower pair, see `masses`


@dataclass(frozen=True)
class RandomAllocationUpper(AtomPair):
    """One of `steps` steps; dominates the truth.

    Attributes:
        mu: sensitivity/noise std of one step, in (0, 3].
        steps: t >= 1.
        log_size: the transform has 2^log_size points, 10 to 23.
        tail: mass of P that may count as infinite loss. A smaller one makes the grid coarser.
    """

    mu: float
    steps: int
    log_size: int = 20
    tail: float = 1e-11

    def __post_init__(self) -> None:
        _check(self.mu, self.steps, self.log_size, self.tail)

    @property
    def table(self) -> AtomTable:  # noqa: D102
        return _upper(float(self.mu), self.steps, self.log_size, float(self.tail))

    @property
    def mu_upper(self) -> float:
        """Some loss is infinite here, though the true pair is mu-GDP."""
        return math.inf


@dataclass(frozen=True)
class RandomAllocationLower:
    """One of `steps` steps; the truth dominates it. Attributes as of `RandomAllocationUpper`."""

    mu: float
    steps: int
    log_size: int = 20
    tail: float = 1e-11

    infinite = 0.0
    missing = 0.0
    progression = None

    def __post_init__(self) -> None:
        _check(self.mu, self.steps, self.log_size, self.tail)

    @property
    def atoms(self) -> "DoubtfulAtoms":
        """Losses with an error each."""
        return _lower(float(self.mu), self.steps, self.log_size, float(self.tail))

    @property
    def lowest(self) -> float:  # noqa: D102
        return below(float((self.atoms.loss - self.atoms.loss_error).min()))

    @property
    def highest(self) -> float:  # noqa: D102
        return above(float((self.atoms.loss + self.atoms.loss_error).max()))

    @property
    def ends_error(self) -> float:
        """Of the outermost atoms; the true losses that they stand for have no ends."""
        size = float(np.abs(self.atoms.loss).max())
        return 2.0 * float(self.atoms.loss_error.max()) + 8.0 * UNIT * size

    @property
    def mu_upper(self) -> float:
        """By joint convexity the true pair is mu-GDP, and so is what is made from it."""
        return above(self.mu)

    def masses(self, losses: Array) -> Masses:
        """An outcome that may be on either side of a cut is charged to all cells it may be in."""
        atoms = self.atoms
        cuts = np.asarray(losses, dtype=np.float64)
        size = len(cuts) + 1
        cell = np.searchsorted(cuts, atoms.loss, side="left")
        first = np.searchsorted(cuts, atoms.loss - atoms.loss_error, side="left")
        last = np.searchsorted(cuts, atoms.loss + atoms.loss_error, side="right")
        unsure = first < last
        sums = []
        for mass, error in ((atoms.p, atoms.p_error), (atoms.q, atoms.q_error)):
            total = tally(cell, mass, size)
            doubt = tally(cell, error, size)
            full = (mass + error)[unsure]
            doubt = doubt + np.cumsum(
                tally(first[unsure], full, size + 1) - tally(last[unsure] + 1, full, size + 1)
            )[:size].clip(min=0.0)
            doubt = doubt + 1e-14 * float(full.sum())  # rounding of the running sum
            many = UNIT * (tally(cell, None, size) + 4.0)
            sums.append((total, doubt * (1.0 + 1e-9) + total * many + 1e-320))
        (p, p_error), (q, q_error) = sums
        return Masses(p, q, p_error, q_error, 0.0)

    def moment(self, power: float) -> tuple[float, float]:
        """The sum with every mass and loss at its worse end."""
        atoms = self.atoms
        ends = []
        for sign in (-1.0, 1.0):
            with np.errstate(divide="ignore"):
                logs = np.log(np.maximum(atoms.p + sign * atoms.p_error, 0.0))
            logs = logs + power * atoms.loss + sign * abs(power) * atoms.loss_error
            top = float(logs.max())
            value = top + math.log(float(np.exp(logs - top).sum()))
            size = abs(power) * float(np.abs(atoms.loss).max()) + 800.0 + abs(top)
            ends.append(value + sign * UNIT * (8.0 * size + len(logs)))
        return below(ends[0]), above(ends[1])


class DoubtfulAtoms(NamedTuple):
    """Atoms whose masses and losses each have an error of their own; losses not sorted."""

    loss: Array
    loss_error: Array
    p: Array
    q: Array
    p_error: Array
    q_error: Array


class Allocation(NamedTuple):
    """Bounds of one event from both sides."""

    upper: RandomAllocationUpper
    lower: RandomAllocationLower


def random_allocation(mu: float, steps: int, *, log_size: int = 20) -> Allocation:
    """The pairs of "one of `steps` steps", remove direction; exchanged they serve adding.

    >>> random_allocation(1.0, 10).upper.steps
    10
    """
    return Allocation(
        RandomAllocationUpper(mu, steps, log_size), RandomAllocationLower(mu, steps, log_size)
    )


def _check(mu: float, steps: int, log_size: int, tail: float) -> None:
    check.positive(mu=mu)
    check.count(steps=steps, log_size=log_size)
    check.open_probability(tail=tail)
    if not 0.01 <= mu <= 3.0 or steps > _MOST_STEPS or not 10 <= log_size <= 23:
        raise ParameterError(
            "random allocation is computed for mu in 0.01 ... 3, steps <= 100000 and log_size in "
            f"10 ... 23, but got mu {mu}, steps {steps}, log_size {log_size}; the Gaussian pair of "
            "one step without amplification is always an upper bound"
        )


@lru_cache(maxsize=4)
def _upper(mu: float, steps: int, log_size: int, tail: float) -> AtomTable:
    cells = grid(mu, steps, log_size, tail)
    law, error = split(mu, cells)
    points = cells.step * np.arange(len(law))
    biased = law * points
    sums = power_law(biased, law, steps, cells, error)
    number = np.arange(cells.base, cells.base + cells.size, dtype=np.float64)
    ratio = number * (cells.step / steps)
    high = ratio >= 1.0
    p = np.where(high, sums.p, ratio * sums.q)
    q = np.where(high, sums.p / np.maximum(ratio, 1.0), sums.q)
    wrapped = outside(biased, law, steps, cells)
    # P is off by |p - p'| where that was computed, by S |q - q'| <= |q - q'| elsewhere; so is Q.
    # What wrapped around is in the wrong place once and lacks once.
    charge = 2.0 * cells.size * sums.error + 2.0 * wrapped + 1e-15
    keep = (p > 0.0) & (q > 0.0)
    missing = float(q[ratio == 0.0].sum())
    loss = np.log(ratio[keep])
    return build(
        loss,
        p[keep],
        q[keep],
        infinite=above(cells.beyond_p + charge),
        missing=above(cells.beyond_q + missing + charge),
        loss_error=UNIT * (12.0 + 12.0 * float(np.abs(loss).max())),
        relative=8.0 * UNIT,
    )


@lru_cache(maxsize=4)
def _lower(mu: float, steps: int, log_size: int, tail: float) -> DoubtfulAtoms:
    cells = grid(mu, steps, log_size, tail)
    q, q_error = normal_cells(cells.z, 0.0)
    p, p_error = normal_cells(cells.z, mu)
    doubt = max(float(q_error.sum()), float(p_error.sum()))
    # what is above the last cell counts as in one more; sums modulo the size are a function too
    sums = power_law(p, q, steps, cells, doubt)
    # Groups of neighbours with enough mass for their loss to be known. Where the law is mostly
    # noise that takes many, whose errors add up, so each end is one group reaching far enough in.
    least = np.cumsum(np.minimum(sums.p, sums.q))
    group = np.unique(
        np.floor(least / (4.0 / _DOUBT * sums.error)).astype(np.int64), return_inverse=True
    )[1]
    p, q, number = tally(group, sums.p), tally(group, sums.q), tally(group)
    middle = int(np.argmax(np.minimum(p, q)))
    start = _end_group(p[:middle], q[:middle], number[:middle], sums.error)
    stop = _end_group(p[:middle:-1], q[:middle:-1], number[:middle:-1], sums.error)
    group = np.clip(group, start, len(p) - 1 - stop) - start
    p, q = tally(group, sums.p), tally(group, sums.q)
    number = tally(group)
    if (number * sums.error > 2.0 * _DOUBT * np.minimum(p, q)).any():
        nothing = np.zeros(1)  # an output that is always the same
        return DoubtfulAtoms(nothing, nothing, nothing + 1.0, nothing + 1.0, nothing, nothing)
    error = number * sums.error * (1.0 + 1e-9) + UNIT * (number + 2.0) * np.maximum(p, q)
    loss = np.log(p / q)
    # -ln(1 - x) <= 1.03 x for x <= 0.03
    loss_error = 1.03 * (error / p + error / q) + UNIT * (8.0 + 8.0 * np.abs(loss))
    return DoubtfulAtoms(loss, loss_error, p, q, error, error)


def _end_group(p: Array, q: Array, number: Array, error: float) -> int:
    """How many groups from the start must join the next for it and all later ones to be known."""
    known = number * error <= _DOUBT * np.minimum(p, q)
    first = int(np.flatnonzero(~known)[-1]) + 1 if not known.all() else 0
    if first == 0:
        return 0
    joint = np.cumsum(number) * error <= _DOUBT * np.minimum(np.cumsum(p), np.cumsum(q))
    enough = np.flatnonzero(joint[first:])
    return first + int(enough[0]) if len(enough) else len(p)

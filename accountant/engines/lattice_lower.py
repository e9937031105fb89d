"""Masses on a lattice that a pair dominates: merge outputs, then add up the cells' numbers.

Number the cells of losses, cell by cell near loss/spacing, and publish only the sum of the numbers
of all steps. That is post-processing, so for every set A of sums

    delta(epsilon) >= P(sum in A) - e^epsilon Q(sum in A).

Both probabilities are convolutions of cell masses, P's rounded down and Q's up. Nothing else is
lost: no boundary needs to be where it was asked for, and the losses of a cell need not agree with
its number. How far they are off is lost information only, of second order in the spacing. A cell
whose mass is all error is not in A.

If every loss of every step lies on one progression, one number per loss makes the sum sufficient,
and the same sum with the roundings exchanged is an upper bound.
"""

from typing import NamedTuple

import numpy as np

from ..mills import UNIT
from ..pairs.base import Masses, Pair, Progression
from .lattice_fft import Law, tilted
from .lattice_plan import Array, Indices


class Couple(NamedTuple):
    """P rounded one way, Q the other way, and the mass at infinite loss, rounded like P."""

    p: Law
    q: Law
    infinite: float


def lower_couple(pair: Pair, knots: Indices, spacing: float, tilt: float) -> Couple:
    """Cells centred on the knots; `tilt` is per index, for P."""
    losses = knots * spacing
    cuts = np.append(0.5 * (losses[:-1] + losses[1:]), losses[-1])
    found = pair.masses(cuts)
    p, q = _rounded(found, up=False)
    with np.errstate(all="ignore"):
        number = np.rint((np.log(p) - np.log(q)) / spacing)
    first, last = int(knots[0]), int(knots[-1])
    use = (p > 0.0) & (number >= first)
    if pair.highest > losses[-1]:
        use[-1] = False  # few, but the tilt would make them many
    place = np.minimum(number[use], last).astype(np.int64) - first
    size = last - first + 1
    p_sum = np.bincount(place, p[use], size)
    q_sum = np.bincount(place, q[use], size)
    return Couple(
        tilted(first, np.asarray(p_sum, np.float64), tilt, up=False),
        tilted(first, np.asarray(q_sum, np.float64), tilt + spacing, up=True),
        infinite_lower(pair, found),
    )


def mean_residual(couple: Couple) -> float:
    """Mean of a cell's loss less its number times the spacing; no bound."""
    p, q = couple.p.weights, couple.q.weights
    use = (p > 0.0) & (q > 0.0)
    if not use.any():
        return 0.0
    # Q's tilt is the spacing more than P's
    residuals = np.log(p[use]) - np.log(q[use]) + (couple.p.scale - couple.q.scale)
    return float(np.average(residuals, weights=p[use]))


def exact_couple(
    pair: Pair, progression: Progression, ends: tuple[int, int], tilt: float, *, up: bool
) -> Couple:
    """One cell per loss of the progression; `up`: P rounded up, Q down."""
    index = np.arange(ends[0], ends[1] + 2)
    cuts = progression.offset + (index - 0.5) * progression.spacing
    found = pair.masses(np.asarray(cuts, np.float64))
    p, q = _rounded(found, up=up)
    infinite = pair.infinite * (1.0 + 4.0 * UNIT) if up else infinite_lower(pair, found)
    first, above = ends[0], float(p[-1])
    if up:
        infinite += above
        p[1] += p[0]
    return Couple(
        tilted(first, p[1:-1], tilt, up=up),
        tilted(first, q[1:-1], tilt + progression.spacing, up=not up),
        infinite,
    )


def infinite_lower(pair: Pair, found: Masses) -> float:
    """P(L = inf) is what is missing to 1; or `infinite` itself, known to be rounded only."""
    finite = float((found.p + found.p_error).sum()) * (1.0 + 1e-12)
    return max(0.0, 1.0 - finite, pair.infinite * (1.0 - 1e-9))


def _rounded(found: Masses, *, up: bool) -> tuple[Array, Array]:
    sign = 1.0 if up else -1.0
    slack = 1.0 + sign * 4.0 * UNIT, 1.0 - sign * 4.0 * UNIT
    return (
        np.maximum(0.0, found.p + sign * found.p_error) * slack[0],
        np.maximum(0.0, found.q - sign * found.q_error) * slack[1],
    )

"""Masses on a lattice that dominate a pair: connect the dots.

Let a cell of losses in (a, b] have masses p and q. Among all laws in it with these masses the one
on {a, b} has the largest hockey-stick curve, alone and in any composition, since the curve of a
composition is convex in e^-L of each step: b gets (p - e^a q)/(1 - e^(a-b)), a the rest. More p or
less q raise the curve, so errors of the masses are added to p and taken from q. Mass above the
knots goes to an infinite loss, mass below them to the lowest knot.

If the true boundaries are within eta of the knots, the losses clipped to the cell are within eta of
the true ones and their q is at least e^-eta times the true q; the curve must then be read at
epsilon - T eta. Source: Doroshenko et al., arXiv:2207.04380, here with errors.
"""

from typing import NamedTuple

import numpy as np

from ..mills import UNIT
from ..pairs.base import Pair
from .lattice_fft import Law, tilted
from .lattice_plan import Indices


class Upper(NamedTuple):
    """A dominating law, its mass at infinite loss and what its losses are off by, at most."""

    law: Law
    infinite: float
    shift: float


def upper_law(pair: Pair, knots: Indices, spacing: float, tilt: float) -> Upper:
    """Upper law of one step on knots * spacing; `tilt` is per index."""
    losses = knots * spacing
    found = pair.masses(np.asarray(losses, dtype=np.float64))
    shift = found.loss_error + 2.0 * UNIT * float(np.abs(losses).max())
    p = (found.p + found.p_error) * (1.0 + 2.0 * UNIT)
    q = np.maximum(0.0, found.q - found.q_error) * (np.exp(-shift) * (1.0 - 8.0 * UNIT))
    below, cells, above = p[0], p[1:-1], p[-1]
    left = losses[:-1]
    # where e^a overflows, q is smaller still; less q is allowed
    part = cells - np.exp(np.minimum(left, 700.0)) * q[1:-1]
    slack = UNIT * cells * (16.0 + 4.0 * np.abs(left))
    width = -np.expm1(-np.diff(losses) * (1.0 - 4.0 * UNIT))
    up = np.clip((part + slack) / width * (1.0 + 8.0 * UNIT), 0.0, cells)
    masses = np.zeros(int(knots[-1] - knots[0]) + 1)
    place = knots - knots[0]
    masses[place[1:]] = up
    masses[place[:-1]] += cells - up
    masses[0] += below
    infinite = pair.infinite
    if losses[-1] >= pair.highest:
        masses[-1] += above
    else:
        infinite += above
    return Upper(tilted(int(knots[0]), masses, tilt, up=True), infinite * (1.0 + 4.0 * UNIT), shift)

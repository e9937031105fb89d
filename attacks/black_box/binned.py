"""A log likelihood ratio of one column from counts: repeated values one by one, the rest in bins.

It finds what a straight threshold cannot: an interval, a point that is too likely, a value that
only one world has, NaN. Laplace smoothing keeps rare cells from shouting.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .ranking import Floats

_FEW = 64  # with at most this many distinct values each is a cell
_ATOMS = 256
_SMOOTHING = 0.5


@dataclass(frozen=True)
class Binned:
    """A table over the values of one column.

    Attributes:
        atoms: float[a], sorted values that have a cell of their own.
        edges: float[b], sorted borders of the other cells.
        ratios: float[a + b + 5], log ratio of each cell: atoms, bins, NaN, +inf, -inf, unseen.
    """

    atoms: Floats
    edges: Floats
    ratios: Floats

    def score(self, column: Floats) -> Floats:
        """float[n], the log ratio of each value."""
        return self.ratios[_cells(column, self.atoms, self.edges)]


def learn_binned(inside: Floats, outside: Floats, bins: int = 24) -> Binned:
    """The table from a column in both worlds, float[n_in] and float[n_out].

    >>> table = learn_binned(np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 1.0]))
    >>> table.score(np.array([0.0, 1.0, 7.0])).round(3).tolist()
    [0.847, -0.847, 0.0]
    """
    both = np.concatenate((inside, outside))
    finite = both[np.isfinite(both)]
    values, counts = np.unique(finite, return_counts=True)
    edges = np.empty(0)
    if values.size <= _FEW:
        atoms = values
    else:
        often = counts >= max(4.0, 5e-4 * both.size)
        if np.count_nonzero(often) > _ATOMS:
            often = counts >= np.sort(counts)[-_ATOMS]
        atoms = values[often][:_ATOMS]
        rest = np.repeat(values[~often], counts[~often])
        if rest.size:
            levels = np.linspace(0.0, 1.0, min(bins, max(2, rest.size // 40)) + 1)[1:-1]
            edges = np.unique(np.quantile(rest, levels))
    size = atoms.size + edges.size + 5
    counts_in = np.bincount(_cells(inside, atoms, edges), minlength=size) + _SMOOTHING
    counts_out = np.bincount(_cells(outside, atoms, edges), minlength=size) + _SMOOTHING
    ratios = np.log(counts_in / inside.size) - np.log(counts_out / outside.size)
    seen = counts_in + counts_out > 2.0 * _SMOOTHING
    return Binned(atoms, edges, np.where(seen, ratios, 0.0))


def _cells(column: Floats, atoms: Floats, edges: Floats) -> NDArray[np.int64]:
    bins = atoms.size + edges.size + 1
    cells = atoms.size + np.searchsorted(edges, column)
    if edges.size == 0 and atoms.size:
        cells[:] = bins + 3  # every value had a cell: this one was never seen
    if atoms.size:
        nearest = np.minimum(np.searchsorted(atoms, column), atoms.size - 1)
        cells = np.where(atoms[nearest] == column, nearest, cells)
    cells = np.where(np.isnan(column), bins, cells)
    cells = np.where(np.isposinf(column), bins + 1, cells)
    return np.where(np.isneginf(column), bins + 2, cells)

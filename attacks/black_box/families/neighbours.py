"""Nearest neighbours: no shape assumed, few dimensions only."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..ranking import Floats
from ..view import Batch, Training

_DIMENSIONS = 8


@dataclass(frozen=True)
class Densities:
    """Log ratio of the distances to the k-th neighbour in each world."""

    inside: Any
    outside: Any
    columns: NDArray[np.int64]
    k: int

    @property
    def what(self) -> str:
        """In words."""
        return f"distance to the {self.k}-th neighbour on {self.columns.size} coordinates"

    def score(self, batch: Batch) -> Floats:
        """float[n]."""
        points = batch.clean[:, self.columns]
        reach_in = self.inside.query(points, k=[self.k])[0][:, 0]
        reach_out = self.outside.query(points, k=[self.k])[0][:, 0]
        tiny = 1e-9
        return np.asarray(np.log(reach_out + tiny) - np.log(reach_in + tiny))


@dataclass(frozen=True)
class Neighbours:
    """k-nearest-neighbour density ratio on the columns that differ most.

    Source: Wang, Kulkarni & Verdu, 2009, doi:10.1109/TIT.2009.2016060.
    """

    name: ClassVar[str] = "neighbours"

    def learn(self, training: Training) -> Densities | None:
        """None with fewer than 30 outputs in a world."""
        a, b = training.inside.clean, training.outside.clean
        most = training.budget.neighbours
        size = min(a.shape[0], b.shape[0], most)
        if size < 30:
            return None
        columns = np.arange(a.shape[1])
        if columns.size > _DIMENSIONS:
            by_mean = np.abs(a.mean(axis=0) - b.mean(axis=0))
            by_spread = np.abs(a.std(axis=0) - b.std(axis=0))
            columns = np.argsort(-(by_mean + by_spread), kind="stable")[:_DIMENSIONS]
        pick_a = training.rng.permutation(a.shape[0])[:size]
        pick_b = training.rng.permutation(b.shape[0])[:size]
        trees = (cKDTree(a[pick_a][:, columns]), cKDTree(b[pick_b][:, columns]))
        return Densities(*trees, columns, max(5, round(0.7 * size**0.5)))

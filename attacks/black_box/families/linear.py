"""The linear discriminant: optimal for Gaussian noise of any covariance, equal in both worlds."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..ranking import Floats, worth
from ..view import Batch, Training

_RIDGES = (1e-13, 1e-2, 1.0)  # in units of the mean variance


@dataclass(frozen=True)
class Direction:
    """A direction on the kept columns, or the diagonal one on all coordinates."""

    weights: Floats | None
    what: str

    def score(self, batch: Batch) -> Floats:
        """float[n]."""
        if self.weights is None:
            return batch.summary["diagonal linear"]
        # einsum and not a matrix product, whose last digits depend on the place in the batch
        return np.asarray(np.einsum("ij,j->i", batch.clean, self.weights))


@dataclass(frozen=True)
class Linear:
    """Fisher's discriminant with the best of three ridges, or without correlations.

    The smallest ridge keeps directions that have no noise at all, such as the difference of two
    releases whose noise is the same. Source: Fisher, 1936, doi:10.1111/j.1469-1809.1936.tb02137.x.
    """

    name: ClassVar[str] = "linear"

    def learn(self, training: Training) -> Direction | None:
        """None if the means agree exactly."""
        a, b = training.inside.clean, training.outside.clean
        cut_a, cut_b = (a.shape[0] * 2) // 3, (b.shape[0] * 2) // 3
        if min(cut_a, cut_b) < 2:
            return Direction(None, "difference of the means, coordinates taken as independent")
        first = discriminants(a[:cut_a], b[:cut_b])
        trial = [
            worth(a[cut_a:] @ weights, b[cut_b:] @ weights, training.goal) for weights in first
        ]
        best = int(np.argmax(trial))
        weights = discriminants(a, b)[best]
        if not weights.any():
            return None
        words = f"linear discriminant on {weights.size} coordinates, ridge {_RIDGES[best]:g}"
        if training.inside.rows.shape[1] > weights.size:
            dense_in = training.inside.summary["diagonal linear"]
            dense_out = training.outside.summary["diagonal linear"]
            # Both were fitted to these outputs; many coordinates fit better by heart, so they
            # have to win by what an independent fit would gain from as many.
            luck = training.inside.rows.shape[1] * (1.0 / len(a) + 1.0 / len(b))
            apart = dense_in.mean() - dense_out.mean() - luck
            sparse_in, sparse_out = a @ weights, b @ weights
            sparse = (sparse_in.mean() - sparse_out.mean()) / _within(sparse_in, sparse_out)
            if apart / _within(dense_in, dense_out) > sparse:
                return Direction(None, "difference of the means over all coordinates")
        return Direction(weights, words)


def _within(a: Floats, b: Floats) -> float:
    return float(np.sqrt(0.5 * (a.var() + b.var()))) + 1e-300


def discriminants(a: Floats, b: Floats, ridges: tuple[float, ...] = _RIDGES) -> list[Floats]:
    """Fisher's direction for each ridge, in units of the mean variance; largest weight 1."""
    gap = a.mean(axis=0) - b.mean(axis=0)
    within = 0.5 * (np.cov(a.T) + np.cov(b.T)).reshape(gap.size, gap.size)
    values, vectors = np.linalg.eigh(within)
    # Without any noise the gap is the only scale there is.
    size = max(float(np.trace(within)) / gap.size, 1e-20 * float(gap @ gap), 1e-100)
    turned = vectors.T @ gap
    directions = [vectors @ (turned / (np.maximum(values, 0.0) + r * size)) for r in ridges]
    return [w / max(float(np.abs(w).max()), 1e-300) for w in directions]

"""An additive score: a bent line for each coordinate, fitted jointly.

For independent noise the log likelihood ratio is a sum of one function per coordinate; for Laplace
noise each of these is a line that goes flat, which neither a linear nor a quadratic score follows.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..ranking import Floats
from ..view import Batch, Training
from .linear import discriminants

_COLUMNS = 24
_KNOTS = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
_RIDGE = 1e-3


@dataclass(frozen=True)
class Hinges:
    """Fisher's discriminant on max(0, x_j - knot) and x_j."""

    columns: NDArray[np.int64]
    knots: Floats
    weights: Floats

    @property
    def what(self) -> str:
        """In words."""
        return f"sum of bent lines over {self.columns.size} coordinates"

    def score(self, batch: Batch) -> Floats:
        """float[n]."""
        basis = _basis(batch.clean[:, self.columns], self.knots)
        return np.asarray(np.einsum("ij,j->i", basis, self.weights))


def _basis(x: Floats, knots: Floats) -> Floats:
    """float[n, k (knots + 1)]."""
    hinges = np.maximum(0.0, x[:, :, None] - knots)
    return np.concatenate((x, hinges.reshape(x.shape[0], -1)), axis=1)


@dataclass(frozen=True)
class Additive:
    """The linear discriminant on hinge functions of the coordinates.

    Source: Hastie & Tibshirani, 1986 (generalised additive models).
    """

    name: ClassVar[str] = "additive"

    def learn(self, training: Training) -> Hinges | None:
        """None with fewer than 100 outputs in a world."""
        a, b = training.inside.clean, training.outside.clean
        if min(a.shape[0], b.shape[0]) < 100:
            return None
        apart = np.abs(a.mean(axis=0) - b.mean(axis=0))
        columns = np.sort(np.argsort(-apart, kind="stable")[:_COLUMNS])
        a, b = a[:, columns], b[:, columns]
        knots = np.quantile(np.concatenate((a, b)), _KNOTS, axis=0).T
        weights = discriminants(_basis(a, knots), _basis(b, knots), (_RIDGE,))[0]
        return Hinges(columns, knots, weights)

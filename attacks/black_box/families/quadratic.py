"""Quadratic discriminants: noise whose size or correlation depends on the record."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..ranking import Floats
from ..view import Batch, Training

_MOST = 40  # columns with a full covariance in each world
_OUTER = 3  # eigenvectors of the change of covariance beyond that


@dataclass(frozen=True)
class Form:
    """sum of weights * (projection - centre)^2 + linear part, on the clean columns."""

    projection: Floats
    centre: Floats
    weights: Floats
    linear: Floats
    diagonal: bool
    what: str

    def score(self, batch: Batch) -> Floats:
        """float[n]."""
        turned = np.einsum("ij,jk->ik", batch.clean, self.projection)
        value = np.einsum("ik,k->i", (turned - self.centre) ** 2, self.weights)
        value += np.einsum("ik,k->i", turned, self.linear)
        if self.diagonal:
            value = value + batch.summary["diagonal quadratic"]
        return np.asarray(value)


@dataclass(frozen=True)
class Quadratic:
    """The Gaussian log likelihood ratio with a covariance for each world.

    Up to 40 columns in full; beyond that every coordinate by itself (variance ratio) and the three
    directions in which the covariances differ most.
    """

    name: ClassVar[str] = "quadratic"

    def learn(self, training: Training) -> Form | None:
        """None with too few outputs for a covariance."""
        a, b = training.inside.clean, training.outside.clean
        k = a.shape[1]
        if min(a.shape[0], b.shape[0]) < 3 * min(k, _MOST) + 10:
            return None
        cov_a, cov_b = (_shrunk(x) for x in (a, b))
        pooled = 0.5 * (cov_a + cov_b)
        values, vectors = np.linalg.eigh(pooled)
        root = vectors / np.sqrt(np.maximum(values, 1e-12 * max(float(values[-1]), 1.0)))
        # Both covariances become diagonal at once: they commute after whitening by their mean.
        spread, turn = np.linalg.eigh(root.T @ cov_a @ root)
        spread = np.clip(spread, 1e-6, 2.0 - 1e-6)  # the other world has 2 - spread
        projection = root @ turn
        mean_a, mean_b = a.mean(axis=0) @ projection, b.mean(axis=0) @ projection
        inverse_a, inverse_b = 1.0 / spread, 1.0 / (2.0 - spread)
        if k > _MOST:
            order = np.argsort(-np.abs(spread - 1.0))[:_OUTER]
            projection, mean_a, mean_b = projection[:, order], mean_a[order], mean_b[order]
            inverse_a, inverse_b = inverse_a[order], inverse_b[order]
        # Completing no square: 0.5 (t - mb)^2 / vb - 0.5 (t - ma)^2 / va
        weights = 0.5 * (inverse_b - inverse_a)
        linear = inverse_a * mean_a - inverse_b * mean_b
        words = f"quadratic discriminant on {k} coordinates"
        return Form(projection, np.zeros_like(weights), weights, linear, k > _MOST, words)


def _shrunk(x: Floats) -> Floats:
    n, k = x.shape
    covariance = np.cov(x.T).reshape(k, k)
    share = k / (n + k)
    return np.asarray((1.0 - share) * covariance + share * np.diag(np.diag(covariance)))

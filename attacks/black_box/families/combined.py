"""Several scores weighed together: logistic regression on what the families found."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from ..ranking import Floats
from ..view import Batch
from .base import Fitted

_LEVELS = 64
_BEYOND = 1e-3  # slope outside the known quantiles: order is kept, size is not


@dataclass(frozen=True)
class NormalScale:
    """Brings a score to the normal scale by its quantiles: heavy tails and rare events included.

    Attributes:
        low: smallest score known.
        span: largest minus smallest, > 0.
        values: float[k], rising, scores moved to [0, 1].
        places: float[k], normal quantiles that belong to them.
    """

    low: float
    span: float
    values: Floats
    places: Floats

    def __call__(self, scores: Floats) -> Floats:
        """float[n], rising with the score."""
        reach = 2.0 * self.span
        moved = np.clip(scores - self.low, -reach, reach) / self.span
        beyond = moved - np.clip(moved, 0.0, 1.0)
        return np.asarray(np.interp(moved, self.values, self.places) + _BEYOND * beyond)


def _normal_scale(scores: Floats) -> NormalScale:
    """By the middle rank of each distinct value, at 64 places of the normal scale."""
    low, high = float(scores.min()), float(scores.max())
    span = high - low if high - low > 1e-290 else 1.0
    # Steps that get lost here are too fine to interpolate between.
    values, counts = np.unique(np.rint((scores - low) / span * 1e14) / 1e14, return_counts=True)
    places = ndtri((np.cumsum(counts) - 0.5 * counts) / scores.size)
    if values.size > _LEVELS:
        near = np.searchsorted(places, np.linspace(places[0], places[-1], _LEVELS))
        kept = np.unique(np.minimum(near, values.size - 1))
        values, places = values[kept], places[kept]
    return NormalScale(low, span, values, places)


@dataclass(frozen=True)
class Weighed:
    """Weighted sum of the parts' scores on the normal scale."""

    parts: tuple[Fitted, ...]
    names: tuple[str, ...]
    scales: tuple[NormalScale, ...]
    weights: Floats

    @property
    def what(self) -> str:
        """In words."""
        order = np.argsort(-np.abs(self.weights))[:4]
        return "logistic regression of " + ", ".join(
            f"{self.names[i]} ({self.weights[i]:+.2f})" for i in order
        )

    def score(self, batch: Batch) -> Floats:
        """float[n]."""
        return self.weigh(np.column_stack([part.score(batch) for part in self.parts]))

    def weigh(self, scores: Floats) -> Floats:
        """float[n] from the scores of the parts, float[n, parts]."""
        total = np.zeros(scores.shape[0])
        for j, scale in enumerate(self.scales):
            total += self.weights[j] * scale(scores[:, j])
        return total


def weigh(
    parts: tuple[Fitted, ...], names: tuple[str, ...], inside: Floats, outside: Floats
) -> Weighed:
    """Logistic regression with a small ridge, by Newton's method.

    Args:
        parts: the scores.
        names: of their families.
        inside: float[n_in, parts], on outputs that no part was fitted to.
        outside: float[n_out, parts].
    """
    both = np.concatenate((inside, outside))
    scales = tuple(_normal_scale(column) for column in both.T)
    z = np.column_stack([scale(both[:, j]) for j, scale in enumerate(scales)])
    labels = np.repeat([1.0, 0.0], (len(inside), len(outside)))
    x = np.column_stack((z, np.ones(len(z))))
    ridge = np.append(np.full(z.shape[1], 2.0), 1e-6)
    beta = np.zeros(x.shape[1])
    for _ in range(12):
        odds = np.clip(x @ beta, -30.0, 30.0)
        p = 1.0 / (1.0 + np.exp(-odds))
        slope = x.T @ (labels - p) - ridge * beta
        bend = (x * (p * (1.0 - p))[:, None]).T @ x + np.diag(ridge)
        step = np.linalg.solve(bend, slope)
        beta = beta + step * min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < 1e-6:
            break
    return Weighed(parts, names, scales, beta[:-1])

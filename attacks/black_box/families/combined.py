"""Several scores weighed together: logistic regression on what the families found."""

from dataclasses import dataclass

import numpy as np

from ..ranking import Floats
from ..view import Batch
from .base import Fitted

_CUT = 8.0


@dataclass(frozen=True)
class Weighed:
    """Weighted sum of standardised scores."""

    parts: tuple[Fitted, ...]
    names: tuple[str, ...]
    centre: Floats
    scale: Floats
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
        z = np.clip((scores - self.centre) / self.scale, -_CUT, _CUT)
        return np.asarray(np.einsum("ij,j->i", z, self.weights))


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
    centre = both.mean(axis=0)
    spread = both.std(axis=0)
    scale = np.where(spread > 0.0, spread, 1.0)
    z = np.clip((both - centre) / scale, -_CUT, _CUT)
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
    return Weighed(parts, names, centre, scale, beta[:-1])

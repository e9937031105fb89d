"""Sums of Gaussian likelihood ratios in logarithms, with errors: what mixtures are made of."""

import math
from collections.abc import Sequence

import numpy as np

from ..mills import UNIT
from .base import Array


def exponent(x: Array, mean: float, origin: float) -> tuple[Array, Array]:
    """(mean - origin) (x - (mean + origin)/2), ln of a ratio of unit normals, and its error."""
    shift = mean - origin
    middle = 0.5 * mean + 0.5 * origin
    t = shift * (x - middle)
    # the means are off by UNIT of themselves
    largest = max(abs(mean), abs(origin))
    means = UNIT * largest * 2.0 * (np.abs(x - middle) + abs(shift))
    return t, UNIT * (4.0 * np.abs(t) + abs(shift) * 2.0 * abs(middle)) + means


def log_sum(
    x: Array, weights: Sequence[float], means: Sequence[float], origin: float
) -> tuple[Array, Array]:
    """Ln sum w_i N(x; a_i)/N(x; origin), and a bound of its error."""
    terms = []
    slack = np.zeros_like(x)
    for weight, mean in zip(weights, means, strict=True):
        t, error = exponent(x, mean, origin)
        log = math.log(weight)
        terms.append(t + log)
        slack = np.maximum(slack, error + UNIT * (np.abs(terms[-1]) + 8.0 * abs(log)))
    top = np.max(terms, axis=0)
    total = np.zeros_like(x)
    for term in terms:
        total += np.exp(term - top)
    found = top + np.log(total)
    rounding = UNIT * (len(weights) + 16.0 + np.abs(top) + 8.0 * np.log(total) + np.abs(found))
    # exponents term - top: what is subtracted from far below hardly counts, so at most 40 matters
    return found, slack + rounding + UNIT * 40.0


def posterior_mean(
    x: Array, weights: Sequence[float], means: Sequence[float], origin: float
) -> Array:
    """Posterior mean of the component, for Newton's method and for panel bounds."""
    logs = [exponent(x, m, origin)[0] + math.log(w) for w, m in zip(weights, means, strict=True)]
    top = np.max(logs, axis=0)
    parts = [np.exp(log - top) for log in logs]
    weighted = np.sum([part * mean for part, mean in zip(parts, means, strict=True)], axis=0)
    return np.asarray(weighted / np.sum(parts, axis=0))

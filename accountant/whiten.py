"""Two Gaussians in coordinates where one is standard normal and the other has no correlations."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import ParameterError

Array = NDArray[np.float64]
_UNIT = 2.0**-53


class Whitened(NamedTuple):
    """P's variances and means where Q is standard normal, and a bound on their relative error."""

    eigenvalues: Array
    shifts: Array
    rounding: float


def whiten(mean1: Any, covariance1: Any, mean0: Any, covariance0: Any) -> Whitened:
    """P = N(mean1, covariance1) in coordinates that make Q = N(mean0, covariance0) standard.

    Args:
        mean1: float[dim].
        covariance1: float[dim], variances, or float[dim, dim].
        mean0: float[dim].
        covariance0: float[dim] or float[dim, dim].

    Raises:
        ParameterError: shapes that differ, numbers not finite, or a covariance that is not
            symmetric positive definite beyond rounding.

    >>> whiten([1.0], [4.0], [0.0], [1.0])[:2]
    (array([4.]), array([1.]))
    """
    first, second = _vector(mean1=mean1), _vector(mean0=mean0)
    if first.shape != second.shape:
        raise ParameterError(
            f"mean1 and mean0 must have one dimension, but have {len(first)} and {len(second)}"
        )
    gap, dimension = first - second, len(first)
    upper = _covariance(dimension, covariance1=covariance1)
    lower = _covariance(dimension, covariance0=covariance0)
    if upper.ndim == lower.ndim == 1:
        return Whitened(upper / lower, gap / np.sqrt(lower), 8.0 * _UNIT)
    values, vectors = np.linalg.eigh(_full(lower))
    basis = vectors / np.sqrt(values)
    unit, skew = 4.0 * dimension * _UNIT, float(values[-1] / values[0])
    if np.array_equal(upper, lower):
        return Whitened(np.ones(dimension), basis.T @ gap, unit * skew)
    middle = basis.T @ _full(upper) @ basis
    found, turn = np.linalg.eigh(0.5 * (middle + middle.T))
    if not found[0] > 16.0 * dimension * _UNIT * found[-1]:
        raise ParameterError(_SINGULAR.format("covariance1", "relative to covariance0"))
    # eigh is exact for a matrix within about `unit` of its argument. A change of covariance0 by
    # a factor I + E moves eigenvalues by at most a factor 1 + |E| (Ostrowski), and P relative to
    # itself by |E| times the root of their spread.
    spread = float(found[-1] / found[0])
    rounding = unit * (skew * spread**0.5 + spread)
    return Whitened(found, turn.T @ (basis.T @ gap), rounding)


_SINGULAR = "{} must be positive definite, but is singular to within rounding ({})"


def _vector(**values: Any) -> Array:
    ((name, value),) = values.items()
    found = np.asarray(value, dtype=float)
    if found.ndim != 1 or found.size == 0 or not np.isfinite(found).all():
        raise ParameterError(f"{name} must be a vector of finite numbers, but is {value!r}")
    return found


def _covariance(dimension: int, **values: Any) -> Array:
    ((name, value),) = values.items()
    found = np.asarray(value, dtype=float)
    if found.shape not in ((dimension,), (dimension, dimension)):
        raise ParameterError(
            f"{name} must have shape ({dimension},) or ({dimension}, {dimension}), "
            f"but has {found.shape}"
        )
    if not np.isfinite(found).all():
        raise ParameterError(f"{name} must hold finite numbers")
    if found.ndim == 1:
        if not found.min() > 0.0:
            raise ParameterError(_SINGULAR.format(name, f"a variance is {found.min():.3g}"))
        return found
    if np.abs(found - found.T).max() > 1e-12 * np.abs(found).max():
        raise ParameterError(f"{name} must be symmetric")
    spectrum = np.linalg.eigvalsh(found)
    if not spectrum[0] > 16.0 * dimension * _UNIT * spectrum[-1]:
        raise ParameterError(
            _SINGULAR.format(name, f"eigenvalues {spectrum[0]:.3g} to {spectrum[-1]:.3g}")
        )
    return np.asarray(0.5 * (found + found.T))


def _full(covariance: Array) -> Array:
    return np.diag(covariance) if covariance.ndim == 1 else covariance

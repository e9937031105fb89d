import math

import numpy as np
import pytest
from scipy.optimize import minimize

from privassay.accountant.allocation import (
    ellipsoid_stddevs,
    equal_power_stddevs,
    is_isotropic_optimal,
    optimal_cost,
    optimal_stddevs,
)
from privassay.accountant.errors import ParameterError
from privassay.accountant.geometry import clip_mu, square, squared_clip_mu

CASES = [
    ([1.0, 1.0], [10, 300], None, 0.5),
    ([0.3, 2.0, 0.9], [5, 50, 137], None, 1.7),
    ([0.3, 2.0, 0.9], [5, 50, 137], [1.0, 0.2, 9.0], 0.04),
]


def cost(stddevs, dimensions, weights):
    weights = np.ones(len(stddevs)) if weights is None else np.array(weights)
    return float((weights * np.array(dimensions) * np.array(stddevs) ** 2).sum())


@pytest.mark.parametrize("bounds, dimensions, weights, mu", CASES)
def test_no_allocation_is_cheaper(bounds, dimensions, weights, mu):
    stddevs = optimal_stddevs(bounds, dimensions, mu=mu, weights=weights)
    assert squared_clip_mu(stddevs, norm_bounds=bounds) <= square(mu)
    assert clip_mu(stddevs, norm_bounds=bounds) == pytest.approx(mu, rel=1e-14)
    least = optimal_cost(bounds, dimensions, mu=mu, weights=weights)
    assert cost(stddevs, dimensions, weights) == pytest.approx(least, rel=1e-13)

    def target(logs):  # any direction, scaled to meet mu
        raw = np.exp(logs)
        return cost(raw * clip_mu(raw.tolist(), norm_bounds=bounds) / mu, dimensions, weights)

    found = minimize(target, np.zeros(len(bounds)), method="Nelder-Mead", tol=1e-10)
    assert found.fun >= least * (1 - 1e-12)
    assert found.fun == pytest.approx(least, rel=1e-6)
    even = target(np.zeros(len(bounds)))
    assert even > least * 1.01 and not is_isotropic_optimal(bounds, dimensions, weights=weights)


@pytest.mark.parametrize("norms, dimensions, weights, mu", CASES)
def test_no_ellipsoid_is_cheaper(norms, dimensions, weights, mu):
    factor = 2.0
    radii, stddevs = ellipsoid_stddevs(norms, dimensions, mu=mu, weights=weights, factor=factor)
    assert factor * clip_mu(stddevs, ellipsoid_radii=radii) == pytest.approx(mu, rel=1e-14)
    assert factor**2 * squared_clip_mu(stddevs, ellipsoid_radii=radii) <= square(mu)
    fits = sum((m / r) ** 2 for m, r in zip(norms, radii, strict=True))
    assert fits == pytest.approx(1.0, rel=1e-12)

    def target(logs):  # radii in any proportion, scaled so that `norms` just fits
        raw = np.exp(logs)
        raw = raw * math.sqrt(sum((m / r) ** 2 for m, r in zip(norms, raw, strict=True)))
        return cost(factor * raw / mu, dimensions, weights)

    found = minimize(target, np.zeros(len(norms)), method="Nelder-Mead", tol=1e-10)
    least = cost(stddevs, dimensions, weights)
    assert found.fun >= least * (1 - 1e-12) and found.fun == pytest.approx(least, rel=1e-6)


def test_isotropic_is_optimal_for_balanced_bounds():
    bounds, dimensions = [math.sqrt(7), math.sqrt(30)], [7, 30]
    assert is_isotropic_optimal(bounds, dimensions)
    quiet, loud = optimal_stddevs(bounds, dimensions, mu=0.3)
    assert quiet == pytest.approx(loud, rel=1e-14)
    assert optimal_cost(bounds, dimensions, mu=0.3) == pytest.approx(37 * quiet**2, rel=1e-13)
    assert not is_isotropic_optimal(bounds, dimensions, weights=[1.0, 4.0])


def test_a_group_that_cannot_move_needs_no_noise():
    assert optimal_stddevs([0.0, 1.0], [4, 9], mu=2.0) == (0.0, 0.5)


@pytest.mark.parametrize("fraction, ratio", [(0.3, 1.883), (0.5, 3.0), (1.0, 2.0), (0.0, 2.0)])
def test_equal_power(fraction, ratio):
    quiet, loud = equal_power_stddevs(1.7, fraction, ratio)
    assert fraction * quiet**2 + (1 - fraction) * loud**2 == pytest.approx(1.7**2, rel=1e-14)
    assert loud == pytest.approx(ratio * quiet)
    assert 1.7 / quiet == pytest.approx(math.sqrt(fraction + (1 - fraction) * ratio**2))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(norm_bounds=[1.0], dimensions=[1, 2], mu=1.0), "same number"),
        (dict(norm_bounds=[-1.0], dimensions=[1], mu=1.0), "bounds"),
        (dict(norm_bounds=[1.0], dimensions=[0], mu=1.0), "dimensions"),
        (dict(norm_bounds=[1.0], dimensions=[1], mu=0.0), "mu"),
        (dict(norm_bounds=[1.0], dimensions=[1], mu=1.0, weights=[0.0]), "weights"),
    ],
)
def test_wrong_numbers(arguments, message):
    with pytest.raises(ParameterError, match=message):
        optimal_stddevs(**arguments)

import math

import numpy as np
import pytest

from privassay.accountant import gaussian
from privassay.accountant.errors import ParameterError
from privassay.accountant.pairwise import GaussianPair, epsilon_lower


def test_equal_covariances_are_the_gaussian_mechanism():
    generator = np.random.default_rng(5)
    root = generator.normal(size=(6, 6)) + 3 * np.eye(6)
    covariance, mean = root @ root.T, generator.normal(size=6)
    mu = math.sqrt(mean @ np.linalg.solve(covariance, mean))
    pairs = [
        GaussianPair.from_moments(mean, covariance, np.zeros(6), covariance),
        GaussianPair.from_moments([mu], [1.0], [0.0], [1.0]),
        GaussianPair((1.0, 1.0), (0.6 * mu, 0.8 * mu), (1, 1)),
    ]
    for pair in pairs:
        for epsilon in (0.0, 1.0, 5.0):
            assert pair.delta(epsilon) == pytest.approx(gaussian.delta(epsilon, mu=mu), rel=1e-10)
        assert epsilon_lower(pair, 1e-5) == pytest.approx(gaussian.epsilon(1e-5, mu=mu), rel=1e-10)
        assert epsilon_lower(pair, 1e-5) <= gaussian.epsilon_interval(1e-5, mu=mu * (1 + 1e-12))[1]


def test_a_change_of_coordinates_changes_nothing():
    # Integers, so that the covariances are exact; unit triangular, so that nothing is lost.
    generator = np.random.default_rng(7)
    v, d = np.array([0.25, 0.5, 1.0, 2.0, 4.0]), np.array([1.0, 0.0, 0.5, -0.25, 0.0])
    plain = GaussianPair.from_moments(d, v, np.zeros(5), np.ones(5))
    for _ in range(10):
        matrix = np.tril(generator.integers(-2, 3, size=(5, 5)), -1) + np.eye(5)
        full = GaussianPair.from_moments(
            matrix @ d, (matrix * v) @ matrix.T, np.zeros(5), matrix @ matrix.T
        )
        assert np.abs(np.array(full.eigenvalues) / v - 1).max() < full.rounding < 1e-9
        for epsilon in (0.0, 1.0, 4.0):
            lower, upper = full.delta_interval(epsilon)
            assert lower <= plain.delta(epsilon) <= upper
        assert epsilon_lower(full, 1e-5) <= epsilon_lower(plain, 1e-5) + 1e-12
        assert epsilon_lower(full, 1e-5) == pytest.approx(epsilon_lower(plain, 1e-5), rel=1e-6)


def test_rounding_alone_refutes_nothing():
    generator = np.random.default_rng(8)
    root = generator.normal(size=(40, 40))
    covariance = root @ root.T + np.eye(40)
    nudged = covariance * (1.0 + 2.0**-52)
    pair = GaussianPair.from_moments(np.zeros(40), nudged, np.zeros(40), covariance)
    assert [epsilon_lower(pair, d) for d in (0.0, 1e-30, 1e-9)] == [0.0] * 3


EYE = [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"covariance0": [[1.0, 1.0], [1.0, 1.0]]}, "covariance0 must be positive definite"),
        ({"covariance1": [[1.0, 1.0], [1.0, 1.0]]}, "covariance1 must be positive definite"),
        ({"covariance1": [[1.0, 2.0], [2.0, 1.0]]}, "covariance1 must be positive definite"),
        ({"covariance1": [1.0, 0.0]}, "covariance1 must be positive definite"),
        ({"covariance1": [[1.0, 0.5], [0.2, 1.0]]}, "covariance1 must be symmetric"),
        ({"covariance0": [1.0]}, "covariance0 must have shape"),
        ({"covariance0": [1.0, math.inf]}, "covariance0 must hold finite"),
        ({"mean1": [1.0]}, "mean1 and mean0 must have one dimension"),
        ({"mean1": [1.0, math.nan]}, "mean1 must be a vector of finite"),
        ({"covariance1": [[1.0, 0.0], [0.0, 1e-18]]}, "covariance1 must be positive definite"),
        ({"covariance1": [1e-40, 1.0], "covariance0": [1.0, 1.0]}, "eigenvalues must lie"),
    ],
)
def test_moments_that_are_refused(change, message):
    moments = {"mean1": [0, 0], "covariance1": EYE, "mean0": [0, 0], "covariance0": EYE} | change
    with pytest.raises(ParameterError, match=message):
        GaussianPair.from_moments(**moments)

import numpy as np
import pytest

from privassay.accountant.errors import ConfigError
from privassay.fl_core import projection


def features(count=200, dimension=12, seed=0):
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((dimension, dimension)) * np.linspace(5, 0.2, dimension)[:, None]
    return (rng.standard_normal((count, dimension)) @ mixed + 3.0).astype(np.float32)


def test_directions_are_orthonormal_and_variance_falls():
    x = features()
    project = projection.fit(x, 7)
    assert project.directions.shape == (12, 7)
    np.testing.assert_allclose(project.directions.T @ project.directions, np.eye(7), atol=1e-12)
    spread = project(x).var(axis=0)
    assert (np.diff(spread) <= 1e-12).all(), spread
    # naive twin: the eigenvalues of the covariance
    values = np.linalg.eigvalsh(np.cov(x.astype(np.float64).T, bias=True))[::-1][:7]
    np.testing.assert_allclose(spread * project.scale**2, values, rtol=1e-8)


def test_public_features_are_centred_and_have_median_norm_one():
    x = features()
    found = projection.fit(x, 12)(x)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.mean(axis=0), 0.0, atol=1e-12)
    assert np.median(np.linalg.norm(found, axis=1)) == pytest.approx(1.0, rel=1e-12)


def test_with_all_dimensions_distances_are_kept_up_to_the_scale():
    x = features()
    project = projection.fit(x, 12)
    one, two = project(x[:50]), project(x[50:100])
    wanted = np.linalg.norm(x[:50].astype(np.float64) - x[50:100], axis=1)
    np.testing.assert_allclose(np.linalg.norm(one - two, axis=1) * project.scale, wanted, rtol=1e-9)


def test_it_does_not_depend_on_the_order_of_the_public_images_or_on_signs():
    x = features()
    first = projection.fit(x, 5)
    again = projection.fit(np.ascontiguousarray(x[::-1]), 5)
    np.testing.assert_allclose(again.directions, first.directions, atol=1e-9)
    np.testing.assert_allclose(again.scale, first.scale, rtol=1e-12)
    largest = np.abs(first.directions).argmax(axis=0)
    assert (first.directions[largest, range(5)] > 0).all()


def test_fewer_dimensions_are_the_leading_ones_of_more():
    x = features()
    few, many = projection.fit(x, 3), projection.fit(x, 9)
    np.testing.assert_allclose(few.directions, many.directions[:, :3], atol=1e-12)


def test_no_image_gives_no_row():
    project = projection.fit(features(), 3)
    assert project(np.zeros((0, 12), dtype=np.float32)).shape == (0, 3)


@pytest.mark.parametrize(("count", "dimension", "asked"), [(200, 12, 13), (5, 12, 5), (2, 12, 2)])
def test_more_dimensions_than_the_images_span_are_refused(count, dimension, asked):
    most = min(count - 1, dimension)
    with pytest.raises(ConfigError, match=f"model.dimensions = {asked}.*span {most}"):
        projection.fit(features(count, dimension), asked)
    assert projection.fit(features(count, dimension), asked - 1)


def test_directions_without_public_variance_are_refused():
    # Their order and signs would be rounding noise, and a group of them would have norm 0.
    x = features()
    x[:, 5:] = x[:, :1]
    with pytest.raises(ConfigError, match="vary in 5 directions only"):
        projection.fit(x, 6)
    assert projection.fit(x, 5)
    with pytest.raises(ConfigError, match="0 directions"):
        projection.fit(np.ones((9, 4), dtype=np.float32), 2)


def test_a_scale_of_zero_is_refused():
    x = np.zeros((9, 4), dtype=np.float32)
    x[:4] = np.eye(4)
    x = np.concatenate([x, -x])  # the mean is 0, and so are more than half of the rows
    with pytest.raises(ConfigError, match="more than half of the public images"):
        projection.fit(x, 2)

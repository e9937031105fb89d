import math

import numpy as np
import pytest

from privassay.accountant.errors import ParameterError
from privassay.accountant.geometry import (
    class_mean_factor,
    clip_mu,
    covariance_mu,
    noisy_count_mu,
    root_interval,
    squared_clip_mu,
)

STDDEVS = np.array([2.0, 0.7, 1.3])
BOUNDS = np.array([0.9, 0.5, 1.1])
JOINT = 1.2
RADII = np.array([0.6, 0.7, 0.9])


def norms(number=200_000):
    # Group norms suffice: only |v_g| enters the sets and the target.
    points = np.abs(np.random.default_rng(1).normal(size=(number, 3)))
    return points * np.random.default_rng(2).uniform(0, 1, size=(number, 1)) ** 0.3


def largest(points):
    return float(np.sqrt(((points / STDDEVS) ** 2).sum(axis=1)).max())


def onto(points, gauge):
    # scaled to the boundary of the set {gauge <= 1}
    return points / gauge(points)[:, None]


GAUGES = {
    "joint": lambda v: np.linalg.norm(v, axis=1) / JOINT,
    "groups": lambda v: (v / BOUNDS).max(axis=1),
    "both": lambda v: np.maximum((v / BOUNDS).max(axis=1), np.linalg.norm(v, axis=1) / JOINT),
    "ellipsoid": lambda v: np.sqrt(((v / RADII) ** 2).sum(axis=1)),
}
ARGUMENTS = {
    "joint": dict(joint_norm_bound=JOINT),
    "groups": dict(norm_bounds=BOUNDS.tolist()),
    "both": dict(norm_bounds=BOUNDS.tolist(), joint_norm_bound=JOINT),
    "ellipsoid": dict(ellipsoid_radii=RADII.tolist()),
}
# group 1 (std .7) first, then group 2 (1.3), then group 0
LEFT = JOINT**2 - 0.5**2
MAXIMISERS = {
    "joint": [0.0, JOINT, 0.0],
    "groups": BOUNDS.tolist(),
    "both": [math.sqrt(max(0.0, LEFT - 1.1**2)), 0.5, math.sqrt(min(LEFT, 1.1**2))],
    "ellipsoid": [0.0, 0.7, 0.0],
}


@pytest.mark.parametrize("clip", GAUGES)
def test_mu_is_the_maximum_over_the_clip_set(clip):
    mu = clip_mu(STDDEVS.tolist(), **ARGUMENTS[clip])
    sampled = largest(onto(norms(), GAUGES[clip]))
    assert 0.97 * mu < sampled <= mu * (1 + 1e-12), f"{sampled} sampled against {mu}"
    best = np.array([MAXIMISERS[clip]])
    assert GAUGES[clip](best)[0] <= 1 + 1e-12
    assert largest(best) == pytest.approx(mu, rel=1e-12)


def test_greedy_stops_where_the_joint_bound_is_spent():
    # many random cases against a fine grid over two groups
    generator = np.random.default_rng(3)
    angle = np.linspace(0, math.pi / 2, 20_001)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for _ in range(30):
        stddevs, bounds = generator.uniform(0.2, 2, 2), generator.uniform(0.2, 2, 2)
        joint = float(generator.uniform(0.2, 2))
        points = np.minimum(circle * joint, bounds)
        points = np.concatenate([points, [np.minimum(bounds, joint)]])
        points = points[np.linalg.norm(points, axis=1) <= joint * (1 + 1e-12)]
        brute = float(np.sqrt(((points / stddevs) ** 2).sum(axis=1)).max())
        mu = clip_mu(stddevs.tolist(), norm_bounds=bounds.tolist(), joint_norm_bound=joint)
        assert brute == pytest.approx(mu, rel=1e-3) and brute <= mu * (1 + 1e-9)


def test_zero_noise_and_zero_bounds():
    assert clip_mu([0.0, 1.0], norm_bounds=[1.0, 1.0]) == math.inf
    assert clip_mu([0.0, 1.0], norm_bounds=[0.0, 1.0]) == 1.0
    assert clip_mu([0.0, 1.0], joint_norm_bound=1.0) == math.inf
    assert clip_mu([0.0, 1.0], joint_norm_bound=0.0) == 0.0
    assert clip_mu([0.0, 1.0], norm_bounds=[1.0, 1.0], joint_norm_bound=0.0) == 0.0
    assert clip_mu([0.0, 1.0], ellipsoid_radii=[0.0, 3.0]) == 3.0
    assert clip_mu([math.inf, 1.0], norm_bounds=[5.0, 1.0]) == 1.0
    assert clip_mu([math.inf, 1.0], norm_bounds=[math.inf, 1.0]) == math.inf
    assert clip_mu([1.0, 2.0], norm_bounds=[math.inf, 1.0], joint_norm_bound=3.0) == 3.0


def test_extreme_numbers_neither_overflow_nor_vanish():
    assert clip_mu([1e-200], norm_bounds=[1e-250]) == pytest.approx(1e-50, rel=1e-15)
    assert clip_mu([1e-200, 1.0], norm_bounds=[1e100, 1.0]) == pytest.approx(1e300, rel=1e-15)
    low, high = root_interval(squared_clip_mu([3.0] * 7, norm_bounds=[0.1] * 7))
    assert low < high == math.nextafter(low, 1.0)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(), "nothing bounds"),
        (dict(norm_bounds=[1.0]), "same number"),
        (dict(norm_bounds=[1.0, -1.0]), "bounds must be"),
        (dict(norm_bounds=[1.0, math.nan]), "NaN"),
        (dict(joint_norm_bound=-1.0), "joint_norm_bound"),
        (dict(ellipsoid_radii=[1.0, 1.0], joint_norm_bound=1.0), "excludes"),
    ],
)
def test_wrong_bounds(arguments, message):
    with pytest.raises(ParameterError, match=message):
        clip_mu([1.0, 1.0], **arguments)


def test_covariance():
    generator = np.random.default_rng(4)
    root = generator.normal(size=(4, 4))
    covariance = root @ root.T
    covariance = (covariance + covariance.T) / 2
    vectors = generator.normal(size=(100_000, 4))
    vectors *= 1.5 / np.linalg.norm(vectors, axis=1, keepdims=True)
    shifts = np.sqrt(np.einsum("ni,ij,nj->n", vectors, np.linalg.inv(covariance), vectors))
    mu = covariance_mu(covariance, 1.5)
    assert 0.98 * mu < shifts.max() <= mu
    assert covariance_mu([[4.0]], 1.0) == pytest.approx(0.5, rel=1e-14)
    assert covariance_mu([[4.0]], 1.0) >= 0.5
    assert covariance_mu([[1.0, 1.0], [1.0, 1.0]], 1.0) == math.inf  # one noise draw, used twice
    assert covariance_mu([[0.0]], 0.0) == 0.0
    for bad, message in [
        ([[1.0, 0.5], [0.4, 1.0]], "symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], "indefinite"),
        ([[math.nan]], "finite"),
        ([1.0, 2.0], "square"),
    ]:
        with pytest.raises(ParameterError, match=message):
            covariance_mu(bad, 1.0)


def test_class_mean_factor_by_brute_force():
    # one dimension, contributions in [-1, 1]; the ends are the worst
    n = 5
    others = np.array(np.meshgrid(*[[-1.0, 1.0]] * (n - 1))).reshape(n - 1, -1).T
    sums = others.sum(axis=1)
    replaced = abs((sums + 1) / n - (sums - 1) / n).max()
    removed = max(abs((sums + z) / n - sums / (n - 1)).max() for z in (-1, 1))
    fixed = max(abs((sums + z) / n - sums / n).max() for z in (-1, 1))
    assert class_mean_factor("replace-one", n, divisor="public") == pytest.approx(replaced)
    assert class_mean_factor("add-remove", n, divisor="true_count") == pytest.approx(removed)
    assert class_mean_factor("add-remove", n, divisor="public") == pytest.approx(fixed)
    assert class_mean_factor("zero-out", n, divisor="public") == pytest.approx(fixed)
    for adjacency in ("replace-one", "zero-out"):
        with pytest.raises(ParameterError, match="true_count"):
            class_mean_factor(adjacency, n, divisor="true_count")
    with pytest.raises(ParameterError, match="did you mean 'public'"):
        class_mean_factor("add-remove", n, divisor="publik")


@pytest.mark.parametrize(
    "sum_mus, count_stddevs",
    [
        ([0.8, 0.5], [math.inf, math.inf]),  # no counts: within one class is worst
        ([0.8, 0.5], [0.4, 0.5]),  # accurate counts: between classes is worst
        ([0.8, 0.5, 0.1], [2.0, 1.0, 0.3]),
    ],
)
def test_noisy_counts_by_brute_force(sum_mus, count_stddevs):
    classes = range(len(sum_mus))

    def shift(record):  # whitened contribution of a record (class, sign), one dimension per class
        kind, sign = record
        out = np.zeros(2 * len(sum_mus))
        out[2 * kind] = sign * sum_mus[kind]
        out[2 * kind + 1] = 1.0 / count_stddevs[kind]
        return out

    records = [(kind, sign) for kind in classes for sign in (-1, 0, 1)]
    pairs = [(a, b) for a in records for b in records]
    free = max(np.linalg.norm(shift(a) - shift(b)) for a, b in pairs)
    fixed = max(np.linalg.norm(shift(a) - shift(b)) for a, b in pairs if a[0] == b[0])
    alone = max(np.linalg.norm(shift(a)) for a in records)

    def found(adjacency, label_may_change):
        return noisy_count_mu(
            sum_mus, count_stddevs, adjacency=adjacency, label_may_change=label_may_change
        )

    assert found("replace-one", True) == pytest.approx(free)
    assert found("replace-one", False) == pytest.approx(fixed)
    assert found("add-remove", True) == found("zero-out", False) == pytest.approx(alone)
    assert found("replace-one", True) >= 2 * max(sum_mus)

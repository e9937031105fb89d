"""Pure differential privacy: Laplace, geometric, randomised response, and one discrete Gaussian."""

import numpy as np

from .entry import claim, on_grid, pair

PURE = claim(epsilon=1.0, delta=0.0)
REPLACED = claim("replace-one", epsilon=1.0, delta=0.0)

AGES = np.array([31.0, 44.0, 27.0, 60.0, 38.0, 52.0, 19.0])  # the target is 70


def _count_over_65(world):
    return float(np.sum(np.append(AGES, [70.0] * world) > 65.0))


def laplace_count(scale=1.0, grid=2.0**-20):
    def sample(world, n, rng):
        noise = rng.laplace(0.0, scale, n)
        return on_grid(_count_over_65(world) + noise, grid)

    return sample


def laplace_by_inversion(world, n, rng):
    """The textbook sampler: sign * ln(uniform), added in double precision."""
    sign = np.where(rng.random(n) < 0.5, -1.0, 1.0)
    return _count_over_65(world) + sign * np.log(1.0 - rng.random(n))


def truncated_laplace(world, n, rng):
    noise = rng.laplace(0.0, 1.0, n)
    while (far := np.abs(noise) > 4.0).any():
        noise[far] = rng.laplace(0.0, 1.0, int(far.sum()))
    return on_grid(_count_over_65(world) + noise)


def fixed_point(round_value):
    """A share in [0, 1] plus noise on the grid of quarters."""

    def sample(world, n, rng):
        value = float(np.mean(np.append(AGES[:4], [70.0] * world)) / 70.0)
        # two-sided geometric on the grid: scale 5 steps, the value moves by at most 4 + 1
        steps = _geometric(np.exp(-1.0 / 5.0), n, rng)
        if round_value:
            value = round(value * 4.0) / 4.0
        return value + 0.25 * steps

    return sample


def _geometric(alpha, size, rng):
    return (rng.geometric(1.0 - alpha, size) - rng.geometric(1.0 - alpha, size)).astype(np.float64)


def geometric_count(epsilon):
    def sample(world, n, rng):
        return (_count_over_65(world) + _geometric(np.exp(-epsilon), n, rng)).astype(np.int64)

    return sample


def discrete_gaussian(deviation):
    """A sum of whole numbers, one record adds at most 4."""
    support = np.arange(-60, 61)
    weights = np.exp(-(support**2) / (2.0 * deviation**2))
    weights /= weights.sum()

    def sample(world, n, rng):
        total = int(np.sum(np.clip(np.append([1, 3, 2, 0], [9] * world), 0, 4)))
        return total + rng.choice(support, n, p=weights)

    return sample


def _discrete_gaussian_claim():
    """Exact: the sum over all whole numbers, at delta .01."""
    support = np.arange(-400, 401)
    p, q = np.exp(-((support - 4.0) ** 2) / 32.0), np.exp(-(support**2) / 32.0)
    p, q = p / p.sum(), q / q.sum()
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        far = np.maximum(p - np.exp(middle) * q, 0.0).sum() > 0.01
        low, high = (middle, high) if far else (low, middle)
    return claim(epsilon=high + 1e-9, delta=0.01)


def histogram(noise_empty):
    """Counts in six bins, Laplace noise."""

    def sample(world, n, rng):
        data = np.array([0, 0, 1, 1, 1, 2, 4] + [5] * world)
        counts = np.bincount(data, minlength=6).astype(np.float64)
        noisy = on_grid(counts + rng.laplace(0.0, 1.0, (n, 6)))
        return noisy if noise_empty else np.where(counts > 0, noisy, 0.0)

    return sample


def laplace_vector(by_l1):
    """Sum of records of L2 norm 1 in six dimensions; the L1 norm is up to 2.45."""

    def sample(world, n, rng):
        rows = np.array([[0.5, -0.5, 0.5, 0.5, 0.0, 0.0], [0.0, 0.6, 0.0, 0.0, 0.8, 0.0]])
        target = np.full((world, 6), 6.0**-0.5)
        scale = 6.0**0.5 if by_l1 else 1.0
        total = np.concatenate((rows, target)).sum(axis=0)
        return on_grid(total + rng.laplace(0.0, scale, (n, 6)))

    return sample


def laplace_releases(scale):
    """Four counts that the record is in, released one after the other."""

    def sample(world, n, rng):
        counts = np.array([3.0, 5.0, 2.0, 7.0]) + world
        return on_grid(counts + rng.laplace(0.0, scale, (n, 4)))

    return sample


def median(globally):
    """Median of five values in [0, 1], with noise for the range, or for the gaps next to it."""

    def sample(world, n, rng):
        values = np.sort([0.1, 0.5, 0.5, 0.9 if world else 0.5, 0.9])
        scale = 1.0 if globally else float(np.diff(values)[1:3].max())
        return on_grid(values[2] + rng.laplace(0.0, scale, n))

    return sample


def randomised_response(flip):
    def sample(world, n, rng):
        return np.bool_(world) ^ (rng.random(n) < flip)

    return sample


def k_ary(keep):
    """One of eight answers."""

    def sample(world, n, rng):
        truth = 5 if world else 2
        other = (truth + rng.integers(1, 8, n)) % 8
        return np.where(rng.random(n) < keep, truth, other)

    return sample


def unary_encoding(epsilon):
    """One hot among six, every bit by randomised response; a change moves two bits."""

    def sample(world, n, rng):
        truth = np.arange(6) == (4 if world else 1)
        return (truth ^ (rng.random((n, 6)) < 1.0 / (1.0 + np.exp(epsilon)))).astype(np.int8)

    return sample


E = np.e
ENTRIES = [
    *pair(
        "Laplace count", laplace_count(), PURE, "sensitivity 1, scale 1, on a grid",
        ("Laplace, scale halved", laplace_count(0.5), "epsilon = 2"),
        ("Laplace by inversion", laplace_by_inversion, "low bits of floating-point numbers"),
        ("truncated Laplace", truncated_laplace, "outputs that only one world has"),
    ),
    *pair(
        "fixed point", fixed_point(True), PURE, "value and noise on one grid",
        ("value off the grid", fixed_point(False), "the place on the grid is the value"),
    ),
    *pair(
        "geometric count", geometric_count(1.0), PURE, "ratio e^-1",
        ("geometric, wrong scale", geometric_count(2.0), "ratio e^-2"),
    ),
    *pair(
        "discrete Gaussian", discrete_gaussian(4.0), _discrete_gaussian_claim(), "exact sum",
        ("variance taken for deviation", discrete_gaussian(2.0), "variance 4 instead of 16"),
    ),
    *pair(
        "histogram", histogram(True), PURE, "noise in every bin",
        ("empty bins left out", histogram(False), "an exact 0 shows an empty bin"),
    ),
    *pair(
        "Laplace vector", laplace_vector(True), PURE, "scale by the L1 norm",
        ("L2 norm for L1", laplace_vector(False), "epsilon = 2.45"),
    ),
    *pair(
        "four Laplace releases", laplace_releases(4.0), PURE, "a quarter of the budget each",
        ("the whole budget four times", laplace_releases(1.0), "epsilon = 4"),
    ),
    *pair(
        "median, global sensitivity", median(True), REPLACED, "scale 1 for values in [0, 1]",
        ("median, local sensitivity", median(False), "the noise follows the data"),
    ),
    *pair(
        "randomised response", randomised_response(1.0 / (1.0 + E)), REPLACED, "odds e",
        ("randomised response, wrong flip", randomised_response(1.0 / (1.0 + E**2)), "odds e^2"),
    ),
    *pair(
        "k-ary response", k_ary(E / (E + 7.0)), REPLACED, "kept with e / (e + 7)",
        ("k-ary, binary keep", k_ary(E / (E + 1.0)), "kept with e / (e + 1): ratio 7 e"),
    ),
    *pair(
        "unary encoding", unary_encoding(0.5), REPLACED, "half of epsilon for each bit",
        ("unary, whole epsilon", unary_encoding(1.0), "two bits change: epsilon = 2"),
    ),
]  # fmt: skip

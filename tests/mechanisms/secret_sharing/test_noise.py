import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from privassay.accountant import gaussian
from privassay.accountant.errors import ParameterError
from privassay.mechanisms.discrete_gaussian import (
    LEAST_VARIANCE,
    ROUNDING,
    effective_variance,
    gaussian_multiplier,
)
from privassay.mechanisms.exact_sampling import discrete_gaussian
from privassay.mechanisms.secret_sharing.masks import SeededSource, SystemSource, source_words


def masses(variance, reach):
    found = [math.exp(-(x**2) / (2 * variance)) for x in range(-reach, reach + 1)]
    return torch.tensor([m / sum(found) for m in found], dtype=torch.float64)


def test_shares_of_noise_add_up_to_the_declared_gaussian():
    # Oracle: convolve masses, and compare with the release N(0, m v - r^2) rounded at random.
    variance, honest, reach = 32, 3, 90
    single = masses(variance, reach).numpy()
    total = single
    for _ in range(honest - 1):
        total = np.convolve(total, single)
    reach = len(total) // 2
    spread = effective_variance(variance=variance, honest=honest)
    assert spread == variance * honest - ROUNDING**2
    spread = float(spread)
    z = np.arange(-reach, reach + 1)
    y = np.linspace(-12 * math.sqrt(spread), 12 * math.sqrt(spread), 6001)
    weight = np.exp(-(y**2) / (2 * spread))
    kernel = np.exp(-((z[:, None] - y) ** 2) / (2 * ROUNDING**2))
    rounded = (kernel / kernel.sum(0)) @ (weight / weight.sum())
    middle = abs(z) <= 40
    assert np.max(np.abs(total[middle] / rounded[middle] - 1)) < 1e-9
    # Without the charge r^2 the two differ visibly: the test has power.
    more = np.exp(-(y**2) / (2 * (spread + ROUNDING**2)))
    wrong = (kernel / kernel.sum(0)) @ (more / more.sum())
    assert np.max(np.abs(total[middle] / wrong[middle] - 1)) > 1e-2


@pytest.mark.parametrize(("variance", "honest", "moved"), [(32, 1, 3), (32, 4, 9), (400, 1, 25)])
def test_the_gaussian_dominates_the_noisy_sum(variance, honest, moved):
    # Oracle: delta of the sum's exact masses against its shift, at many epsilons.
    reach = math.ceil(12 * math.sqrt(variance))
    single = masses(variance, reach).numpy()
    total = single
    for _ in range(honest - 1):
        total = np.convolve(total, single)
    shifted = np.concatenate([np.zeros(moved), total])[: len(total)]
    mu = 1.0 / gaussian_multiplier(variance=variance, honest=honest, moved=moved)
    ratios = []
    for epsilon in (0.0, 0.1, 0.3, 1.0, 2.0):
        delta = float(np.maximum(0.0, total - math.exp(epsilon) * shifted)[moved:].sum())
        limit = gaussian.delta(epsilon, mu=mu)
        assert delta <= limit + 1e-13, f"epsilon {epsilon}: {delta} against {limit}"
        ratios.append(delta / limit)
    assert max(ratios) > 0.7, ratios  # and it is not merely timid


def test_multipliers_are_rounded_down():
    for variance, honest, moved in ((32, 1, 1), (Fraction(1001, 10), 7, 13), (2**70, 3, 2**29)):
        found = Fraction(gaussian_multiplier(variance=variance, honest=honest, moved=moved))
        exact = (Fraction(variance) * honest - ROUNDING**2) / moved**2
        assert found**2 < exact < found**2 * (1 + Fraction(3, 10**12))


def test_too_little_noise_to_act_like_a_gaussian_is_refused():
    assert LEAST_VARIANCE == 32
    for variance in (31, Fraction(319, 10)):
        with pytest.raises(ParameterError, match="at least 32"):
            effective_variance(variance=variance, honest=5)


def test_seeded_noise_repeats_and_system_noise_does_not():
    def drawn(source, *shape):
        return discrete_gaussian(shape, variance=Fraction(1000), words=source_words(source))

    same = [drawn(SeededSource(2).child("a"), 50) for _ in range(2)]
    assert torch.equal(*same)
    assert not torch.equal(same[0], drawn(SeededSource(2).child("b"), 50))
    assert not torch.equal(*[drawn(SystemSource(), 50) for _ in range(2)])
    assert drawn(SeededSource(2), 2, 0, 3).shape == (2, 0, 3)

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from privassay.accountant.errors import ParameterError
from privassay.mechanisms.secret_sharing.integer_noise import (
    ROUNDING,
    discrete_gaussian,
    effective_variance,
)
from privassay.mechanisms.secret_sharing.masks import SeededSource, SystemSource


def masses(variance, reach):
    found = [math.exp(-(x**2) / (2 * variance)) for x in range(-reach, reach + 1)]
    return torch.tensor([m / sum(found) for m in found], dtype=torch.float64)


@pytest.mark.parametrize("variance", [1, 3, 10])
def test_the_sampler_has_the_masses_of_a_discrete_gaussian(variance):
    runs, reach = 60_000, math.ceil(4 * math.sqrt(variance))
    found = discrete_gaussian(SystemSource(), variance, runs)
    inside = found[found.abs() <= reach]
    seen = torch.bincount(inside + reach, minlength=2 * reach + 1).double()
    expected = masses(variance, reach) * len(inside)
    kept = expected > 5
    statistic = float(((seen - expected) ** 2 / expected)[kept].sum())
    assert chi2.sf(statistic, int(kept.sum()) - 1) > 1e-6, f"{statistic} on {int(kept.sum())}"


def test_large_variances_have_the_moments_of_a_gaussian():
    variance, runs = 2**35 + 12345, 40_000
    z = discrete_gaussian(SystemSource(), variance, runs).double() / math.sqrt(variance)
    assert abs(float(z.mean())) < 5 / math.sqrt(runs)
    assert abs(float(z.square().mean()) - 1) < 5 * math.sqrt(2 / runs)
    assert abs(float(z.pow(4).mean()) - 3) < 5 * math.sqrt(96 / runs)
    assert abs(float((z.abs() > 2).double().mean()) - 0.0455) < 5 * math.sqrt(0.0455 / runs)


def test_ambiguous_comparisons_are_decided_exactly(monkeypatch):
    # With the shortcut's margin raised to everything, the 60-digit path decides each number: same
    # law.
    import privassay.mechanisms.secret_sharing.integer_noise as home

    monkeypatch.setattr(home, "_AMBIGUOUS", 2.0)
    found = discrete_gaussian(SeededSource(5), 3, 1500)
    seen = torch.bincount(found[found.abs() <= 3] + 3, minlength=7).double()
    expected = masses(3, 3) * seen.sum()
    assert chi2.sf(float(((seen - expected) ** 2 / expected).sum()), 6) > 1e-6


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


def test_too_little_noise_to_act_like_a_gaussian_is_refused():
    with pytest.raises(ParameterError, match="at least 32"):
        effective_variance(variance=31, honest=5)
    with pytest.raises(ParameterError, match="at most"):
        discrete_gaussian(SystemSource(), 2**45, 1)


def test_seeded_noise_repeats_and_system_noise_does_not():
    same = [discrete_gaussian(SeededSource(2).child("a"), 1000, 50) for _ in range(2)]
    assert torch.equal(*same)
    assert not torch.equal(same[0], discrete_gaussian(SeededSource(2).child("b"), 1000, 50))
    assert not torch.equal(*[discrete_gaussian(SystemSource(), 1000, 50) for _ in range(2)])
    assert discrete_gaussian(SeededSource(2), 7, 2, 0, 3).shape == (2, 0, 3)

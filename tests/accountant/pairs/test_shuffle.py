"""Shuffle model: brute force for few users, published and earlier values for many."""

import itertools
import math

import mpmath as mp
import numpy as np
import pytest

from privassay.accountant.errors import ParameterError
from privassay.accountant.pairs.base import Exchanged
from privassay.accountant.pairs.one_step import OneStepTable
from privassay.accountant.pairs.shuffle import (
    CountOfOnes,
    _binomial,
    shuffled,
    shuffled_binary_randomized_response,
)


def delta(pair, epsilon):
    low, high = OneStepTable(pair).log_delta_interval([epsilon])
    return math.exp(low[0]), math.exp(high[0])


def epsilon_at(pair, target):
    table, low, high = OneStepTable(pair), 0.0, 2.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        above = table.log_delta_interval([middle])[1][0] > math.log(target)
        low, high = (middle, high) if above else (low, middle)
    return high


@pytest.mark.parametrize(("users", "ones"), [(1, 0), (4, 0), (5, 2), (6, 5)])
def test_count_of_ones_by_enumeration(users, ones):
    keep = 1.0 / (1.0 + math.exp(-0.8))
    laws = []
    for bit in (1, 0):
        bits = [bit] + [1] * ones + [0] * (users - 1 - ones)
        law = [0.0] * (users + 1)
        for flips in itertools.product((0, 1), repeat=users):
            chance = math.prod(1.0 - keep if f else keep for f in flips)
            law[sum(b ^ f for b, f in zip(bits, flips, strict=True))] += chance
        laws.append(law)
    for pair, (p, q) in (
        (CountOfOnes(0.8, users, ones), laws),
        (Exchanged(CountOfOnes(0.8, users, ones)), laws[::-1]),
    ):
        for epsilon in (0.0, 0.1, 0.3, 0.6):
            truth = sum(max(0.0, a - math.exp(epsilon) * b) for a, b in zip(p, q, strict=True))
            low, high = delta(pair, epsilon)
            assert low - 1e-14 <= truth <= high + 1e-14
            assert high - low < 1e-9


@pytest.mark.parametrize("users", [1, 2, 6])
def test_clones_by_enumeration(users):
    epsilon0 = 0.8
    keep, clone = 1.0 / (1.0 + math.exp(-epsilon0)), math.exp(-epsilon0)
    p, q = {}, {}
    for c in range(users):
        for a in range(c + 1):
            weight = math.comb(users - 1, c) * clone**c * (1 - clone) ** (users - 1 - c)
            weight *= math.comb(c, a) / 2**c
            for d, chance in ((1, keep), (0, 1.0 - keep)):
                at = a + d, c - a + 1 - d
                p[at] = p.get(at, 0.0) + weight * chance
                at = a + 1 - d, c - a + d
                q[at] = q.get(at, 0.0) + weight * chance
    for epsilon in (0.0, 0.1, 0.4, 0.7):
        truth = sum(max(0.0, p[at] - math.exp(epsilon) * q[at]) for at in p)
        low, high = delta(shuffled(epsilon0, users), epsilon)
        assert low - 1e-14 <= truth <= high + 1e-14
        assert high - low < 1e-9
    # any mechanism of that kind is below: binary randomised response is one
    for pair in shuffled_binary_randomized_response(epsilon0, users):
        for one in (pair, Exchanged(pair)):
            assert delta(one, 0.3)[0] <= delta(shuffled(epsilon0, users), 0.3)[1]


@pytest.mark.parametrize(
    ("users", "numeric", "exact"), [(1000, 0.182412, 0.126614), (10_000, 0.053005, 0.0356588)]
)
def test_known_epsilons(users, numeric, exact):
    assert epsilon_at(shuffled(1.0, users), 1e-6) == pytest.approx(numeric, abs=1e-6)
    pairs = shuffled_binary_randomized_response(1.0, users)
    worst = max(
        epsilon_at(one, 1e-6)
        for k in (0, users // 2, users - 1)
        for one in (pairs[k], Exchanged(pairs[k]))
    )
    assert worst == pytest.approx(exact, abs=1e-6)
    assert len(pairs) == users


@pytest.mark.parametrize(("number", "chance"), [(0, 0.3), (7, 0.5), (5000, 0.03), (99_999, 1e-22)])
def test_binomial_window(number, chance):
    found = _binomial(number, chance, 1.0 - chance)
    with mp.workdps(40):
        # chances rounded to doubles do not sum to 1 exactly
        q, against = mp.mpf(chance), mp.mpf(1.0 - chance)
        for j in {0, len(found.masses) // 2, len(found.masses) - 1}:
            k = found.first + j
            truth = mp.mpf(math.comb(number, k)) * q**k * against ** (number - k)
            truth /= (q + against) ** number
            if truth > 1e-300:
                assert abs(found.masses[j] / truth - 1) <= found.relative + 1e-13
    assert found.cut < 1e-20 and found.masses.sum() == pytest.approx(1.0, abs=1e-12)


def test_symmetry_and_limits():
    clones = shuffled(1.0, 500)
    losses = np.linspace(-0.3, 0.3, 8) + 1e-7
    one, two = clones.masses(losses), Exchanged(clones).masses(losses)
    np.testing.assert_allclose(one.p, two.p, rtol=1e-9)
    assert clones.infinite == clones.missing == 0.0
    assert 1.0 <= clones.highest < 1.0 + 1e-13
    with pytest.raises(ParameterError, match="users"):
        shuffled(1.0, 10**7)
    with pytest.raises(ParameterError, match="ones"):
        CountOfOnes(1.0, 10, 10)

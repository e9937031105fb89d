"""Each family against outputs that it alone, or it best, can tell apart; and its parts."""

import numpy as np
import pytest

from privassay.attacks.black_box import learn
from privassay.attacks.black_box.binned import learn_binned
from privassay.attacks.black_box.families.bits import lowest_bit
from privassay.attacks.black_box.families.catalog import FAMILIES
from privassay.attacks.black_box.families.frequency import hashes
from privassay.attacks.black_box.outputs import layout_of
from privassay.attacks.black_box.ranking import Goal, worth
from privassay.attacks.black_box.view import learn_view

N = 1500


def normal(rng, d=4):
    return rng.normal(size=(2 * N, d))


def shifted(rng):
    return normal(rng) + 0.7, normal(rng)


def correlated(rng):
    a, b = normal(rng), normal(rng)
    for x in (a, b):
        x[:, 1] = x[:, 0] + 0.01 * x[:, 1]
    a[:, 1] += 0.05
    return a, b


def wider(rng):
    return 1.5 * normal(rng), normal(rng)


def rotated(rng):
    a, b = normal(rng), normal(rng)
    a[:, 1] = 0.95 * a[:, 0] + 0.31 * a[:, 1]
    b[:, 1] = -0.95 * b[:, 0] + 0.31 * b[:, 1]
    return a, b


def atom(rng):
    a, b = normal(rng), normal(rng)
    a[rng.random(2 * N) < 0.1, 2] = 0.123
    return a, b


def missing(rng):
    a, b = normal(rng), normal(rng)
    a[rng.random(2 * N) < 0.1, 2] = np.nan
    return a, b


def fixed(rng):
    a, b = normal(rng), normal(rng)
    a[:, 3], b[:, 3] = 0.2, 0.1
    return a, b


def discrete(rng):
    a, b = rng.integers(0, 2, (2 * N, 3)), rng.integers(0, 2, (2 * N, 3))
    a[:, 2] = np.where(rng.random(2 * N) < 0.8, a[:, 0] ^ a[:, 1], a[:, 2])
    return a, b


def dependent(rng):
    """Same margins, same covariance: only the sign of a product differs."""
    a, b = normal(rng, 3), normal(rng, 3)
    for x, sign in ((a, 1.0), (b, -1.0)):
        x[:, 2] = sign * np.sign(x[:, 0] * x[:, 1]) * np.abs(x[:, 2])
    return a, b


def stored(rng):
    return 1.0 + rng.laplace(size=(2 * N, 1)), rng.laplace(size=(2 * N, 1))


def bent(rng):
    return rng.laplace(0.6, 1.0, (2 * N, 6)), rng.laplace(0.0, 1.0, (2 * N, 6))


def larger(rng):
    a, b = normal(rng, 30), normal(rng, 30)
    a[np.arange(2 * N), rng.integers(0, 30, 2 * N)] += 5.0
    return a, b


CASES = {
    "linear": (shifted, 1.0),
    "differences": (correlated, 2.5),
    "quadratic": (rotated, 2.0),
    "norms": (wider, 0.9),
    "atoms": (atom, 1.0),
    "patterns": (missing, 1.0),
    "unnoised": (fixed, 4.0),
    "frequency": (discrete, 0.4),
    "trees": (dependent, 2.0),
    "neighbours": (dependent, 1.5),
    "bits": (stored, 1.0),
    "additive": (bent, 1.1),
    "sums": (larger, 2.0),
    "coordinate": (atom, 1.0),
}


def test_every_family_has_a_case():
    assert set(CASES) == set(FAMILIES)


@pytest.mark.parametrize("family", sorted(CASES))
def test_a_family_finds_what_it_is_for_on_new_outputs(family):
    case, least = CASES[family]
    rng = np.random.default_rng(11)
    a, b = case(rng)
    attack = learn(a[:N], b[:N], rng=rng, families=[family])
    assert attack.name == family
    found = worth(attack.score(a[N:]), attack.score(b[N:]), Goal())
    assert found >= least, f"{family}: {found:.3f} < {least}; {attack.description}"


@pytest.mark.parametrize("family", sorted(CASES))
def test_a_family_finds_nothing_in_noise(family):
    rng = np.random.default_rng(12)
    a, b = normal(rng), normal(rng)
    attack = learn(a[:N], b[:N], rng=rng, families=[family])
    scores = attack.score(a[N:]), attack.score(b[N:])
    assert worth(*scores, Goal()) < 0.12, f"{family}: {attack.description}"


def test_the_pool_weighs_two_finds_together():
    rng = np.random.default_rng(5)
    a, b = shifted(rng)
    a[:, 3] *= 2.5
    alone = learn(a[:N], b[:N], rng=rng, families=["linear"])
    together = learn(a[:N], b[:N], rng=rng, families=["linear", "norms", "combined"])
    gain = [worth(x.score(a[N:]), x.score(b[N:]), Goal()) for x in (alone, together)]
    assert gain[1] > gain[0] + 0.1, gain


def test_the_lowest_bit_is_the_coarsest_power_of_two_that_divides():
    x = np.random.default_rng(0).normal(size=200) * 2.0 ** np.arange(-100, 100)
    for value, found in zip(x, lowest_bit(x), strict=True):
        scaled = value / 2.0**found
        assert scaled == np.rint(scaled) and scaled % 2 != 0
    assert lowest_bit(np.array([0.0]))[0] > 1000


def test_tables_count():
    table = learn_binned(np.array([1.0] * 30 + [np.nan] * 10), np.array([1.0] * 10 + [2.0] * 30))
    score = table.score(np.array([1.0, 2.0, np.nan, np.inf, 5.0]))
    assert score[0] == pytest.approx(np.log(30.5 / 10.5))
    assert score[1] == pytest.approx(np.log(0.5 / 30.5))
    assert score[2] == pytest.approx(np.log(10.5 / 0.5))
    assert score[3:].tolist() == [0.0, 0.0]


def test_hashes_tell_outputs_apart_bit_by_bit():
    rng = np.random.default_rng(1)
    x = np.concatenate((rng.normal(size=(5000, 3)), rng.integers(0, 3, (5000, 3))))
    x = np.unique(np.concatenate((x, [[0.0, -1.0, 1.0], [1.0, -1.0, 0.0]])), axis=0)
    x = np.concatenate((x, [[-0.0, 0.0, 0.0], [np.nan, 0.0, 0.0]]))
    found = hashes(learn_view(layout_of(x, x), x, x, 8).batch(x))
    assert np.unique(found).size == len(x)
    again = hashes(learn_view(layout_of(x, x), x, x, 8).batch(x[::-1].copy()))
    assert np.array_equal(found[::-1], again)

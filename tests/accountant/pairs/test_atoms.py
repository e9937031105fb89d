"""Laplace, discrete Laplace, discrete Gaussian, randomised response: sums at high precision."""

import importlib.util
import itertools
import math
from fractions import Fraction
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest

from privassay.accountant.errors import ParameterError
from privassay.accountant.mills import UNIT, normal_cdf
from privassay.accountant.pairs.atom_table import build, pure_mu
from privassay.accountant.pairs.atoms import Atoms, DiscreteGaussian, PureDp, RandomizedResponse
from privassay.accountant.pairs.base import Exchanged
from privassay.accountant.pairs.laplace import DiscreteLaplace, Laplace
from privassay.accountant.pairs.one_step import OneStepTable

_spec = importlib.util.spec_from_file_location("oracle", Path(__file__).parent / "oracle.py")
oracle = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(oracle)


def exact_atoms(pair):
    """(loss, p, q) of every atom at 40 digits, from the definition of the mechanism."""
    if isinstance(pair, DiscreteGaussian):
        variance, s = mp.mpf(pair.sigma) ** 2, pair.shift
        reach = int(60 * pair.sigma) + 45 * pair.shift

        def weight(x):
            return mp.e ** (-(mp.mpf(x) ** 2) / (2 * variance))

        total = mp.fsum(weight(x) for x in range(-reach, reach + 1))
        return [
            (
                (2 * mp.mpf(x) * s - s * s) / (2 * variance),
                weight(x - s) / total,
                weight(x) / total,
            )
            for x in range(-reach, reach + s + 1)
        ]
    if isinstance(pair, DiscreteLaplace):
        a, s = mp.mpf(pair.noise_parameter), pair.shift
        scale = mp.tanh(a / 2)
        reach = int(120 / pair.noise_parameter)
        xs = range(-reach, reach + s)
        return [
            (
                a * (abs(x) - abs(x - s)),
                scale * mp.e ** (-a * abs(x - s)),
                scale * mp.e ** (-a * abs(x)),
            )
            for x in xs
        ]
    if isinstance(pair, RandomizedResponse):
        other = mp.mpf(pair.noise_parameter) / pair.num_buckets
        same = 1 - mp.mpf(pair.noise_parameter) + other
        atoms = [(same, other), (other, same), *[(other, other)] * (pair.num_buckets - 2)]
    elif isinstance(pair, PureDp):
        high = 1 / (1 + mp.e ** (-mp.mpf(pair.epsilon)))
        low = high * mp.e ** (-mp.mpf(pair.epsilon))
        atoms = [(high, low), (low, high)]
    else:
        atoms = [(mp.mpf(a), mp.mpf(b)) for a, b in zip(pair.p, pair.q, strict=True) if a and b]
    return [(mp.log(a / b), a, b) for a, b in atoms]


FINITE = [
    DiscreteGaussian(3.0, 1),
    DiscreteGaussian(0.3, 1),
    DiscreteGaussian(0.02, 1),
    DiscreteGaussian(5.5, 4),
    DiscreteLaplace(0.5, 1),
    DiscreteLaplace(0.31, 7),
    RandomizedResponse(0.3, 2),
    RandomizedResponse(0.9, 5),
    RandomizedResponse(1e-200, 3),
    RandomizedResponse(1.0, 3),
    PureDp(0.5),
    PureDp(1e-9),
    PureDp(300.0),
    Atoms((0.5, 0.3, 0.15, 0.05), (0.1, 0.2, 0.3, 0.4)),
    Atoms((0.5, 0.4, 0.1, 0.0), (0.0, 0.2, 0.4, 0.4)),
]


@pytest.mark.parametrize("pair", FINITE, ids=str)
def test_masses(pair):
    with mp.workdps(40):
        atoms = exact_atoms(pair)
        cuts = sorted({float(loss) for loss, _, _ in atoms})
        if pair.progression is not None:
            offset, spacing = pair.progression
            for cut in cuts:
                k = (cut - offset) / spacing
                assert abs(k - round(k)) * spacing <= 1e-14 * (1.0 + abs(cut))
        gaps = [0.5 * (a + b) for a, b in itertools.pairwise(cuts) if b - a > 1e-12]
        losses = np.array(sorted({*gaps[:: max(1, len(gaps) // 40)], -1e3, 1e3, 0.1234}))
        found = pair.masses(losses)
        for j in range(len(losses) + 1):
            low = -mp.inf if j == 0 else mp.mpf(float(losses[j - 1]))
            high = mp.inf if j == len(losses) else mp.mpf(float(losses[j]))
            here = [(a, b) for loss, a, b in atoms if low < loss <= high]
            oracle.inside(mp.fsum(a for a, _ in here), found.p, found.p_error, j)
            oracle.inside(mp.fsum(b for _, b in here), found.q, found.q_error, j)
    assert (found.p_error <= 1e-12 * found.p + 1e-311).all()
    assert found.loss_error <= 1e-14 * (1.0 + np.abs(cuts).max())
    total = found.p.sum() + pair.infinite, found.q.sum() + pair.missing
    assert np.allclose(total, 1.0, atol=1e-14)
    assert pair.lowest <= min(cuts) and pair.highest >= max(cuts)
    if pair != DiscreteGaussian(0.02, 1):  # there no cell has mass under both
        oracle.check_ratios(losses, found)


@pytest.mark.parametrize("pair", FINITE, ids=str)
@pytest.mark.parametrize("power", [0.5, 3.0, -0.3, -2.0, 40.0])
def test_moment(pair, power):
    low, high = pair.moment(power)
    with mp.workdps(40):
        total = mp.fsum(p * mp.e ** (mp.mpf(power) * loss) for loss, p, _ in exact_atoms(pair))
        assert low - 1e-17 <= mp.log(total) <= high + 1e-17
    assert high - low <= 1e-11 * (1.0 + abs(high))


@pytest.mark.parametrize("pair", FINITE, ids=str)
def test_one_step_curve_in_both_directions(pair):
    with mp.workdps(60):
        atoms = exact_atoms(pair)
        kinks = sorted({float(loss) for loss, _, _ in atoms})
        epsilons = np.array([-0.4, 0.0, 0.05, 0.3, 2.0, *kinks[-2:]])
        forth = OneStepTable(pair).log_delta_interval(epsilons)
        back = OneStepTable(Exchanged(pair)).log_delta_interval(epsilons)
        extra = Fraction(0), Fraction(0)
        if isinstance(pair, Atoms):
            extra = tuple(
                sum(Fraction(a) for a, b in zip(x, y, strict=True) if b == 0.0)
                for x, y in ((pair.p, pair.q), (pair.q, pair.p))
            )
        for i, epsilon in enumerate(epsilons.tolist()):
            grown = mp.e ** mp.mpf(epsilon)
            for (low, high), sign, rest in ((forth, 0, extra[0]), (back, 1, extra[1])):
                gaps = [(p - grown * q, q - grown * p)[sign] for _, p, q in atoms]
                truth = mp.fsum(gap for gap in gaps if gap > 0)
                truth += mp.mpf(rest.numerator) / rest.denominator
                if truth > 1e-45:
                    assert low[i] - 1e-15 <= mp.log(truth) <= high[i] + 1e-15
                    kink = any(abs(epsilon - k) < 1e-9 or abs(epsilon + k) < 1e-9 for k in kinks)
                    if not kink:
                        assert high[i] - low[i] < 1e-9 + 1e-14 / truth


def test_regression():
    low, high = OneStepTable(DiscreteGaussian(3.0, 1)).log_delta_interval([0.3])
    assert math.exp(low[0]) - 5e-14 <= 0.0384724606315 <= math.exp(high[0]) + 5e-14
    assert high[0] - low[0] < 1e-10


@pytest.mark.parametrize("shift", [1e-3, 1.0, 7.0, 200.0])
def test_laplace(shift):
    pair = Laplace(shift)
    generator = np.random.default_rng(1)
    losses = np.unique([-shift, shift, *generator.uniform(-1.1 * shift, 1.1 * shift, 20)])
    found = pair.masses(losses)
    with mp.workdps(40):
        m = mp.mpf(shift)
        cuts = [-mp.inf, *map(mp.mpf, losses.tolist()), mp.inf]
        for j, (a, b) in enumerate(itertools.pairwise(cuts)):
            left, right = max(a, -m), min(b, m)
            p = q = mp.mpf(0)
            if left < right:
                p = (mp.e ** ((right - m) / 2) - mp.e ** ((left - m) / 2)) / 2
                q = (mp.e ** (-(left + m) / 2) - mp.e ** (-(right + m) / 2)) / 2
            if a < m <= b:
                p, q = p + mp.mpf(0.5), q + mp.e ** (-m) / 2
            if a < -m <= b:
                p, q = p + mp.e ** (-m) / 2, q + mp.mpf(0.5)
            oracle.inside(p, found.p, found.p_error, j)
            oracle.inside(q, found.q, found.q_error, j)
        epsilons = np.array([-0.3, 0.0, 0.3, 0.9, 0.999]) * shift
        low, high = OneStepTable(pair).log_delta_interval(epsilons)
        for i, epsilon in enumerate(epsilons.tolist()):
            # 1 - e^((eps-m)/2) for eps >= 0; symmetric pair
            truth = 1 - mp.e ** ((mp.mpf(abs(epsilon)) - m) / 2)
            if epsilon < 0:
                truth = 1 - mp.e ** mp.mpf(epsilon) + mp.e ** mp.mpf(epsilon) * truth
            assert low[i] - 1e-15 <= mp.log(truth) <= high[i] + 1e-15
            assert high[i] - low[i] < 1e-7
        for power in (0.5, 3.0, -0.5, -0.2, -4.0, 30.0):
            z, c = mp.mpf(power), mp.mpf(power) + mp.mpf(0.5)
            middle = mp.sinh(c * m) / (2 * c) if c else m / 2
            truth = (mp.e ** (z * m) + mp.e ** (-(1 + z) * m)) / 2 + mp.e ** (-m / 2) * middle
            ends = pair.moment(power)
            assert ends[0] - 1e-17 <= mp.log(truth) <= ends[1] + 1e-17
            assert ends[1] - ends[0] < 1e-13 * (100.0 + abs(ends[1]))
    oracle.check_ratios(losses, found)


@pytest.mark.parametrize("epsilon", [1e-6, 0.1, 1.0, 5.0, 100.0, 699.0, 701.0, 1e5])
def test_pure_mu_is_safe_and_tight(epsilon):
    mu = pure_mu(epsilon)
    with mp.workdps(40):
        log_kink = -mp.mpf(epsilon) - mp.log1p(mp.e ** (-mp.mpf(epsilon)))
        if epsilon < 1e4:
            assert mp.log(mp.ncdf(-mp.mpf(mu) / 2)) <= log_kink
        if epsilon < 700.0:
            assert mp.log(mp.ncdf(-mp.mpf(mu * (1 - 1e-10) - 1e-13) / 2)) > log_kink
    assert mu <= 2.0 * math.sqrt(2.0 * epsilon) * 1.001
    assert PureDp(0.5).mu_upper == pytest.approx(pure_mu(0.5), rel=1e-12)
    assert normal_cdf(-0.5 * pure_mu(1.0)) == pytest.approx(1.0 / (1.0 + math.e), rel=1e-10)


def test_certain_disclosure():
    pair = RandomizedResponse(0.0, 4)
    assert pair.infinite == pair.missing == 1.0 and pair.mu_upper == math.inf
    assert pair.masses(np.array([0.0])).p.tolist() == [0.0, 0.0]
    low, high = OneStepTable(pair).log_delta_interval([1.0, 50.0])
    assert (high == 0.0).all() and (low > -1e-14).all()


def test_atoms_in_doubtful_order_become_one():
    loss = np.array([1.0, 1.0 + 2 * UNIT, 0.0])
    table = build(loss, np.array([0.2, 0.3, 0.5]), np.array([0.1, 0.1, 0.8]), loss_error=4 * UNIT)
    assert table.loss.tolist() == [0.0, 1.0 + 2 * UNIT]
    assert table.p.tolist() == [0.5, 0.5]
    assert table.loss_error >= 6 * UNIT


@pytest.mark.parametrize(
    "bad",
    [
        lambda: Laplace(0.0),
        lambda: Laplace(math.nan),
        lambda: DiscreteLaplace(1.0, 0),
        lambda: DiscreteLaplace(100.0, 100),
        lambda: RandomizedResponse(0.5, 1),
        lambda: RandomizedResponse(1e-300, 2),
        lambda: PureDp(800.0),
        lambda: DiscreteGaussian(1e9, 1),
        lambda: Atoms((0.5, 0.4), (0.5, 0.5)),
    ],
)
def test_bad_arguments(bad):
    with pytest.raises(ParameterError):
        bad()

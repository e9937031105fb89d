"""The certificate in ball arithmetic against mpmath, references, identities and the contour."""

import math
import sys

import mpmath as mp
import numpy as np
import pytest

from privassay.accountant.engines import contour
from privassay.accountant.engines.certify import Certificate, certified_delta, certified_epsilon
from privassay.accountant.engines.certify_moments import Moment
from privassay.accountant.engines.certify_plan import tilted
from privassay.accountant.engines.certify_tail import Decay
from privassay.accountant.engines.contour import SubsampledStep
from privassay.accountant.engines.contour_plan import Term
from privassay.accountant.errors import ConfigError, ParameterError

flint = pytest.importorskip("flint")

W1, W2 = [SubsampledStep(0.01, 0.8, 1000)], [SubsampledStep(256 / 60000, 1.1, 14063)]
W3, W4 = [SubsampledStep(1.0, 4.0, 100)], [SubsampledStep(1e-3, 0.6, 100_000)]
W7 = [SubsampledStep(1e-4, 2.0, 1_000_000)]
MIXED = [SubsampledStep(0.02, 1.5, 50), SubsampledStep(0.05, 2.0, 30), SubsampledStep(1.0, 10.0, 5)]
BOTH = ("remove", "add")


def _meet(a, b):
    return a[0] <= b[1] and b[0] <= a[1]


@pytest.mark.parametrize(
    ("steps", "delta", "direction", "wanted", "digits"),
    [
        (W1, 1e-5, "remove", 3.141014139455, 5e-13),
        (W1, 1e-5, "add", 1.983177, 5e-7),
        (W1, 1e-30, "remove", 16.250031575530, 5e-13),
        (W1, 1e-30, "add", None, 0.0),
        (W2, 1e-5, "remove", 2.381689726142, 5e-13),
        (W2, 1e-5, "add", None, 0.0),
        (W3, 1e-5, "remove", 13.206712240452, 5e-13),
        (W3, 1e-5, "add", 13.206712240452, 5e-13),
        (W4, 1e-5, "remove", 6.112825183612, 5e-13),
        (W4, 1e-5, "add", 4.8648, 5e-5),
        (W7, 1e-9, "remove", 0.278468917495418101, 1e-16),  # mpmath, 40 digits, two contours
        (MIXED, 1e-5, "remove", None, 0.0),
        (MIXED, 1e-5, "add", None, 0.0),
    ],
)
def test_epsilon_holds_the_reference_and_lies_in_the_contours(
    steps, delta, direction, wanted, digits
):
    low, high = certified_epsilon(steps, delta, direction=direction)
    other = contour.epsilon_interval(steps, delta, direction=direction)
    assert high - low < 5e-12, (low, high)
    assert other[0] <= low <= high <= other[1], (low, high, other)
    if wanted is not None:
        assert low - digits <= wanted <= high + digits, (low, high)


def test_a_trap_that_looks_converged_below_the_truth():
    steps = [SubsampledStep(1e-6, 0.5, 10**7)]
    low, high = certified_epsilon(steps, 1e-8, direction="remove")
    assert low - 1e-10 <= 0.5650820116 <= high + 1e-10, (low, high)
    assert high - low < 1e-10


@pytest.mark.slow
def test_the_harder_trap():
    steps = [SubsampledStep(1e-6, 0.5, 10**6)]
    low, high = certified_epsilon(steps, 1e-8, direction="remove")
    assert low - 1e-10 <= 0.2962662973 <= high + 1e-10, (low, high)
    assert high - low < 1e-10


def _log_ratio(x, rate, noise):
    return mp.log(1 - rate + rate * mp.exp((2 * x - 1) / (2 * noise**2)))


def _one_step(epsilon, rate, noise, sign):
    # delta of one step from its two tails, at any real epsilon
    rest = mp.exp(sign * epsilon) - 1 + rate
    if rest <= 0:
        return 1 - mp.exp(epsilon) if sign > 0 else mp.mpf(0)
    x = noise**2 * mp.log(rest / rate) + mp.mpf(1) / 2
    if sign > 0:
        tails = mp.ncdf(-x / noise), mp.ncdf((1 - x) / noise)
        return (1 - rate) * tails[0] + rate * tails[1] - mp.exp(epsilon) * tails[0]
    tails = mp.ncdf(x / noise), mp.ncdf((x - 1) / noise)
    return tails[0] - mp.exp(epsilon) * ((1 - rate) * tails[0] + rate * tails[1])


@pytest.mark.parametrize("direction", BOTH)
@pytest.mark.parametrize(("rate", "noise"), [(0.01, 0.8), (0.6, 3.0), (1e-9, 0.3)])
def test_one_step_and_gaussians_against_mpmath(rate, noise, direction):
    sign = 1 if direction == "remove" else -1
    with mp.workdps(60):
        exact = mp.mpf(rate), mp.mpf(noise)
        for epsilon in (-2.0, -0.3, 0.0, 0.004, 0.5, 3.0):
            truth = _one_step(mp.mpf(epsilon), *exact, sign)
            low, high = certified_delta([SubsampledStep(rate, noise)], epsilon, direction=direction)
            assert low <= truth <= high, epsilon
            assert high - low <= 5e-16 * high
            mu = mp.sqrt(7) / exact[1]
            truth = mp.ncdf(mu / 2 - epsilon / mu)
            truth -= mp.exp(epsilon) * mp.ncdf(-mu / 2 - epsilon / mu)
            low, high = certified_delta(
                [SubsampledStep(1.0, noise, 7)], epsilon, direction=direction
            )
            assert low <= truth <= high, epsilon
            assert high - low <= 5e-16 * high


@pytest.mark.parametrize("direction", BOTH)
@pytest.mark.parametrize(("rate", "noise"), [(0.3, 1.0), (0.5, 2.0)])
def test_a_step_and_a_gaussian_against_a_direct_integral(rate, noise, direction):
    # delta of the Gaussian at epsilon - L, averaged over the loss L of the step
    sign = 1 if direction == "remove" else -1
    q, s, mu, epsilon = mp.mpf(rate), mp.mpf(noise), mp.mpf(1) / 2, mp.mpf("0.625")

    def integrand(x):
        log = _log_ratio(x, q, s)
        weight = mp.npdf(x, 0, s) * (mp.exp(log) if sign > 0 else 1)
        at = epsilon - sign * log
        gaussian = mp.ncdf(mu / 2 - at / mu) - mp.exp(at) * mp.ncdf(-mu / 2 - at / mu)
        return weight * gaussian

    with mp.workdps(25):
        truth = mp.quad(integrand, mp.linspace(-14 * s, 14 * s + 1, 30))
    steps = [SubsampledStep(rate, noise), SubsampledStep(1.0, 2.0)]
    low, high = certified_delta(steps, 0.625, direction=direction)
    assert low - 1e-18 <= truth <= high + 1e-18, (low, truth, high)
    assert high - low <= 1e-9 * high


@pytest.mark.parametrize("direction", BOTH)
def test_two_directions_are_tied_by_an_identity(direction):
    # delta_PQ(eps) = 1 - e^eps + e^eps delta_QP(-eps)
    other = "add" if direction == "remove" else "remove"
    steps = [SubsampledStep(0.05, 1.0, 60)]
    for epsilon in (0.05, 0.7):
        here = certified_delta(steps, epsilon, direction=direction)
        there = certified_delta(steps, -epsilon, direction=other)
        turned = [1.0 - math.exp(epsilon) * (1.0 - end) for end in there]
        assert turned[0] - 1e-15 <= here[1] and here[0] <= turned[1] + 1e-15
        assert here[1] - here[0] <= 1e-9 * here[1]


@pytest.mark.parametrize("seed", range(8))
def test_random_compositions_meet_the_contours_enclosure(seed):
    draw = np.random.default_rng(seed)
    steps = [
        SubsampledStep(
            float(10 ** draw.uniform(-3, -0.3)),
            float(10 ** draw.uniform(-0.1, 0.7)),
            int(draw.integers(10, 3000)),
        )
        for _ in range(int(draw.integers(1, 4)))
    ]
    delta = float(10 ** draw.uniform(-15, -2))
    for direction in BOTH:
        found = certified_epsilon(steps, delta, direction=direction)
        other = contour.epsilon_interval(steps, delta, direction=direction)
        assert _meet(found, other), (steps, delta, direction, found, other)
        assert found[1] - found[0] <= 1e-9 * (1.0 + found[1])
        at = 0.5 * (found[0] + found[1])
        ends = certified_delta(steps, at, direction=direction)
        assert _meet(ends, contour.delta_interval(steps, at, direction=direction))
        if found[0] > 0.0:
            assert ends[0] * (1.0 - 1e-8) <= delta <= ends[1] * (1.0 + 1e-8)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("rate", "noise", "lam"), [(0.01, 0.8, 5.0), (0.4, 2.0, 30.0), (1e-4, 10.0, 500.0)]
)
def test_moments_and_both_bounds_beyond_hold_mpmaths_values(rate, noise, lam, sign):
    moment = Moment(rate, noise, sign=sign)

    def exact(u):
        z = mp.mpc(lam, u)
        power = 1 + z if sign > 0 else -z
        q, s = mp.mpf(rate), mp.mpf(noise)
        end = max(20 * s, 1 + lam + 15 * s) if sign > 0 else 20 * s
        return mp.quad(
            lambda x: mp.npdf(x, 0, s) * mp.exp(power * _log_ratio(x, q, s)),
            mp.linspace(-22 * s, end, 40),
        )

    with flint.ctx.workprec(224), mp.workdps(30):
        line = moment.line(lam, 40.0, 60.0)
        values = moment.values(line, 2.5, 4, 2, 3)  # k = 4, ..., 9
        about = tilted(Term(rate, noise, 1), sign, lam)
        decay = Decay(moment, 10, lam, about, 40.0)
        size = mp.mpf(str(line.size.upper().str(30, radius=False)))
        for k in (4, 9):
            truth = exact(mp.mpf(2.5) * k)
            found = values[k - 4]
            for ball, part in ((found.real, truth.real), (found.imag, truth.imag)):
                middle = mp.mpf(ball.mid().str(40, radius=False))
                assert abs(middle - part) < 1e-22 * size
                assert float(ball.rad()) < 1e-24 * float(size)
            room = 1.0 + 1e-15
            modulus = float(abs(truth))
            assert float(moment.modulus(line, 2.5 * k).mid()) * room >= modulus
            for u in (1.0, 2.5 * k):
                assert float(decay.beyond(u).mid()) * room >= modulus
            whole, _ = decay.between(2.5 * k - 1.0, 2.5 * k + 2.0)
            assert float(whole.mid()) * room >= modulus
            assert float(whole.mid()) < 3.0 * float(size)
        assert float(line.size.mid()) == pytest.approx(math.exp(about.log), rel=1e-9)


def test_the_second_bound_beyond_is_not_idle():
    with flint.ctx.workprec(224):
        moment = Moment(0.2, 1.0, sign=1)
        decay = Decay(moment, 10, 3.0, tilted(Term(0.2, 1.0, 1), 1, 3.0), 40.0)
        sizes = [float(decay.beyond(u).mid()) for u in (0.0, 1.0, 10.0, 100.0, 1000.0)]
    assert all(a > b for a, b in zip(sizes[1:], sizes[2:], strict=False))
    assert sizes[-1] < 1e-5 * sizes[0]


@pytest.mark.parametrize("guess", [(0.0, 0.0), (0.1, 0.2), (5.0, 9.0), (2.0, math.inf)])
def test_a_wrong_guess_is_harmless(guess):
    low, high = certified_epsilon(W1, 1e-5, direction="remove", guess=guess)
    assert low <= 3.141014139455 <= high + 5e-13


@pytest.mark.parametrize("direction", BOTH)
def test_edges(direction):
    steps = [SubsampledStep(0.02, 1.0, 200)]
    edge = -200 * math.log1p(-0.02)
    pure = certified_epsilon(steps, 0.0, direction=direction)
    if direction == "add":
        assert pure[0] <= edge * (1 + 1e-15) and pure[1] >= edge * (1 - 1e-15)
        assert pure[1] - pure[0] < 1e-14
        assert certified_delta(steps, edge + 1e-9, direction=direction) == (0.0, 0.0)
    else:
        assert pure == (math.inf, math.inf)
        low, high = certified_delta(steps, -edge - 1e-9, direction=direction)
        assert high - low < 1e-15
    assert certified_epsilon(steps, 1.0, direction=direction) == (0.0, 0.0)
    assert certified_epsilon(steps, 0.5, direction=direction) == (0.0, 0.0)
    assert certified_epsilon([], 1e-5, direction=direction) == (0.0, 0.0)
    assert certified_delta([], 0.3, direction=direction) == (0.0, 0.0)
    assert certified_delta(steps, math.inf, direction=direction) == (0.0, 0.0)
    assert certified_delta(steps, -math.inf, direction=direction) == (1.0, 1.0)
    assert certified_delta(steps, -1e300, direction=direction)[1] == 1.0
    assert certified_delta(steps, 1e300, direction=direction)[1] <= 5e-324


def test_equal_steps_are_merged_and_one_table_serves_several_epsilons():
    split = [SubsampledStep(0.01, 0.8, 400), SubsampledStep(0.01, 0.8, 600)]
    assert certified_delta(split, 3.0, direction="add") == certified_delta(W1, 3.0, direction="add")
    table = Certificate(W1, direction="remove", epsilon=3.0)
    ends = [table.delta(epsilon) for epsilon in (2.0, 3.0, 4.0)]
    assert ends[0][0] > ends[1][1] > ends[1][0] > ends[2][1] > 0.0
    for epsilon, found in zip((2.0, 3.0, 4.0), ends, strict=True):
        assert _meet(found, certified_delta(W1, epsilon, direction="remove"))


def test_wrong_input_and_a_missing_package(monkeypatch):
    with pytest.raises(ParameterError, match="direction"):
        certified_delta(W1, 1.0, direction="both")
    with pytest.raises(ParameterError, match="delta"):
        certified_epsilon(W1, 1.5, direction="add")
    with pytest.raises(ParameterError, match="epsilon"):
        certified_delta(W1, math.nan, direction="add")
    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(ConfigError, match=r"pip install 'privassay\[certify\]'"):
        certified_delta(W1, 1.0, direction="add")

import math
import random

import mpmath as mp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privassay.accountant import gaussian
from privassay.accountant.errors import ParameterError
from privassay.accountant.mills import normal_cdf_interval, normal_quantile


def tail(x):
    return mp.erfc(x / mp.sqrt(2)) / 2


def exact_delta(epsilon, mu):
    # The textbook difference, with digits enough to survive its cancellation.
    with mp.workdps(90 + int(2 * max(0.0, math.log10(epsilon / mu / mu + 1)))):
        epsilon, mu = mp.mpf(epsilon), mp.mpf(mu)
        return tail(epsilon / mu - mu / 2) - mp.exp(epsilon) * tail(epsilon / mu + mu / 2)


def exact_tpr(fpr, mu):
    with mp.workdps(60):
        small = min(mp.mpf(fpr), 1 - mp.mpf(fpr))
        z = mp.mpf(normal_quantile(float(small)))
        for _ in range(4):
            z -= (tail(-z) - small) / mp.npdf(z)
        return tail(-((z if fpr <= 0.5 else -z) + mp.mpf(mu)))


def cases(number, seed=5):
    generator = random.Random(seed)
    corners = [(0.0, 1e-6), (0.0, 100.0), (1e4, 100.0), (4999.0, 100.0), (0.5, 1.0), (0.51, 1.0)]
    corners += [(1e-9, 1e-6), (3.7e-5, 1e-6), (0.5, 0.999), (3.5, 1.0), (3.51, 1.0)]
    yield from corners
    for _ in range(number):
        mu = 10 ** generator.uniform(-6, 2)
        x = generator.choice([generator.uniform(-3, 37), generator.uniform(-1, 3)])
        yield min(1e4, max(0.0, mu * (x + mu / 2))), mu


def relative(value, exact):
    return float(abs(mp.mpf(value) / exact - 1))


def test_delta_agrees_with_mpmath():
    for epsilon, mu in cases(400):
        exact = exact_delta(epsilon, mu)
        lower, upper = gaussian.delta_interval(epsilon, mu=mu)
        assert lower <= exact <= upper, (epsilon, mu)
        if exact > 1e-300:
            assert relative(gaussian.delta(epsilon, mu=mu), exact) < 1e-13, (epsilon, mu)
            assert (upper - lower) / exact < 5e-13, (epsilon, mu)


@pytest.mark.parametrize("epsilon, mu", [(20.0, 0.5), (1e4, 1.0), (1e4, 1e-2), (25.0, 1.0)])
def test_log_delta_far_below_the_double_range(epsilon, mu):
    x, y = mp.mpf(epsilon) / mu - mp.mpf(mu) / 2, mp.mpf(epsilon) / mu + mp.mpf(mu) / 2
    with mp.workdps(60):  # Mills ratio by its continued fraction: no underflow for any x
        ratio = [1 / _fraction(v) for v in (x, y)]
        exact = mp.log(ratio[0] - ratio[1]) - x * x / 2 - mp.log(2 * mp.pi) / 2
    assert relative(gaussian.log_delta(epsilon, mu=mu), exact) < 1e-14


def _fraction(x):
    value = x
    for k in range(400, 0, -1):
        value = x + k / value
    return value


def test_published_values():
    assert gaussian.delta(25.0, mu=1.0) == pytest.approx(2.88733677555e-134, rel=1e-11)
    assert gaussian.log_delta(20.0, mu=0.5) == pytest.approx(
        math.log(9.744331) - 348 * math.log(10), rel=1e-9
    )
    mus = [0.26805112, 0.50155169, 0.92493090, 1.66603060]
    assert [round(gaussian.mu(e, 1e-5), 8) for e in (1.0, 2.0, 4.0, 8.0)] == mus


def test_inverses_are_enclosed_and_narrow():
    checked = 0
    for epsilon, mu in cases(150, seed=6):
        delta = gaussian.delta(epsilon, mu=mu)
        if not 1e-300 < delta < 0.99 or epsilon == 0.0:
            continue
        checked += 1
        low, high = gaussian.epsilon_interval(delta, mu=mu)
        assert exact_delta(high, mu) <= delta <= exact_delta(low, mu), (delta, mu)
        assert low <= gaussian.epsilon(delta, mu=mu) <= high
        # d epsilon/epsilon for a relative error of 1e-13 in delta: the conditioning
        slope = mp.exp(epsilon) * tail(mp.mpf(epsilon) / mu + mp.mpf(mu) / 2)
        assert high - low < 5e-13 * max(epsilon, float(delta / slope)) + 1e-300, (delta, mu)
        low, high = gaussian.mu_interval(epsilon, delta)
        assert exact_delta(epsilon, low) <= delta <= exact_delta(epsilon, high), (epsilon, delta)
        assert high - low < 1e-12 * mu, (epsilon, delta)
        assert low <= gaussian.mu(epsilon, delta) <= high
    assert checked > 100


@pytest.mark.parametrize("fpr", [1e-300, 1e-12, 0.01, 0.3, 0.5, 0.7, 1 - 1e-12])
@pytest.mark.parametrize("mu", [1e-6, 0.1, 1.0, 10.0, 100.0])
def test_tpr_and_advantage_agree_with_mpmath(fpr, mu):
    exact, (lower, upper) = exact_tpr(fpr, mu), gaussian.tpr_interval(fpr, mu=mu)
    assert lower <= exact <= upper and (upper - lower) / exact < 2e-12
    assert relative(gaussian.tpr(fpr, mu=mu), exact) < 1e-13
    exact, (lower, upper) = exact_delta(0.0, mu), gaussian.advantage_interval(mu=mu)
    assert lower <= exact <= upper and relative(gaussian.advantage(mu=mu), exact) < 1e-15


epsilons = st.floats(0.0, 1e4)
mus = st.floats(1e-6, 100.0)
deltas = st.floats(1e-300, 0.999)


@given(epsilons, mus, st.floats(1.0 + 1e-9, 2.0))
def test_delta_falls_with_epsilon_and_grows_with_mu(epsilon, mu, more):
    lower, upper = gaussian.delta_interval(epsilon, mu=mu)
    assert 0.0 <= lower <= gaussian.delta(epsilon, mu=mu) <= upper <= 1.0
    assert gaussian.delta_interval(epsilon * more, mu=mu)[0] <= upper
    assert gaussian.delta_interval(epsilon, mu=mu * more)[1] >= lower
    assert gaussian.log_delta(epsilon, mu=mu * more) >= gaussian.log_delta(epsilon, mu=mu) - 1e-12


@given(deltas, mus)
def test_epsilon_and_delta_are_inverse(delta, mu):
    low, high = gaussian.epsilon_interval(delta, mu=mu)
    assert 0.0 <= low <= high < math.inf
    assert gaussian.delta_interval(high, mu=mu)[0] <= delta
    assert low == 0.0 or gaussian.delta_interval(low, mu=mu)[1] >= delta


@given(epsilons, deltas)
def test_mu_and_delta_are_inverse(epsilon, delta):
    low, high = gaussian.mu_interval(epsilon, delta)
    assert gaussian.delta_interval(epsilon, mu=low)[1] <= delta * (1 + 1e-11)
    assert gaussian.delta_interval(epsilon, mu=high)[1] >= delta
    assert gaussian.epsilon_interval(delta, mu=low)[0] <= epsilon


WILD = [0.0, 5e-324, 1e-300, 1e-160, 1e-30, 0.5, 3.0, 1e5, 1e30, 1e160, 1.7e308, math.inf]
CHANCES = [0.0, 5e-324, 1e-310, 1e-100, 1e-5, 0.5, 0.9, 1 - 1e-10, 1 - 2.0**-53, 1.0]


@pytest.mark.parametrize("one", WILD)
def test_no_double_breaks_it(one):
    for other in WILD:
        lower, upper = gaussian.delta_interval(one, mu=other)
        assert 0.0 <= lower <= gaussian.delta(one, mu=other) <= upper <= 1.0
        assert gaussian.log_delta(one, mu=other) <= 0.0
    for chance in CHANCES:
        for lower, point, upper in (
            _three(gaussian.epsilon_interval(chance, mu=one), gaussian.epsilon(chance, mu=one)),
            _three(gaussian.mu_interval(one, chance), gaussian.mu(one, chance)),
            _three(gaussian.tpr_interval(chance, mu=one), gaussian.tpr(chance, mu=one)),
        ):
            assert 0.0 <= lower <= point <= upper, (one, chance)


def _three(interval, point):
    return interval[0], point, interval[1]


def test_ends():
    assert gaussian.delta_interval(1.0, mu=0.0) == (0.0, 0.0)
    assert gaussian.delta_interval(1.0, mu=math.inf) == (1.0, 1.0)
    assert gaussian.delta_interval(math.inf, mu=5.0) == (0.0, 0.0)
    assert gaussian.epsilon_interval(0.0, mu=1.0) == (math.inf, math.inf)
    assert gaussian.epsilon_interval(0.0, mu=0.0) == (0.0, 0.0)
    assert gaussian.epsilon_interval(1e-5, mu=math.inf) == (math.inf, math.inf)
    assert gaussian.epsilon_interval(0.4, mu=1.0) == (0.0, 0.0)  # delta(0) is .383
    assert gaussian.epsilon_interval(0.38, mu=1.0)[0] > 0.0
    assert gaussian.mu_interval(1.0, 0.0) == (0.0, 0.0)
    assert gaussian.mu_interval(math.inf, 0.1) == (math.inf, math.inf)
    assert gaussian.tpr_interval(0.0, mu=3.0) == (0.0, 0.0)
    assert gaussian.tpr_interval(1.0, mu=3.0) == (1.0, 1.0)
    assert gaussian.tpr_interval(0.2, mu=0.0) == (0.2, 0.2)


@pytest.mark.parametrize("bad", [-1.0, math.nan])
def test_numbers_outside_their_range(bad):
    for call in (
        lambda: gaussian.delta(bad, mu=1.0),
        lambda: gaussian.delta_interval(1.0, mu=bad),
        lambda: gaussian.log_delta(1.0, mu=bad),
        lambda: gaussian.epsilon_interval(bad, mu=1.0),
        lambda: gaussian.epsilon(1.5, mu=1.0),
        lambda: gaussian.mu_interval(bad, 0.1),
        lambda: gaussian.mu(1.0, bad),
        lambda: gaussian.tpr_interval(bad, mu=1.0),
        lambda: gaussian.tpr(0.1, mu=bad),
        lambda: gaussian.advantage_interval(mu=bad),
    ):
        with pytest.raises(ParameterError, match="must be"):
            call()


def test_the_quadrature_meets_the_other_branch():
    # Both branches, at the same argument: mu just below and above 1.
    below, above = math.nextafter(1.0, 0.0), 1.0
    for epsilon in (0.0, 0.3, 1.0, 3.0, 3.4999):
        one, two = gaussian.delta(epsilon, mu=below), gaussian.delta(epsilon, mu=above)
        assert one == pytest.approx(two, rel=1e-13)


def test_the_normal_distribution_is_enclosed():
    generator = random.Random(9)
    for _ in range(400):
        z, shift = generator.uniform(-37.5, 8), generator.uniform(0, 1)
        lower, upper = normal_cdf_interval(z, shift)
        with mp.workdps(40):
            exact = tail(-(mp.mpf(z) + mp.mpf(shift)))
        assert lower <= exact <= upper, (z, shift)
        assert upper - lower < 1e-14 * upper

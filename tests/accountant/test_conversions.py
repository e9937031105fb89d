import math
from dataclasses import dataclass

import mpmath as mp
import numpy as np
import pytest

from privassay.accountant import conversions, gaussian, renyi
from privassay.accountant.bounds import Interval, ProvenBound
from privassay.accountant.errors import ParameterError, UnsupportedEventError

SLACK = 1e-14


@dataclass(frozen=True)
class Response:
    """Binary randomised response: a curve that is not Gaussian, in closed form."""

    pure: float

    def epsilon(self, delta):
        p = 1.0 / (1.0 + math.exp(-self.pure))
        value = math.log((p - delta) / (1 - p)) if delta < p else 0.0
        return Interval(max(0.0, value - SLACK), max(0.0, value + SLACK))

    def delta(self, epsilon):
        p = 1.0 / (1.0 + math.exp(-self.pure))
        value = max(0.0, p - math.exp(epsilon) * (1 - p))
        return Interval(max(0.0, value - SLACK), value + SLACK)

    def tpr(self, fpr):
        return Interval(*[self._tpr(fpr)] * 2)

    def _tpr(self, fpr):
        grown = math.exp(self.pure)
        return min(1.0, grown * fpr, 1.0 - (1.0 - fpr) / grown)


def gauss(mu, upper=None):
    return ProvenBound(mu=Interval(mu, mu if upper is None else upper), adjacency="add-remove")


@pytest.mark.parametrize("mu", [1e-3, 0.3, 2.0, 9.0])
def test_fit_of_a_gaussian_is_the_gaussian(mu):
    fit = conversions.gdp_fit(gauss(mu))
    assert fit.mu == mu and fit.regret < 1e-14 and fit.range == Interval(0.0, math.inf)
    assert 0.0 <= fit.excess <= 1e-3
    loose = conversions.gdp_fit(gauss(mu, 1.1 * mu))
    assert loose.mu == 1.1 * mu
    assert loose.regret >= gaussian.tpr(0.3, mu=1.1 * mu) - gaussian.tpr(0.3, mu=mu)


@pytest.mark.parametrize("pure", [0.05, 1.0, 5.0])
@pytest.mark.parametrize("smallest", [1e-9, 1e-3])
def test_fit_of_randomised_response(pure, smallest):
    bound = Response(pure)
    fit = conversions.gdp_fit(bound, smallest_delta=smallest)
    end = bound.epsilon(smallest).upper
    assert fit.range == Interval(0.0, end)
    # proven everywhere in the range, which a scan on other points may not contradict
    grid = np.linspace(0.0, end, 2999)
    for epsilon in grid:
        assert gaussian.delta(float(epsilon), mu=fit.mu) >= bound.delta(float(epsilon)).lower
    # and not more than asked above the smallest
    least = max(gaussian.mu(float(e), bound.delta(float(e)).upper) for e in grid)
    assert least * (1.0 - 1e-9) <= fit.mu <= least * (1.0 + 2e-3)
    rates = np.linspace(0.0, 1.0, 4001)
    gap = max(gaussian.tpr(float(a), mu=fit.mu) - bound.tpr(float(a)).lower for a in rates)
    assert gap <= fit.regret <= gap + 5.2e-3


class Counted:
    def __init__(self, inner):
        self.inner, self.asked = inner, 0

    def __getattr__(self, name):
        found = getattr(self.inner, name)
        if not callable(found):
            return found

        def asked(*arguments):
            self.asked += 1
            return found(*arguments)

        return asked


def test_fit_of_a_renyi_curve_covers_it_and_ends():
    rdp = renyi.compose_rdp([(renyi.rdp_subsampled_gaussian(0.01, 1.0), 300)])
    curve = Counted(renyi.RenyiCurve(renyi.ORDERS, rdp))
    fit = conversions.gdp_fit(curve)
    assert curve.asked < 8000
    for epsilon in np.linspace(0.0, fit.range.upper, 701):
        assert gaussian.delta(float(epsilon), mu=fit.mu) >= curve.delta(float(epsilon)).upper
    assert fit.excess <= 1e-3


def test_fit_of_trivial_bounds():
    nothing = conversions.gdp_fit(gauss(0.0))
    assert nothing == conversions.GdpFit(0.0, 0.0, Interval(0.0, math.inf), 0.0)
    everything = conversions.gdp_fit(gauss(1.0, math.inf))
    assert everything.mu == math.inf and everything.range.upper == math.inf
    assert 0.99 <= everything.regret <= 1.0
    tiny = conversions.gdp_fit(gauss(1e-12))  # delta is below the smallest one everywhere
    assert tiny.mu == 1e-12


def test_zcdp():
    found = conversions.zcdp(gauss(0.7, 0.8))
    assert found.lower <= 0.245 and found.upper >= 0.32 and found.width < 0.0751
    assert conversions.zcdp(gauss(0.0)) == Interval(0.0, 0.0)
    assert conversions.zcdp(gauss(1.0, math.inf)).upper == math.inf
    assert conversions.zcdp(gauss(1e-200)).upper > 0.0
    other = ProvenBound(mu=Interval(0.7, 0.8), adjacency="add-remove", method="lattice")
    assert conversions.zcdp(other).lower == 0.0
    with pytest.raises(UnsupportedEventError, match="Response has no mu"):
        conversions.zcdp(Response(1.0))


@pytest.mark.parametrize("epsilon", [0.0, 1e-9, 0.3, 2.0, 50.0])
@pytest.mark.parametrize("delta", [0.0, 1e-300, 1e-5, 0.4, 1.0])
def test_one_point_gives_upper_limits(epsilon, delta):
    for fpr in (0.0, 1e-300, 1e-6, 0.3, 0.99, 1.0):
        with mp.workdps(400):
            e, d, a = mp.exp(mp.mpf(epsilon)), mp.mpf(delta), mp.mpf(fpr)
            exact = min(mp.mpf(1), e * a + d, 1 - max(mp.mpf(0), 1 - d - a) / e)
        found = conversions.dp_to_tpr(epsilon, delta, fpr)
        assert exact <= found <= exact * (1 + mp.mpf(1e-14)) + mp.mpf(10) ** -320, fpr
    with mp.workdps(400):
        exact = (e - 1 + 2 * d) / (e + 1)
    found = conversions.dp_to_advantage(epsilon, delta)
    assert exact <= found <= exact * (1 + mp.mpf(1e-14)) + mp.mpf(10) ** -320


def test_one_point_is_attained_and_never_better_than_the_curve():
    for pure in (0.1, 1.0, 6.0):
        for fpr in (0.001, 0.3, 0.9):
            assert conversions.dp_to_tpr(pure, 0.0, fpr) >= Response(pure).tpr(fpr).upper - 1e-15
        assert math.isclose(conversions.dp_to_advantage(pure, 0.0), math.tanh(pure / 2))
    bound = gauss(1.0)
    for epsilon in (0.0, 0.5, 2.0, math.inf):
        delta = bound.delta(epsilon).upper
        assert bound.tpr(0.01).lower <= conversions.dp_to_tpr(epsilon, delta, 0.01)
        assert bound.advantage().lower <= conversions.dp_to_advantage(epsilon, delta)


def test_reconstruction_and_profile():
    bound = gauss(1.0)
    for kappa in (0.0, 1e-6, 0.1, 1.0):
        assert conversions.reconstruction_bound(bound, kappa) == bound.tpr(kappa)
    for source in (bound, Response(1.0)):
        found = conversions.profile(source, [0.0, 0.5, 3.0])
        for epsilon, low, high in zip(*found, strict=True):
            assert Interval(float(low), float(high)) == source.delta(float(epsilon))


@pytest.mark.parametrize(
    "call",
    [
        lambda: conversions.gdp_fit(gauss(1.0), smallest_delta=0.0),
        lambda: conversions.dp_to_tpr(-1.0, 0.0, 0.1),
        lambda: conversions.dp_to_tpr(1.0, 1.5, 0.1),
        lambda: conversions.dp_to_advantage(math.nan, 0.1),
        lambda: conversions.reconstruction_bound(gauss(1.0), 2.0),
        lambda: conversions.profile(gauss(1.0), [-1.0]),
    ],
)
def test_bad_numbers_are_refused(call):
    with pytest.raises(ParameterError):
        call()

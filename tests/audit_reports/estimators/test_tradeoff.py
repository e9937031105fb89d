import math

import dp_accounting.dp_event as dpe
import mpmath
import numpy as np
import pytest

from privassay.accountant.account import account
from privassay.accountant.bounds import Interval, ProvenBound
from privassay.accountant.errors import ParameterError
from privassay.accountant.renyi import ORDERS, RenyiCurve, rdp_zcdp
from privassay.audit_reports.estimators.refute import refutes
from privassay.audit_reports.estimators.tradeoff import TradeOff, gaussian_least_fpr

RATES = np.concatenate(([0.0], np.geomspace(1e-12, 0.5, 60), np.linspace(0.5, 1.0, 40)))


def exact_gaussian_fnr(fpr, mu):
    with mpmath.workdps(60):
        z = mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * mpmath.mpf(fpr))
        return mpmath.ncdf(z - mpmath.mpf(mu))


def naive_fnr(epsilon, remove, add, fpr):
    grown = np.exp(epsilon)[:, None]
    lines = np.concatenate(
        (1.0 - remove[:, None] - grown * fpr, (1.0 - add[:, None] - fpr) / grown)
    )
    return np.maximum(0.0, lines.max(axis=0))


@pytest.mark.parametrize("mu", [1e-3, 0.1, 1.0, 3.0, 9.0])
def test_gaussian_is_rounded_down_and_tight(mu):
    for fpr in (1e-300, 1e-30, 1e-5, 0.01, 0.3, 0.5, 0.9, 1.0 - 1e-9):
        truth = exact_gaussian_fnr(fpr, mu)
        found = float(TradeOff.gaussian(mu).fnr(fpr)[0])
        assert found <= truth
        assert found >= truth * (1 - 1e-9) - mpmath.mpf("1e-300")


def test_lines_agree_with_the_naive_maximum():
    rng = np.random.default_rng(0)
    for _ in range(50):
        k = int(rng.integers(1, 30))
        epsilon = rng.exponential(2.0, k)
        remove, add = rng.random(k) ** 4, rng.random(k) ** 4
        found = TradeOff(epsilon, remove, add).fnr(RATES)
        naive = naive_fnr(epsilon, remove, add, RATES)
        assert np.all(found <= naive)
        np.testing.assert_allclose(found, naive, atol=1e-13)


def test_least_fpr_is_the_inverse_of_the_worse_direction_rounded_down():
    rng = np.random.default_rng(1)
    for _ in range(30):
        k = int(rng.integers(1, 20))
        epsilon, remove, add = rng.exponential(2.0, k), rng.random(k) ** 4, rng.random(k) ** 4
        worse = np.maximum(remove, add)
        inverse = TradeOff(epsilon, remove, add).least_fpr()
        for tpr in (0.0, 1e-9, 0.001, 0.2, 0.5, 0.8, 1.0 - 1e-9, 1.0):
            # smallest x with min over lines of (slope x + height) >= tpr
            grown = np.exp(epsilon)
            exact = max(
                0.0,
                float(((tpr - worse) / grown).max()),
                float((1.0 - worse - grown * (1.0 - tpr)).max()),
            )
            assert inverse(tpr) <= exact + 1e-16
            assert inverse(tpr) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("mu", [0.05, 1.0, 4.0])
def test_gaussian_inverse(mu):
    inverse = gaussian_least_fpr(mu)
    for tpr in (1e-100, 1e-8, 0.1, 0.5, 0.99):
        with mpmath.workdps(60):
            z = mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(tpr) - 1)
            truth = mpmath.ncdf(z - mu)
        assert inverse(tpr) <= truth
        if truth > 1e-80:
            assert inverse(tpr) >= truth * (1 - 1e-10)


@pytest.mark.parametrize(
    "event",
    [
        dpe.SelfComposedDpEvent(dpe.PoissonSampledDpEvent(0.01, dpe.GaussianDpEvent(0.8)), 1000),
        dpe.SelfComposedDpEvent(dpe.LaplaceDpEvent(2.0), 8),
        dpe.GaussianDpEvent(0.5),
    ],
)
def test_of_a_bound_is_valid_and_tight(event):
    bound = account(event, adjacency="add-remove")
    curve = TradeOff.of(bound)
    for fpr in (1e-3, 0.01, 0.05, 0.2, 0.5):
        tpr = bound.tpr(fpr)
        assert tpr.lower <= float(curve.tpr(fpr)[0]) <= tpr.upper + 1e-3


def test_lines_of_a_gaussian_bound_are_below_its_curve():
    bound = ProvenBound(mu=Interval(1.5, 1.5), adjacency="add-remove")
    lines = TradeOff.of(bound, epsilons=np.linspace(0.0, 12.0, 300))
    curve = TradeOff.of(bound)
    assert curve.mu == 1.5 and lines.mu is None
    assert np.all(lines.fnr(RATES) <= curve.fnr(RATES) + 1e-12)
    assert np.max(curve.fnr(RATES) - lines.fnr(RATES)) < 1e-3


def test_zcdp_covers_its_gaussian_and_follows_the_curve():
    rho = 0.5
    curve = TradeOff.zcdp(rho)
    assert np.all(curve.fnr(RATES) <= TradeOff.gaussian(math.sqrt(2 * rho)).fnr(RATES) + 1e-12)
    known = RenyiCurve(ORDERS, rdp_zcdp(rho))
    for epsilon, delta in zip(curve.epsilon[::50], curve.delta_add[::50], strict=True):
        assert delta == known.delta(float(epsilon)).upper


def test_points_and_profiles(make_claim):
    point = TradeOff.point(1.0, 0.1)
    assert point.fnr(0.0)[0] == pytest.approx(0.9) and point.fnr(0.9)[0] < 1e-12
    both = TradeOff.profile([(0.0, 0.2), (1.0, 0.1)])
    expected = np.maximum(TradeOff.point(0.0, 0.2).fnr(RATES), point.fnr(RATES))
    np.testing.assert_allclose(both.fnr(RATES), expected, atol=1e-15)
    assert np.all(TradeOff.point(1e5, 0.0).fnr(RATES) == 0.0)
    assert np.all(TradeOff.point(0.0, 1.0).fnr(RATES) == 0.0)
    assert np.all(TradeOff.gaussian(math.inf).fnr(RATES) == 0.0)
    assert TradeOff.gaussian(0.0).fnr(0.25)[0] == pytest.approx(0.75)
    claimed = TradeOff.of_claim(make_claim(epsilon=1.0, delta=0.1))
    np.testing.assert_array_equal(claimed.fnr(RATES), point.fnr(RATES))


def test_the_two_directions_are_not_confused():
    """Only removal is protected: FNR at small FPR is held up, FPR at small FNR is not."""
    one_way = TradeOff(np.array([1.0]), np.array([0.0]), np.array([1.0]))
    assert one_way.fnr(0.1)[0] == pytest.approx(1.0 - 0.1 * math.e)
    assert one_way.fnr(0.5)[0] == 0.0  # 1 - .5 e < 0, and nothing from the other direction


def test_power_of_matches_a_simulation(make_scores):
    rng = np.random.default_rng(4)
    curve = TradeOff.profile([(e, d) for e, d in zip(*_lines(0.5), strict=True)])
    bound = curve.power_of(500, 500, mu=1.0)
    hits = sum(
        refutes(curve, make_scores(rng.normal(1, 1, 500), rng.normal(size=500))).refuted
        for _ in range(200)
    )
    assert bound - 0.1 <= hits / 200 <= bound + 0.3, (bound, hits)


def _lines(mu):
    curve = TradeOff.gaussian(mu)
    return curve.epsilon, curve.delta_add


def test_wrong_input_raises():
    with pytest.raises(ParameterError, match="one length"):
        TradeOff(np.zeros(2), np.zeros(1), np.zeros(2))
    with pytest.raises(ParameterError, match="delta"):
        TradeOff.profile([(1.0, -0.1)])
    with pytest.raises(ParameterError, match="epsilon"):
        TradeOff.profile([(math.nan, 0.1)])
    with pytest.raises(ParameterError, match="at least one"):
        TradeOff.profile([])
    with pytest.raises(ParameterError, match="fpr"):
        TradeOff.gaussian(1.0).fnr([0.5, math.nan])

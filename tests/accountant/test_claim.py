import math

import dp_accounting.dp_event as dpe
import numpy as np
import pytest

from privassay.accountant import gaussian, jsonio
from privassay.accountant.account import account
from privassay.accountant.bounds import Interval
from privassay.accountant.claim import PrivacyClaim, as_claim
from privassay.accountant.errors import ClaimError, ParameterError
from privassay.accountant.events import PureDpEvent

TERMS = dict(adjacency="add-remove", unit="example")


def bound(noise=10.0, rounds=100, **terms):
    event = dpe.SelfComposedDpEvent(dpe.GaussianDpEvent(noise), rounds)
    return account(event, **(TERMS | terms))


def test_a_point_is_proven_up_to_the_exact_epsilon():
    exact = bound().epsilon(1e-5)
    assert PrivacyClaim(epsilon=exact.upper, delta=1e-5, **TERMS).is_proven_by(bound())
    short = PrivacyClaim(epsilon=exact.lower * (1 - 1e-12), delta=1e-5, **TERMS)
    assert not short.is_proven_by(bound())


def test_a_curve_is_proven_also_with_equality():
    assert PrivacyClaim(mu=1.0, **TERMS).is_proven_by(bound())  # sqrt(100)/10 = 1 exactly
    assert not PrivacyClaim(mu=1.0, **TERMS).is_proven_by(bound(rounds=101))
    claim = PrivacyClaim(epsilon=1.0, delta=1e-5, curve="gaussian", **TERMS)
    assert claim.is_curve and not claim.is_proven_by(bound())
    assert claim.is_proven_by(bound(noise=math.sqrt(100) / 0.268, rounds=100))
    assert claim.gaussian_mu() == Interval(*gaussian.mu_interval(1.0, 1e-5))


def test_pure_privacy_is_never_proven_of_a_gaussian():
    pure = PrivacyClaim(epsilon=50.0, delta=0.0, **TERMS)
    assert not pure.is_proven_by(bound())
    assert pure.is_proven_by(account(dpe.NoOpDpEvent(), **TERMS))


@pytest.mark.parametrize("terms", [dict(adjacency="replace-one"), dict(unit="client")])
def test_other_terms_are_never_compared(terms):
    with pytest.raises(ClaimError, match="claim"):
        PrivacyClaim(mu=9.0, **TERMS).is_proven_by(bound(**terms))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(), "none is given"),
        (dict(epsilon=1.0, mu=1.0, delta=0.1), "epsilon and mu"),
        (dict(epsilon=1.0), "needs delta"),
        (dict(epsilon=math.inf, delta=0.1), "claims nothing"),
        (dict(mu=1.0, adversaries=()), "no adversary"),
        (dict(mu=1.0, adversaries=("sever",)), "did you mean 'server'"),
        (dict(mu=1.0, curve="gausian"), "did you mean 'gaussian'"),
        (dict(mu=1.0, unit="person"), "unit"),
        (dict(mu=1.0, adjacency="add_remove"), "did you mean 'add-remove'"),
    ],
)
def test_what_is_not_a_claim(arguments, message):
    with pytest.raises(ClaimError, match=message):
        PrivacyClaim(**(TERMS | arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        dict(epsilon=-1.0, delta=0.1),
        dict(epsilon=math.nan, delta=0.1),
        dict(epsilon=1.0, delta=1.5),
        dict(epsilon=1.0, delta=0.0, curve="gaussian"),
        dict(mu=0.0),
        dict(mu=math.inf),
        dict(mu=1.0, delta=0.0),
    ],
)
def test_numbers_outside_their_range(arguments):
    with pytest.raises(ParameterError, match="must be"):
        PrivacyClaim(**(TERMS | arguments))


def test_a_point_is_not_a_curve():
    with pytest.raises(ClaimError, match="single point"):
        PrivacyClaim(epsilon=1.0, delta=1e-5, **TERMS).gaussian_mu()


def test_text():
    assert PrivacyClaim(mu=0.5, **TERMS).text() == "0.5-GDP, one example, add-remove"
    claim = PrivacyClaim(epsilon=1.0, delta=1e-5, curve="gaussian", **TERMS)
    assert "by the Gaussian curve (mu = 0.268051)" in claim.text()


STEPS = dpe.SelfComposedDpEvent(dpe.PoissonSampledDpEvent(0.01, dpe.GaussianDpEvent(1.0)), 10)


@pytest.mark.parametrize(
    "guarantee, text",
    [
        ({"rho": 0.5}, "0.5-zCDP"),
        ({"profile": [[1, 1e-5], [2, 1e-8]]}, "(1, 1e-05), (2, 1e-08)-DP"),
        ({"event": STEPS}, "as private as SelfComposedDpEvent"),
        ({"epsilon": 1, "delta": 0}, "(1, 0)-DP"),
    ],
)
def test_other_guarantees(guarantee, text):
    claim = as_claim({**guarantee, "adjacency": "add-remove", "unit": "example"})
    assert claim.text() == f"{text}, one example, add-remove"
    assert jsonio.load(PrivacyClaim, jsonio.dump(claim)) == claim
    assert not claim.is_curve
    assert as_claim(claim) is claim


def test_what_proves_them():
    ask = {"adjacency": "add-remove", "unit": "example"}
    bound = account(dpe.GaussianDpEvent(1.0), adjacency="add-remove")
    assert as_claim({"rho": 0.5, **ask}).is_proven_by(bound)  # mu^2/2 exactly
    assert not as_claim({"rho": 0.5 * (1 - 1e-15), **ask}).is_proven_by(bound)
    for event, epsilon in ((dpe.LaplaceDpEvent(1.0), 1.0), (PureDpEvent(0.3), 0.3)):
        pure = account(event, adjacency="add-remove")
        assert as_claim({"epsilon": epsilon, "delta": 0.0, **ask}).is_proven_by(pure)
        assert not as_claim({"epsilon": epsilon * (1 - 1e-15), "delta": 0.0, **ask}).is_proven_by(
            pure
        )
    assert not as_claim({"rho": 0.499, **ask}).is_proven_by(bound)
    high = bound.delta(2.0).upper
    assert as_claim({"profile": [(2.0, high), (0.0, 0.5)], **ask}).is_proven_by(bound)
    assert not as_claim({"profile": [(2.0, high), (0.0, 0.3)], **ask}).is_proven_by(bound)
    claim = as_claim({"event": STEPS, **ask})
    assert claim.proven().epsilon(1e-5) == account(STEPS, adjacency="add-remove").epsilon(1e-5)
    with pytest.raises(ClaimError, match="cannot be decided"):
        claim.is_proven_by(bound)
    with pytest.raises(ClaimError, match="names no event"):
        as_claim({"rho": 0.5, **ask}).proven()


@pytest.mark.parametrize(
    "given, message",
    [
        ({"mu": 1.0}, "needs adjacency and unit"),
        ({"mu": 1.0, "adjacancy": "add-remove"}, "did you mean 'adjacency'"),
        ({"rho": 1.0, "mu": 1.0, "adjacency": "add-remove", "unit": "example"}, "mu and rho"),
        (3.0, "must be a PrivacyClaim"),
    ],
)
def test_a_dictionary_that_is_no_claim(given, message):
    with pytest.raises(ClaimError, match=message):
        as_claim(given)


def test_numbers_of_numpy_are_numbers():
    """`np.float64(1) == ()` is an empty array, which is neither true nor false."""
    terms = {"adjacency": "add-remove", "unit": "example"}
    found = PrivacyClaim(epsilon=np.float64(1.0), delta=np.float32(0.5), **terms)
    assert found == PrivacyClaim(epsilon=1.0, delta=0.5, **terms)
    assert type(found.epsilon) is float and type(found.delta) is float
    assert PrivacyClaim(mu=np.float64(2.0), **terms).mu == 2.0
    with pytest.raises(ParameterError, match="epsilon"):
        PrivacyClaim(epsilon=np.float64("nan"), delta=0.1, **terms)
    with pytest.raises(ClaimError, match="none is given"):
        PrivacyClaim(profile=[], **terms)

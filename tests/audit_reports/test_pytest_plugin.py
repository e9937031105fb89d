import pytest

pytest_plugins = ["pytester"]

SOURCE = """
import numpy as np
import pytest

CLAIM = {"mu": 1.0, "adjacency": "add-remove", "unit": "example"}

def noisy(std):
    def sample(world, n, seed):
        return np.random.default_rng(seed).normal(world, std, size=(n, 2))[:, :1]
    return sample

def test_good(assert_private):
    record = assert_private(noisy(1.0), CLAIM)
    assert record.verdict.word == "INCONCLUSIVE"

@pytest.mark.private(mu=1.0, adjacency="add-remove", unit="example")
def test_bad(assert_private):
    assert_private(noisy(0.5))

def test_weak(assert_private):
    assert_private(noisy(1.0), CLAIM, power=1.2, max_trials=100)

def test_without_a_claim(assert_private):
    assert_private(noisy(1.0))
"""


def test_outcomes(pytester):
    pytester.makepyfile(SOURCE)
    result = pytester.runpytest("-p", "no:cacheprovider", "-W", "default")
    result.assert_outcomes(passed=2, failed=2, warnings=1)
    text = result.stdout.str()
    assert "REFUTED" in text and "shows mu >=" in text
    assert "PrivacyPowerWarning" in text and "give max_trials=" in text
    assert "needs a claim" in text


def test_how_many_trials():
    from privassay.accountant.claim import as_claim
    from privassay.audit_reports.pytest_plugin import trials_for

    claim = as_claim({"mu": 1.0, "adjacency": "add-remove", "unit": "example"})
    few, enough = trials_for(claim, 3.0, 0.999, 50_000)
    more, also = trials_for(claim, 1.2, 0.999, 50_000)
    assert enough and also and few < more <= 50_000
    assert trials_for(claim, 1.001, 0.999, 1000) == (1000, False)


@pytest.mark.private(mu=1.0, adjacency="add-remove", unit="example")
def test_the_fixture_is_here(assert_private, request):
    assert request.node.get_closest_marker("private").kwargs["mu"] == 1.0
    assert callable(assert_private)

"""The judge of controls: what passes, what fails, and how often chance is called a finding."""

import dataclasses

import numpy as np
import pytest

from privassay.accountant.errors import DesignError
from privassay.audit_reports.estimators.tradeoff import TradeOff
from privassay.audit_reports.selftest.control import Found, Separated
from privassay.audit_reports.selftest.judge import chance, judge


def gaussians(shift, n=2000, seed=0, mu=None, curve=None):
    draw = np.random.default_rng(seed)
    inside, outside = draw.normal(shift, 1, n), draw.normal(0, 1, n)
    return Separated(values_in=inside, values_out=outside, independent=True, mu=mu, curve=curve)


def test_a_positive_control_needs_size_and_evidence():
    strong = gaussians(3.0)
    assert judge("positive", strong, at_least=0.95).passed
    assert not judge("positive", strong, at_least=0.999).passed
    few = Separated(values_in=np.array([2.0, 3.0]), values_out=np.array([0.0]), independent=True)
    assert not judge("positive", few, at_least=0.5).passed, "an AUC of 1 from three scores"


def test_noise_is_at_chance_and_a_leak_is_not():
    assert judge("noise", gaussians(0.0), at_least=0.9).passed
    assert not judge("noise", gaussians(0.5), at_least=0.9).passed


def test_a_leak_that_ranks_do_not_show_is_found():
    draw = np.random.default_rng(0)
    scores = Separated(
        values_in=draw.normal(0, 3, 2000), values_out=draw.normal(0, 1, 2000), independent=True
    )
    found = judge("noise", scores, at_least=0.9)
    assert abs(found.measured - 0.5) < 0.03 and not found.passed


def test_p_values_under_chance_are_uniform_or_larger():
    """Members drawn at random from fixed scores, ties included: what one run looks like."""
    draw = np.random.default_rng(1)
    values = np.round(draw.standard_t(2, 200), 1)
    p = []
    for _ in range(400):
        member = draw.permutation(200) < 100
        p.append(
            chance(
                Separated(values_in=values[member], values_out=values[~member], independent=False)
            )
        )
    small = np.mean(np.array(p) <= 0.1)
    assert small <= 0.1 + 3 * np.sqrt(0.09 / 400), small


@pytest.mark.parametrize("n", [500, 10_000])
def test_an_attack_at_its_ceiling_passes_and_one_above_it_fails(n):
    at = judge("bounded", gaussians(1.0, n=n, mu=1.0), at_least=0.9, reaches=0.8)
    assert at.passed and at.required == 1.0 and abs(at.measured - 1.0) < 0.2
    over = judge("bounded", gaussians(2.5, n=n, mu=1.0), at_least=0.9)
    assert not over.passed and "ABOVE ITS CEILING" in over.words
    blind = judge("bounded", gaussians(-0.05, n=n, mu=1.0), at_least=0.9)
    assert blind.passed, "an attack that need not be strong may be below chance"
    weak = judge("bounded", gaussians(0.3, n=n, mu=1.0), at_least=0.9, reaches=0.8)
    assert not weak.passed and "ABOVE" not in weak.words


def test_hits():
    found = Found(hits=95, trials=100, chance=0.01)
    assert judge("positive", found, at_least=0.9).passed
    assert not judge("positive", found, at_least=0.99).passed
    assert not judge("noise", found, at_least=0.9).passed
    assert judge("noise", Found(hits=2, trials=100, chance=0.01), at_least=0.9).passed
    lucky = Found(hits=1, trials=1, chance=0.5)
    assert not judge("positive", lucky, at_least=0.9).passed


def test_the_ceiling_of_hits_is_that_of_the_trade_off_curve():
    bounded = Found(hits=20, trials=100, chance=0.05, mu=0.8)  # at most .1991
    assert judge("bounded", bounded, at_least=0.9, reaches=0.95).passed
    over = Found(hits=60, trials=100, chance=0.05, mu=0.8)
    assert "ABOVE ITS CEILING" in judge("bounded", over, at_least=0.9).words


def test_what_cannot_be_judged_is_an_error():
    with pytest.raises(DesignError, match="proven mu"):
        judge("bounded", gaussians(1.0), at_least=0.9)
    dependent = Separated(
        values_in=np.arange(9.0), values_out=np.arange(9.0), independent=False, mu=1.0
    )
    with pytest.raises(DesignError, match="independent runs"):
        judge("bounded", dependent, at_least=0.9)
    with pytest.raises(DesignError, match="contradict"):
        Found(hits=3, trials=2, chance=0.1)
    for wrong in (np.array([]), np.array([np.nan]), np.array([np.inf]), np.zeros((2, 2))):
        with pytest.raises(DesignError, match="finite"):
            Separated(values_in=wrong, values_out=np.zeros(3), independent=True)
    few = Separated(values_in=np.ones(60), values_out=np.zeros(60), independent=True, mu=2.0)
    with pytest.raises(DesignError, match="even perfect separation"):
        judge("bounded", few, at_least=0.9)


def test_rare_large_scores_do_not_make_chance_look_like_a_finding():
    """Two of five large scores inside, 20 against 2000: probability 9e-4, by counting."""
    inside, outside = np.zeros(20), np.zeros(2000)
    inside[:2], outside[:3] = 5.0, 5.0
    p = chance(Separated(values_in=inside, values_out=outside, independent=False))
    assert p > 1e-4


def test_total_leakage_with_the_wrong_sign_is_above_the_ceiling_too():
    wrong = Separated(values_in=-np.ones(3000), values_out=np.ones(3000), independent=True, mu=2.0)
    found = judge("bounded", wrong, at_least=0.9, reaches=0.85)
    assert not found.passed and "ABOVE" in found.words and found.measured == -np.inf


def test_the_ceiling_may_be_any_curve():
    curve = TradeOff.point(1.0, 0.0)  # pure: advantage (e - 1)/(e + 1)
    draw = np.random.default_rng(0)
    keep = np.e / (1 + np.e)  # randomised response reaches it
    inside, outside = (draw.random(4000) < share for share in (keep, 1 - keep))
    at = Separated(
        values_in=inside.astype(float),
        values_out=outside.astype(float),
        independent=True,
        curve=curve,
    )
    found = judge("bounded", at, at_least=0.9, reaches=0.95)
    assert found.passed and abs(found.required - np.tanh(0.5)) < 1e-3
    less = TradeOff.point(0.5, 0.0)
    over = judge("bounded", dataclasses.replace(at, curve=less), at_least=0.9)
    assert not over.passed and "ABOVE" in over.words
    assert not judge(
        "bounded", gaussians(0.05, mu=None, curve=curve), at_least=0.9, reaches=0.9
    ).passed

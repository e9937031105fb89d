"""The controls of these attacks: each once, and what a control's judge does not look at."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy.special import ndtri

from privassay.accountant.account import account
from privassay.attacks.membership.gradient_canary import GradientCanary
from privassay.attacks.membership.gradient_difference import GradientDifference
from privassay.attacks.membership.updates import record_gradients
from privassay.attacks.scores import Scores
from privassay.audit_reports.estimators.auc import auc
from privassay.audit_reports.estimators.refute import refutes
from privassay.audit_reports.estimators.tradeoff import TradeOff
from privassay.audit_reports.selftest import canary_runs, federated, federated_runs, white_box
from privassay.audit_reports.selftest.control import Separated
from privassay.audit_reports.selftest.judge import RISK, chance, judge
from privassay.fl_core.kernels.base import cross_entropy
from privassay.mechanisms.dpsgd import DpSgd

CANARY, HIDDEN = white_box.CONTROLS[:2]
ALL = white_box.CONTROLS + federated.CONTROLS
KINDS = ("positive", "noise", "bounded")


NAMES = [f"{c.attack}-{i}" for i, c in enumerate(ALL)]


@cache
def ran(control, kind):
    return getattr(control, kind)(7)


def judged(control, kind, outcome):
    return judge(kind, outcome, at_least=control.at_least, reaches=control.reaches)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("control", ALL, ids=NAMES)
def test_control(control, kind):
    outcome = ran(control, kind)
    found = judged(control, kind, outcome)
    assert found.passed, found.words
    assert (outcome.mu is not None or outcome.curve is not None) == (kind == "bounded")


@pytest.mark.parametrize("control", ALL, ids=NAMES)
def test_the_best_attack_on_a_release_of_twice_its_mu_would_be_found_out(control):
    found = ran(control, "bounded")
    if found.mu is None:
        pytest.skip("a curve; that a release above it is found out is a test of its own")
    power = TradeOff.gaussian(found.mu).power_of(
        len(found.values_in), len(found.values_out), mu=2.0 * found.mu, confidence=1.0 - RISK
    )
    assert found.independent and power > 0.9


@pytest.mark.parametrize("control", white_box.CONTROLS, ids=NAMES[: len(white_box.CONTROLS)])
def test_trials_without_noise_are_no_copies_of_one_number(control):
    found = ran(control, "positive")
    for values in (found.values_in, found.values_out):
        assert len(np.unique(values)) > 0.9 * len(values)


def test_hidden_samples_are_held_to_the_curve_with_amplification():
    """Neither a release in which every record takes part nor the wrong likelihood ratio passes."""
    fair = ran(HIDDEN, "bounded")
    everybody = canary_runs.canary(7, noise=0.5)
    found = judged(HIDDEN, "bounded", replace(everybody, curve=fair.curve))
    assert not found.passed and "ABOVE" in found.words, found.words


def test_adding_up_the_ratios_of_steps_in_which_the_canary_may_not_be_drawn_fails(monkeypatch):
    def as_if_always_there(self, view, candidates):
        gap = view.sums - candidates / 2
        return (gap * candidates).sum(dim=2) / self.noise_stddev**2

    monkeypatch.setattr(GradientCanary, "per_round", as_if_always_there)
    found = judged(CANARY, "bounded", CANARY.bounded(7))
    assert found.passed, found.words
    found = judged(HIDDEN, "bounded", HIDDEN.bounded(7))
    assert not found.passed and "ABOVE" not in found.words, found.words


def test_the_distance_is_that_of_what_is_released_of_the_record(monkeypatch):
    """A record that is longer before it is clipped is the same release, and the same question."""
    before = white_box.prototype(5, attack="prototype_distance", kind="igpp")
    threes = white_box._threes
    monkeypatch.setattr(white_box, "_threes", lambda *given: 16.0 * threes(*given))
    after = white_box.prototype(5, attack="prototype_distance", kind="igpp")
    np.testing.assert_allclose(after.values_in, before.values_in, rtol=1e-9)


def test_what_is_said_of_the_update_norm_is_decided_by_its_floor():
    """Scores that are just as good as the floor asks for are no accident for the judge."""
    (control,) = (c for c in federated.CONTROLS if c.attack == "update_norm")
    found = ran(control, "positive")
    apart = math.sqrt(2.0) * ndtri(control.at_least)
    inside, outside = (
        ndtri((np.arange(len(values)) + 0.5) / len(values))
        for values in (found.values_in, found.values_out)
    )
    just = Separated(values_in=inside + apart, values_out=outside, independent=False)
    assert chance(just) < RISK


def test_the_setting_says_how_many_rounds_there_are():
    for control in federated.CONTROLS:
        rounds = (
            federated_runs._CANARY_ROUNDS
            if control.attack == "update_cosine"
            else federated_runs.ROUNDS
        )
        assert f"{rounds} rounds" in control.setting


def test_hidden_participation_in_a_real_run_reaches_its_advantage_and_refutes_less_noise():
    outcome = canary_runs.canary(3, rate=0.25)
    mechanism = DpSgd(
        clip_norm=1.0, noise_multiplier=canary_runs.SIGMA, sampling_rate=0.25, expected_batch=5.0
    )
    proven = account(mechanism.event(canary_runs.STEPS), adjacency="add-remove")
    inside, outside = outcome.values_in, outcome.values_out
    advantage = float(np.mean(inside > 0) - np.mean(outside > 0))
    error = math.sqrt(0.5 / len(inside))
    assert advantage == pytest.approx(proven.advantage().upper, abs=5 * error)
    scores = Scores(
        values_in=inside,
        values_out=outside,
        design="many_runs",
        adversary="server",
        attack="gradient_canary",
        adjacency="add-remove",
    )
    assert not refutes(TradeOff.of(proven), scores, confidence=0.99999).refuted
    quieter = DpSgd(
        clip_norm=1.0,
        noise_multiplier=2 * canary_runs.SIGMA,
        sampling_rate=0.25,
        expected_batch=5.0,
    )
    claimed = account(quieter.event(canary_runs.STEPS), adjacency="add-remove")
    assert refutes(TradeOff.of(claimed), scores).refuted


def test_controls_are_the_same_for_the_same_seed_and_others_for_another():
    one, two, other = (
        white_box.prototype(seed, attack="informed_linear", kind="vpp") for seed in (1, 1, 2)
    )
    assert np.array_equal(one.values_in, two.values_in)
    assert not np.array_equal(one.values_in, other.values_in)


def test_under_noise_the_gradient_in_the_planted_slot_says_more_than_its_length():
    seen, planted = federated_runs.planted(2, private=True)
    slots = planted.kernel.shapes()["prompts"][0]
    (gradient,) = record_gradients(
        planted.kernel, seen.view.models[:, :-1], seen.records, cross_entropy
    )
    slot = gradient.unflatten(2, (slots, -1)).norm(dim=3)
    assert bool((slot[..., 0] > 0).all()) and not bool(slot[..., 1:].any())
    by_length = planted.score(seen.view, torch.tensor([0]))
    attack = GradientDifference(kernel=planted.kernel, client=federated_runs.TARGET)
    areas = [
        auc(scores[seen.member].numpy(), scores[~seen.member].numpy())
        for scores in (by_length, attack.score(seen.view, seen.records))
    ]
    assert areas[0] < 0.65 and areas[1] > 0.8, areas

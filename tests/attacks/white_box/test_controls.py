"""The controls of these attacks: each once, and what a control's judge does not look at."""

import math

import numpy as np
import pytest
import torch

from privassay.accountant.account import account
from privassay.attacks.membership.gradient_difference import GradientDifference
from privassay.attacks.membership.updates import record_gradients
from privassay.attacks.scores import Scores
from privassay.audit_reports.estimators.auc import auc
from privassay.audit_reports.estimators.refute import refutes
from privassay.audit_reports.estimators.tradeoff import TradeOff
from privassay.audit_reports.selftest import federated, federated_runs, white_box
from privassay.audit_reports.selftest.judge import judge
from privassay.fl_core.kernels.base import cross_entropy
from privassay.mechanisms.dpsgd import DpSgd

ALL = white_box.CONTROLS + federated.CONTROLS
KINDS = ("positive", "noise", "bounded")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("control", ALL, ids=[f"{c.attack}-{i}" for i, c in enumerate(ALL)])
def test_control(control, kind):
    outcome = getattr(control, kind)(7)
    found = judge(kind, outcome, at_least=control.at_least, reaches=control.reaches)
    assert found.passed, found.words
    assert (outcome.mu is not None) == (kind == "bounded") or kind == "noise" or outcome.mu > 50


def test_hidden_participation_in_a_real_run_reaches_its_advantage_and_refutes_less_noise():
    outcome = white_box.canary(3, rate=0.25)
    mechanism = DpSgd(
        clip_norm=1.0, noise_multiplier=white_box.SIGMA, sampling_rate=0.25, expected_batch=5.0
    )
    proven = account(mechanism.event(white_box.STEPS), adjacency="add-remove")
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
        clip_norm=1.0, noise_multiplier=2 * white_box.SIGMA, sampling_rate=0.25, expected_batch=5.0
    )
    claimed = account(quieter.event(white_box.STEPS), adjacency="add-remove")
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

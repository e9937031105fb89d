"""The controls are as they must be, and a spoilt attack does not get through."""

from functools import cache

import pytest
import torch

from privassay.attacks.membership import bavaria, calibrated, lira, rmia
from privassay.audit_reports.estimators.tradeoff import TradeOff
from privassay.audit_reports.selftest import membership, membership_worlds
from privassay.audit_reports.selftest.judge import RISK, judge
from privassay.audit_reports.selftest.membership import CONTROLS, HALF_LEARNT
from privassay.audit_reports.selftest.membership_worlds import (
    BY_HEART,
    EACH,
    REFERENCES,
    TARGETS,
    overfitted,
)

RUNS = [
    (control, kind)
    for control in CONTROLS
    for kind in ("positive", "noise", "bounded")
    if getattr(control, kind) is not None
]
COMPARED = [c for c in CONTROLS if c.attack in ("calibrated_loss", "lira", "rmia", "bavaria")]
LIRA = [c for c in CONTROLS if c.attack == "lira"]


def outcome(control, kind):
    run = getattr(control, kind)
    return judge(kind, run(1), at_least=control.at_least, reaches=control.reaches)


@cache
def ran(control, kind):
    return getattr(control, kind)(1)


def label(value):
    return value if isinstance(value, str) else f"{value.attack} {value.setting.split(',')[0]}"


@pytest.mark.parametrize(("control", "kind"), RUNS, ids=label)
def test_control(control, kind):
    found = judge(kind, ran(control, kind), at_least=control.at_least, reaches=control.reaches)
    assert found.passed, found.words


@pytest.mark.parametrize("kind", ["positive", "bounded"])
@pytest.mark.parametrize("control", COMPARED, ids=label)
def test_an_attack_that_ignores_its_references_fails(control, kind, monkeypatch):
    for module in (bavaria, calibrated, lira, rmia):
        monkeypatch.setattr(
            module, "against_references", lambda view, references, signal, rule: signal(view)
        )
    found = outcome(control, kind)
    assert not found.passed, found.words


@pytest.mark.parametrize("control", LIRA, ids=label)
def test_lira_with_one_spread_for_all_fails(control, monkeypatch):
    monkeypatch.setattr(
        lira.Lira, "_variance", lambda self, side, references, gap: torch.ones_like(side.mean)
    )
    found = outcome(control, "bounded")
    assert not found.passed, found.words


def test_lira_and_bavaria_that_attack_offline_where_they_should_online_fail(monkeypatch):
    for attack in (lira.Lira, bavaria.BaVarIA):
        monkeypatch.setattr(attack, "_online", attack._offline)
    online = [
        control
        for control in CONTROLS
        if control.attack in ("lira", "bavaria") and control.setting.startswith("online")
    ]
    assert {control.attack for control in online} == {"lira", "bavaria"}
    for control in online:
        found = outcome(control, "positive")
        assert not found.passed, found.words


@pytest.mark.parametrize("control", [c for c in CONTROLS if c.bounded is not None], ids=label)
def test_the_best_attack_on_a_release_of_twice_its_mu_would_be_found_out(control):
    found = ran(control, "bounded")
    assert found.independent
    power = TradeOff.gaussian(found.mu).power_of(
        len(found.values_in), len(found.values_out), mu=2.0 * found.mu, confidence=1.0 - RISK
    )
    assert power > 0.9


def test_the_private_users_have_several_records_and_mu_is_for_all_of_them():
    one, users = membership.ONE(1), membership.OF_USERS(1)
    assert users.units.shape == (3, 3) and one.units.shape == (1, 1)
    # Three records in the same noise that one record has would be three times its mu.
    assert users.mu == pytest.approx(one.mu) and one.mu == pytest.approx(2.0)
    member = users.world.member[:, users.units]
    assert bool((member == member[..., :1]).all())
    own = member[torch.arange(len(member)), users.asked, 0]
    assert torch.equal(own, users.inside) and int(own.sum()) * 2 == len(own)


@pytest.mark.parametrize("how", [BY_HEART, HALF_LEARNT])
def test_untouched_records_were_in_no_training_and_targets_are_no_references(how):
    found = overfitted(1, how)
    world = found.world
    assert world.view.logits.shape[0] == TARGETS
    assert world.references.answers.logits.shape[0] == REFERENCES
    right = world.view.logits.argmax(dim=2) == world.view.labels
    inside = right[:, found.used][world.member[:, found.used]].double().mean()
    outside = right[:, found.used][~world.member[:, found.used]].double().mean()
    coins = world.member[:, found.untouched]
    fake_in = right[:, found.untouched][coins].double().mean()
    fake_out = right[:, found.untouched][~coins].double().mean()
    least, most = (0.95, 0.6) if how is BY_HEART else (0.8, 0.75)
    assert float(inside) > least > most > float(outside)
    assert abs(float(fake_in - fake_out)) < 0.06 and float(fake_in) < most
    population = torch.arange(len(right[0]))[2 * (membership_worlds.SINGLE + 50 * EACH) :]
    groups = [found.used, found.untouched, found.used_users, found.untouched_users, population]
    every = torch.cat([group.flatten() for group in groups])
    assert len(every.unique()) == len(every) == len(world.view.labels)
    users = world.member[:, found.used_users]
    assert bool((users == users[..., :1]).all())
    assert torch.equal(world.known[:, population], ~world.member[:, population])
    assert int(world.known.sum()) == int(world.known[:, population].sum())


@pytest.mark.parametrize("control", [c for c in COMPARED if c.attack == "rmia"], ids=label)
def test_population_and_candidates_that_are_out_are_of_one_law(control):
    """A non-member's rank among known non-members is uniform: mean 1/2, at the top 1 in 200."""
    ranks = ran(control, "positive").values_out
    assert abs(float(ranks.mean()) - 0.5) < 0.04
    assert float((ranks == 1.0).mean()) < 0.012

"""The peers' raw calls; where they are wrong, the flag must say so. An upstream fix shows here."""

import math

import dp_accounting.dp_event as dpe
import pytest

from privassay.accountant import events
from privassay.accountant.account import account
from privassay.accountant.peers_raw import ask_all


def ask(event, delta, adjacency="add-remove", **others):
    bound = account(event, adjacency=adjacency, **others)
    return bound.epsilon(delta), {found.peer: found for found in ask_all(bound, delta, event)}


def sampled(rate, noise, count):
    return dpe.SelfComposedDpEvent(
        dpe.PoissonSampledDpEvent(rate, dpe.GaussianDpEvent(noise)), count
    )


def test_where_they_agree():
    ours, found = ask(sampled(0.01, 0.8, 1000), 1e-5)
    assert found["dp-accounting PLD"].note == "agrees"
    assert found["prv-accountant"].note == "agrees"
    assert found["dp-accounting RDP"].note.startswith("loose by 17.7")
    for result in list(found.values())[:3]:  # Opacus comes after, where it is installed
        assert result.epsilon_lower <= ours.upper and result.epsilon_upper >= ours.lower


def test_pld_forgets_the_count_of_randomised_responses():
    event = dpe.SelfComposedDpEvent(dpe.RandomizedResponseDpEvent(2 / (1 + math.e), 2), 64)
    ours, found = ask(event, 1e-5, "replace-one")
    assert ours.lower == pytest.approx(55.7092580, abs=1e-6)
    raw = found["dp-accounting PLD"]
    assert raw.epsilon_upper == pytest.approx(0.99999, abs=1e-4)  # 64 of them, accounted as one
    assert "contradict" in raw.note


def test_prv_cuts_its_domain_for_pure_mechanisms():
    event = dpe.SelfComposedDpEvent(events.PureDpEvent(1.0), 64)
    ours, found = ask(event, 1e-5, "zero-out")
    raw = found["prv-accountant"]
    assert raw.epsilon_upper < 53.0 < ours.lower
    assert "contradict" in raw.note


def test_pld_is_loose_for_tiny_rates():
    ours, found = ask(sampled(1e-4, 2.0, 1_000_000), 1e-9)
    assert ours.upper == pytest.approx(0.2784689, abs=1e-6)
    assert found["dp-accounting PLD"].note.startswith("loose by 28")


@pytest.mark.parametrize(
    "event, adjacency, delta, peer, reason",
    [
        (dpe.LaplaceDpEvent(1.0), "add-remove", 1e-20, "dp-accounting PLD", "below its floor"),
        (events.PureDpEvent(1.0), "add-remove", 1e-5, "dp-accounting RDP", "not support|no form"),
        (events.RandomAllocationDpEvent(10, dpe.GaussianDpEvent(2.0)), "add-remove", 1e-5,
         "prv-accountant", "does not know"),
    ],
)  # fmt: skip
def test_who_cannot_be_asked_is_not(event, adjacency, delta, peer, reason):
    import re

    result = ask(event, delta, adjacency)[1][peer]
    assert re.search(f"not asked: .*({reason})", result.note), result
    assert result.epsilon_upper == math.inf


def test_groups_are_not_asked_of_those_who_know_none():
    result = ask(sampled(0.01, 2.0, 10), 1e-5, group_size=2)[1]["dp-accounting PLD"]
    assert "groups" in result.note


def test_the_central_limit_is_no_bound():
    pytest.importorskip("opacus")
    found = ask(sampled(0.01, 0.8, 1000), 1e-5)[1]["Opacus GDP (CLT approximation)"]
    assert found.epsilon_upper == pytest.approx(2.5095, abs=1e-3)  # 20 % below the truth
    assert "contradict" in found.note

"""The verdict is a pure function: every row of its table, in order, from hand-made inputs."""

from dataclasses import dataclass, replace

import dp_accounting.dp_event as dpe
import numpy as np
import pytest

from privassay.accountant.account import account
from privassay.accountant.assumption import Assumption
from privassay.accountant.claim import PrivacyClaim
from privassay.audit_reports.estimators.bound import EmpiricalBound
from privassay.audit_reports.estimators.estimate import estimate
from privassay.audit_reports.estimators.power import RefutablePower, smallest_refutable
from privassay.audit_reports.verdict import EXIT_CODES, judge, overall

CLAIM = PrivacyClaim(
    mu=0.5,
    delta=1e-5,
    adjacency="add-remove",
    unit="example",
    adversaries=("server",),
    unprotected=("counts",),
)
KEPT = Assumption(text="A holds.", how="seen", holds=True)


@dataclass(frozen=True)
class Measured:
    bound: EmpiricalBound
    power: RefutablePower
    attack: str = "informed"
    adversary: str = "server"
    optimal: bool = True


def proven(mu):
    return account(dpe.GaussianDpEvent(1.0 / mu), adjacency="add-remove")


def measured(mu, n=2000, **changes):
    generator = np.random.default_rng(3)
    bound = estimate(
        generator.normal(mu, 1.0, n), generator.normal(0.0, 1.0, n), design="many_runs", claim=CLAIM
    )
    return replace(Measured(bound, smallest_refutable(n, n, CLAIM)), **changes)


def verdict(*results, mu=0.5, assumptions=(KEPT,), releases=1, multiple=2.0, claim=CLAIM):
    return judge(
        claim,
        proven=None if mu is None else proven(mu),
        assumptions=assumptions,
        measured=results,
        releases=releases,
        power_multiple=multiple,
    )


def test_consistent_needs_proof_no_refutation_and_power():
    found = verdict(measured(0.5))
    assert found.word == "CONSISTENT", found
    assert "would have refuted" in found.sentence
    assert found.exit_code == 0


def test_no_ledger_is_invalid_whatever_else_holds():
    assert verdict(measured(0.5), releases=0).word == "INVALID"


@pytest.mark.parametrize(
    "changes",
    [{"mu": 0.6}, {"mu": None}, {"assumptions": (replace(KEPT, holds=False),)}],
    ids=["proven bound above the claim", "nothing proven", "assumption checked false"],
)
def test_unsupported(changes):
    found = verdict(measured(0.5), **changes)
    assert (found.word, found.exit_code) == ("UNSUPPORTED", 3), found


def test_unsupported_comes_first_and_lists_the_refutation_too():
    found = verdict(measured(2.0), mu=2.0)
    assert found.word == "UNSUPPORTED"
    assert len(found.reasons) == 2, found.reasons


def test_refuted_by_an_adversary_that_the_claim_covers():
    found = verdict(measured(1.5))
    assert (found.word, found.exit_code) == ("REFUTED", 3), found


def test_an_adversary_outside_the_claim_refutes_nothing_and_gives_no_power():
    found = verdict(measured(1.5, adversary="peer"))
    assert found.word == "INCONCLUSIVE"
    assert any("does not cover the peer" in c for c in found.caveats), found.caveats


def test_too_few_trials_are_inconclusive():
    found = verdict(measured(0.5, n=60))
    assert (found.word, found.exit_code) == ("INCONCLUSIVE", 4), found
    assert "too little power" in found.sentence


def test_a_weak_attack_gives_no_power():
    assert verdict(measured(0.5, optimal=False)).word == "INCONCLUSIVE"


def test_no_attack_at_all_is_inconclusive():
    assert verdict().word == "INCONCLUSIVE"


def test_point_claims_are_judged_at_their_point():
    point = PrivacyClaim(epsilon=2.0, delta=1e-5, adjacency="add-remove", unit="example")
    assert point.is_proven_by(proven(0.5)) and not point.is_proven_by(proven(0.6))


def test_unchecked_assumptions_are_caveats():
    found = verdict(measured(0.5), assumptions=(replace(KEPT, holds=None),))
    assert found.word == "CONSISTENT" and "A holds." in found.caveats[0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([("a", "CONSISTENT", None), ("b", "REFUTED", "REFUTED")], "CONSISTENT"),
        ([("a", "CONSISTENT", None), ("b", "REFUTED", None)], "REFUTED"),
        ([("a", "REFUTED", None), ("b", "UNSUPPORTED", None)], "UNSUPPORTED"),
        ([("a", "CONSISTENT", None), ("b", "CONSISTENT", "REFUTED")], "INVALID"),
        ([("b", "REFUTED", "REFUTED")], "INVALID"),
        ([("a", "INCONCLUSIVE", None), ("b", "CONSISTENT", None)], "INCONCLUSIVE"),
    ],
)
def test_the_run_is_as_good_as_its_worst_subject_and_its_controls(words, expected):
    found = overall(words)
    assert found.word == expected and found.exit_code == EXIT_CODES[expected]

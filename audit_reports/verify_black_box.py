"""`verify` for records without an audit file: black-box audits and audits of one training run."""

import math
import re
from typing import TYPE_CHECKING, Any

from ..accountant.account import account
from ..accountant.errors import RecordError
from ..accountant.event_json import from_dict
from ..accountant.gaussian import epsilon_interval
from .blackbox_record import LIMITS, assumptions_of, nothing_proven
from .estimators.bound import EmpiricalBound
from .estimators.clopper_pearson import risk
from .estimators.e_process import EProcess
from .estimators.estimate import claim_delta
from .estimators.guess_bound import GuessBound
from .estimators.guess_count import one_run_epsilon
from .estimators.one_run_fdp import one_run_fdp_epsilon, one_run_mu
from .estimators.one_run_power import e_process_power, one_run_power
from .estimators.power import RefutablePower, smallest_refutable
from .one_run_result import assumptions_about
from .verdict import judge_black_box
from .verify_bound import check_auc, check_bound
from .verify_checks import close, near, same, same_list

if TYPE_CHECKING:
    from .record import AuditRecord
    from .results import AttackResult, MechanismResult

MAKERS = ("audit_mechanism", "OneRunAudit")
UNCHECKED = (
    "that counts came from the mechanism or training that is named",
    "hazards, titles, descriptions, parameters and questions; whether assumptions hold that are "
    "the caller's word",
    "the control, the salt and the coins of a one-run audit, which are kept elsewhere",
    "scores_sha256, since scores are not kept; environment: where and when it ran",
)


def check_row(record: "AuditRecord", row: "MechanismResult") -> None:
    """Recompute the bounds, the power and the verdict of one row.

    What cannot be computed again from counts: how far an e-process had been before its end, since
    that depends on the order of the guesses; its evidence at the end is.

    Raises:
        RecordError: something does not fit.
    """
    claim = record.claim
    unknown = row.event.get("class") == "UnsupportedDpEvent"
    proven = (
        nothing_proven(claim)
        if unknown
        else account(from_dict(row.event), adjacency=claim.adjacency, unit=claim.unit)
    )
    close(f"{row.name}: proven mu", row.proven.mu, proven.mu)
    close(
        f"{row.name}: proven epsilon",
        row.proven_epsilon,
        proven.epsilon(claim_delta(claim)),
    )
    for what in ("adjacency", "unit", "group_size", "method"):
        same(f"{row.name}: proven {what}", getattr(row.proven, what), getattr(proven, what))
    for epsilon, largest in row.profile:
        near(f"{row.name}: delta({epsilon:g})", largest, proven.delta(epsilon).upper)
    claimed = claim.gaussian_mu() if claim.is_curve else None
    same("claimed mu", record.claimed_mu, claimed)
    if len(row.attacks) != 1 or row.attacks[0].bound.confidence < record.confidence:
        raise RecordError(
            f"{row.name}: one attack may spend the allowed error, and no more than it"
        )
    _check_resolved(record)
    _check_share(record, row.attacks[0])
    for attack in row.attacks:
        name = f"{row.name}/{attack.attack}"
        share = 1.0 - attack.bound.confidence
        allowed = (1.0 - record.confidence) * attack.error_share
        near(f"{name}: allowed error", share, allowed)
        same(f"{name}: optimal", attack.optimal, False)  # it is learnt, or the caller's own
        same(f"{name}: mu of the worlds", attack.attainable_mu, None)
        same(f"{name}: seed", attack.seed, record.seed)
        if isinstance(attack.bound, EmpiricalBound):
            check_bound(name, attack.bound)
            check_auc(name, attack.bound, attack.auc)
        else:
            _check_guesses(name, attack.bound)
            if not 0.0 <= attack.auc <= 1.0:
                raise RecordError(f"{name}: an area of {attack.auc!r} lies outside [0, 1]")
        _check_power(name, record, attack)
    again = judge_black_box(
        claim,
        proven=None if unknown else proven,
        assumptions=row.assumptions,
        measured=row.attacks,
        power_multiple=record.power_multiple,
        control=_control(record),
    )
    same(f"{row.name}: verdict", row.verdict, again)
    same("the overall verdict", record.verdict, again)


def check_words(record: "AuditRecord") -> None:
    """Limits and assumptions are sentences that follow from how the audit was made.

    Raises:
        RecordError: they are others.
    """
    same_list("the limits", record.limits, LIMITS)
    for row in record.mechanisms:
        if record.resolved["made_by"] == "OneRunAudit":
            wanted = assumptions_about(str(record.resolved.get("coins_sha256")))
        else:
            unknown = row.event.get("class") == "UnsupportedDpEvent"
            wanted = assumptions_of(None if unknown else from_dict(row.event))
        if row.assumptions != wanted:
            raise RecordError(
                f"{row.name}: the assumptions are not those of such an audit: "
                f"{[a.text for a in wanted]}, as it gives them"
            )


_DIGEST, _SALT = r"[0-9a-f]{64}", r"[0-9a-f]{32}"


def _check_resolved(record: "AuditRecord") -> None:
    """That what a one-run audit says about itself is of the kind that it writes."""
    if record.resolved["made_by"] != "OneRunAudit":
        return
    for key, pattern in (("coins_sha256", _DIGEST), ("salt", _SALT), ("control_sha256", _DIGEST)):
        value = record.resolved.get(key)
        missing = value is None and key == "control_sha256"
        if not missing and not (isinstance(value, str) and re.fullmatch(pattern, value)):
            raise RecordError(f"{key} must be hexadecimal digits, {pattern}, but is {value!r}")
    for key in ("share_of_the_error", "share_spent_before"):
        value = record.resolved.get(key, 0.0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RecordError(f"{key} must be a number, but is {value!r}")


def _control(record: "AuditRecord") -> bool | None:
    """Black boxes need no control; a one-run audit names the digest of its own."""
    if record.resolved["made_by"] != "OneRunAudit":
        return False
    return True if record.resolved.get("control_sha256") else None


def _check_share(record: "AuditRecord", attack: "AttackResult") -> None:
    """That a one-run audit spent no more than its kit had left, as far as the record says."""
    given = record.resolved.get("share_of_the_error", attack.error_share)
    before = record.resolved.get("share_spent_before", 0.0)  # not in older records
    if given != attack.error_share or before < 0.0 or before + given > 1.0 + 1e-12:
        raise RecordError(
            f"the attack spends {attack.error_share:g} of the allowed error, but the record says "
            f"{given:g}, after {before:g} was spent on the same coins"
        )


def _check_guesses(name: str, bound: GuessBound) -> None:
    counts: dict[str, Any] = {
        "canaries": bound.canaries,
        "guesses": bound.guesses,
        "correct": bound.correct,
        "alpha": risk(bound.confidence),
    }
    if bound.method == "one_run_fdp" and bound.guesses:
        near(f"{name}: mu", bound.mu_lower or 0.0, one_run_mu(**counts))
        epsilon = one_run_fdp_epsilon(delta=bound.delta, **counts)
        near(f"{name}: epsilon", bound.epsilon_lower, epsilon)
    elif bound.method == "guess_count" and bound.guesses and bound.k_in is not None:
        epsilon = one_run_epsilon(delta=bound.delta, **counts)
        near(f"{name}: epsilon", bound.epsilon_lower, epsilon)
        same(f"{name}: mu", bound.mu_lower, None)
    elif bound.method == "e_process":
        # the best that any order of these guesses shows: all right ones first
        best = EProcess(delta=bound.delta, confidence=bound.confidence)
        best.add(right=bound.correct)
        if (bound.mu_lower or 0.0) > best.mu_lower or bound.epsilon_lower > best.epsilon_lower:
            raise RecordError(f"{name}: the bound is above what {bound.correct} right guesses show")
    elif bound.guesses:
        raise RecordError(f"{name}: no estimator is called {bound.method!r}")
    elif bound.epsilon_lower or bound.mu_lower:
        raise RecordError(f"{name}: a bound without guesses")
    if bound.mu_lower is not None:
        converted = epsilon_interval(bound.delta, mu=bound.mu_lower)[0] if bound.mu_lower else 0.0
        near(
            f"{name}: epsilon by the Gaussian curve", bound.epsilon_lower_gaussian or 0.0, converted
        )


def _check_power(name: str, record: "AuditRecord", attack: "AttackResult") -> None:
    bound, claim, confidence = attack.bound, record.claim, attack.bound.confidence
    again: RefutablePower
    if isinstance(bound, EmpiricalBound):
        again = smallest_refutable(bound.n_in, bound.n_out, claim, confidence=confidence)
    elif bound.method == "e_process":
        most = record.resolved.get("most_guesses")
        if not isinstance(most, int) or most < bound.guesses:
            raise RecordError(f"{name}: the record does not say how many guesses were planned")
        again = e_process_power(most, claim, confidence=confidence)
    else:
        again = one_run_power(attack.trials, claim, confidence=confidence, method=bound.method)
    for what in ("mu", "multiple", "epsilon", "delta", "probability"):
        found, wanted = getattr(attack.power, what), getattr(again, what)
        if found == wanted:
            continue
        if found is None or wanted is None or not math.isclose(found, wanted, rel_tol=0.01):
            raise RecordError(
                f"{name}: power: the record says {what} {found}, recomputing gives {wanted}"
            )

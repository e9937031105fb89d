"""What the numbers of a record say, in words. No statistics here: all limits are in the record."""

import json
import math
from functools import lru_cache

import numpy as np

from ...accountant import gaussian
from ...accountant.account import account
from ...accountant.adjacency import Adjacency, Unit
from ...accountant.bounds import ProvenBound
from ...accountant.event_json import from_dict
from ..estimators.bound import EmpiricalBound
from ..estimators.estimate import claim_delta
from ..estimators.tradeoff import TradeOff
from ..record import AuditRecord
from ..results import AttackResult, MechanismResult
from ..text import at_least, at_most


def plain(text: str, limit: int = 60) -> str:
    """`text` on one line, printable characters only, at most `limit` of them."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def delta_of(record: AuditRecord) -> float:
    """The delta at which this record states epsilon."""
    return claim_delta(record.claim)


def claimed_epsilon(record: AuditRecord) -> float:
    """The claim's epsilon at `delta_of`, nats."""
    if record.claim.epsilon is not None:
        return record.claim.epsilon
    delta = delta_of(record)
    if delta == 0.0:
        return math.inf
    if record.claim.mu is not None:
        return gaussian.epsilon_interval(delta, mu=record.claim.mu)[1]
    if record.claim.event is not None:
        return record.claim.proven().epsilon(delta).upper
    curve = TradeOff.of_claim(record.claim)
    known = np.maximum(curve.delta_remove, curve.delta_add) <= delta
    return float(curve.epsilon[known].min()) if known.any() else math.inf


def measured(record: AuditRecord, attack: AttackResult) -> float:
    """The lower bound on epsilon that is held against the claim, nats.

    Of a curve claim the one by the Gaussian curve; of a point claim the one that assumes no curve.
    """
    bound = attack.bound
    if record.claim.is_curve and bound.epsilon_lower_gaussian is not None:
        return bound.epsilon_lower_gaussian
    return bound.epsilon_lower


def inside(record: AuditRecord, attack: AttackResult) -> bool:
    """Whether the claim covers this attack's adversary."""
    return attack.adversary in record.claim.adversaries


def strongest(record: AuditRecord, mechanism: MechanismResult) -> AttackResult | None:
    """The attack by a covered adversary with the largest measured bound; they share one error."""
    covered = [a for a in mechanism.attacks if inside(record, a)]
    return max(covered, key=lambda a: measured(record, a), default=None)


def best_power(record: AuditRecord) -> AttackResult | None:
    """Of each subject the optimal attack by a covered adversary; of these the weakest."""
    best = []
    for row in subjects(record):
        # of a black box the power is that of an attack as good as any, as its verdict says
        known = row.ledger_sha256 == ""
        able = [a for a in row.attacks if (a.optimal or known) and inside(record, a)]
        if not able:
            return None
        best.append(min(able, key=lambda a: a.power.mu))
    return max(best, key=lambda a: a.power.mu, default=None)


def trials_text(attack: AttackResult) -> str:
    """How many trials with and without the record, or how many coins."""
    bound = attack.bound
    if isinstance(bound, EmpiricalBound):
        return f"{bound.n_in} + {bound.n_out}"
    return f"{bound.canaries} coins, {bound.guesses} guessed"


@lru_cache(maxsize=64)
def _accounted(text: str, adjacency: Adjacency, unit: Unit) -> ProvenBound:
    return account(from_dict(json.loads(text)), adjacency=adjacency, unit=unit)


def proven_bound(mechanism: MechanismResult) -> ProvenBound:
    """The whole proven curve; a record keeps mu only, which says all about Gaussians alone."""
    kept = mechanism.proven
    if kept.method in ("gaussian", "none"):
        return kept
    return _accounted(json.dumps(mechanism.event, sort_keys=True), kept.adjacency, kept.unit)


def by(attack: AttackResult) -> str:
    """Attack and adversary, as in "informed_linear (server)"."""
    return f"{plain(attack.attack, 30)} ({plain(attack.adversary, 12)})"


def subjects(record: AuditRecord) -> list[MechanismResult]:
    """The audited mechanisms that are no controls."""
    return [m for m in record.mechanisms if m.expect is None]


def controls(record: AuditRecord) -> list[MechanismResult]:
    """The mechanisms whose verdict was known beforehand."""
    return [m for m in record.mechanisms if m.expect is not None]


def role(mechanism: MechanismResult) -> str:
    """Subject or control, and whether a control behaved."""
    if mechanism.expect is None:
        return "subject"
    if mechanism.verdict.word == mechanism.expect:
        return "control, as expected"
    return f"control, NOT as expected ({mechanism.expect})"


def controls_line(record: AuditRecord, *, short: bool = False) -> str:
    """How the controls came out; `short` leaves out the words of those that behaved."""
    rows = controls(record)
    if not rows:
        return "none: nothing shows that this audit would notice a broken mechanism"
    failed = [m for m in rows if m.verdict.word != m.expect]
    if failed:
        named = ", ".join(
            f"{plain(m.name, 30)} is {m.verdict.word}, not {m.expect}" for m in failed
        )
        return f"{len(failed)} of {len(rows)} NOT as expected: {named}"
    named = ", ".join(plain(m.name, 30) + ("" if short else f" {m.verdict.word}") for m in rows)
    return f"{len(rows)} of {len(rows)} as expected: {named}"


def proven_line(record: AuditRecord) -> str:
    """The largest proven epsilon of the subjects."""
    rows = subjects(record)
    if not rows:
        return "no subject"
    upper = max(m.proven_epsilon.upper for m in rows)
    if math.isinf(upper):
        named = ", ".join(plain(m.name, 30) for m in rows if math.isinf(m.proven_epsilon.upper))
        return f"epsilon <= inf: nothing is proven for {named}"
    named = ", ".join(plain(m.name, 30) for m in rows)
    return f"epsilon <= {at_most(upper)} at delta {delta_of(record):g} ({named})"


def measured_line(record: AuditRecord, *, full: bool = False) -> str:
    """The largest measured epsilon of the subjects, and what could have been found.

    `full` gives whole sentences, for where there is room.
    """
    found = [(m, a) for m in subjects(record) if (a := strongest(record, m)) is not None]
    if not found:
        return "no attack on a subject by an adversary that the claim covers"
    mechanism, attack = max(found, key=lambda pair: measured(record, pair[1]))
    value = at_least(measured(record, attack))
    if record.claim.is_curve:
        shown, after = (
            f"mu >= {at_least(attack.bound.mu_lower or 0.0)}",
            f" (epsilon {value} if Gaussian)",
        )
    else:
        shown, after = f"epsilon >= {value}", ""
    line = f"{plain(mechanism.name, 24)}: {shown} at {100 * record.confidence:g} %{after}"
    able = best_power(record)
    if able is None:
        return f"{line}; power unknown"
    if full:
        return (
            f"{line}. The audit would have found epsilon >= {at_most(able.power.epsilon)} with "
            f"probability {able.power.probability:g}."
        )
    return f"{line}; power {able.power.probability:g} from epsilon {at_most(able.power.epsilon)}"

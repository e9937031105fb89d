"""What the numbers of a record say, in words. No statistics here: all limits are in the record."""

import json
import math
from collections.abc import Sequence
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
from ..results import AttackResult, InversionRow, MechanismResult, UtilityRow
from ..text import at_least, at_most

METRICS = {
    "head": "own model (head) accuracy",
    "prototype": "nearest-prototype accuracy",
}
SMALL_GAP = 3.0  # dB, half the squared error; one pair has no interval, so less is not read


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


# Utility.


def mean_row(record: AuditRecord, variant: str, metric: str) -> UtilityRow | None:
    """The mean over clients of one variant."""
    for row in record.utility:
        if (row.variant, row.client, row.metric) == (variant, "mean", metric):
            return row
    return None


def variants(record: AuditRecord, *, equal_budget: bool) -> list[str]:
    """Names in the first or second group of the leaderboard, the best head accuracy first."""
    names = dict.fromkeys(r.variant for r in record.utility if r.equal_budget == equal_budget)

    def height(name: str) -> float:
        row = mean_row(record, name, "head")
        return math.inf if row is None else -row.mean

    return sorted(names, key=height)


def accuracy(row: UtilityRow) -> str:
    """Mean and interval, the interval rounded outwards."""
    return f"{row.mean:.3f} [{_padded(at_least(row.lower, 3))}, {_padded(at_most(row.upper, 3))}]"


def _padded(number: str) -> str:
    """At least three decimals, so that a column lines up."""
    return f"{number:0<5}" if "." in number and "e" not in number else number


def overlap(a: UtilityRow, b: UtilityRow) -> bool:
    """Whether the two intervals have a point in common."""
    return a.lower <= b.upper and b.lower <= a.upper


def against(row: UtilityRow, other: UtilityRow) -> str:
    """Where `row` lies relative to `other`, by the intervals."""
    if overlap(row, other):
        return "not distinguishable from"
    return "above" if row.lower > other.upper else "below"


def utility_readings(record: AuditRecord) -> list[str]:
    """The honest reading of the leaderboard, a sentence each; mean over clients."""
    found = []
    equal = variants(record, equal_budget=True)
    for metric, words in METRICS.items():
        rows = [r for name in equal if (r := mean_row(record, name, metric)) is not None]
        if len(rows) >= 2:
            found.append(f"{words.capitalize()} at equal budget: {_ranking(rows)}")
    if not equal:
        found.append("No mechanism is at the claimed budget, so there is no comparison.")
    for baseline, metric, meaning in (
        ("local-only", "head", "no exchange of prototypes at all"),
        ("random-prototypes", "head", "prototypes that carry no information"),
        ("random-prototypes", "prototype", "chance level"),
    ):
        base = mean_row(record, baseline, metric)
        rows = [r for name in equal if (r := mean_row(record, name, metric)) is not None]
        if base is not None and rows:
            found.append(_versus(rows, base, f"{baseline} ({meaning})", METRICS[metric]))
    return found


def _ranking(rows: Sequence[UtilityRow]) -> str:
    ordered = sorted(rows, key=lambda r: -r.mean)
    listed = ", ".join(f"{plain(r.variant, 30)} {accuracy(r)}" for r in ordered)
    best, *rest = ordered
    tied = [plain(r.variant, 30) for r in rest if overlap(best, r)]
    if tied:
        names = ", ".join([plain(best.variant, 30), *tied])
        return f"{listed}. The intervals of {names} overlap: no order between them is shown."
    return f"{listed}. {plain(best.variant, 30)} is ahead: its interval overlaps no other."


def _versus(rows: Sequence[UtilityRow], base: UtilityRow, name: str, words: str) -> str:
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(against(row, base), []).append(plain(row.variant, 30))
    parts = []
    for relation in ("above", "not distinguishable from", "below"):
        if relation in groups:
            verb = "is" if len(groups[relation]) == 1 else "are"
            parts.append(f"{', '.join(groups[relation])} {verb} {relation}")
    said = "; ".join(parts)
    tail = "" if "above" in groups else " No private mechanism beats it."
    return f"{words.capitalize()}: {said} {name} at {accuracy(base)}.{tail}"


# Inversion.


def leakage(row: InversionRow) -> str:
    """The gap to the control in words."""
    gap = row.psnr - row.control_psnr
    if not gap > 0:
        return "no more than the control: class-typical, no leakage shown"
    if gap < SMALL_GAP:
        return (
            f"{at_least(gap, 2)} dB more than the control: below {SMALL_GAP:g} dB, too little for "
            "one pair of pictures; no leakage shown"
        )
    return f"{at_least(gap, 2)} dB more than the control: leakage"


def leaks(row: InversionRow) -> bool:
    """Whether the gap is large enough to be read."""
    return row.psnr - row.control_psnr >= SMALL_GAP


def inversion_readings(record: AuditRecord) -> list[str]:
    """What the cases show together: did the attack work at all, and how large is chance?"""
    found = []
    able = {r.label: leaks(r) for r in record.inversion if "positive control" in r.case}
    works = [plain(label, 20) for label, leaked in able.items() if leaked]
    fails = [plain(label, 20) for label, leaked in able.items() if not leaked]
    if works:
        found.append(
            f"The positive control leaks for class {', '.join(works)}: the attack works there."
        )
    if fails:
        found.append(
            f"The positive control does not leak for class {', '.join(fails)}: the attack has no "
            "power there, and finding nothing in the other cases of that class shows nothing."
        )
    behind = max((r.control_psnr - r.psnr for r in record.inversion), default=0.0)
    if behind > 0.0:
        found.append(
            f"In this record the control comes closer by up to {at_most(behind, 2)} dB: "
            "differences of that size arise by chance."
        )
    return found

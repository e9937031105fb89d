"""Sections 0 to 4 of the report: verdict, claim, mechanisms, proof and threat models."""

import json

from ...accountant.claim import NOT_STATED
from ...attacks.adversary import ADVERSARIES
from ..record import AuditRecord
from ..results import AttackResult, MechanismResult
from ..text import at_least, at_most
from ..verdict import Word
from .blocks import Block, Cell, Code, Facts, Group, Section, Table, Tag, Text, VerdictBox
from .reading import (
    by,
    claimed_epsilon,
    controls_line,
    delta_of,
    measured,
    measured_line,
    proven_bound,
    proven_line,
    role,
    strongest,
    subjects,
)

WORD_KINDS: dict[Word, str] = {
    "INVALID": "invalid",
    "UNSUPPORTED": "unsupported",
    "REFUTED": "refuted",
    "INCONCLUSIVE": "inconclusive",
    "CONSISTENT": "consistent",
}
_WORLDS = {
    "add-remove": "was present or absent",
    "replace-one": "was this one or any other",
    "zero-out": "contributed or was replaced by zeros",
}


def word(verdict_word: Word) -> Tag:
    """The verdict word in its colour."""
    return Tag(verdict_word, WORD_KINDS[verdict_word])


def verdict(record: AuditRecord) -> Section:
    """Section 0."""
    caveats = list(record.verdict.caveats)
    for row in subjects(record):
        caveats += [c for c in row.verdict.caveats if c not in caveats]
    box = VerdictBox(
        word=word(record.verdict.word),
        sentence=record.verdict.sentence,
        lines=(
            ("Claim", record.claim.text()),
            ("Proven", proven_line(record)),
            ("Measured", measured_line(record, full=True)),
            ("Controls", controls_line(record)),
        ),
        caveats=tuple(caveats[:3]),
    )
    rows = tuple(_verdict_row(record, m) for m in record.mechanisms)
    blocks: list[Block] = [box]
    if rows:
        blocks += [
            Table(
                caption=f"Each mechanism at delta = {delta_of(record):g}, in nats. Attacks on one "
                "mechanism share one error: together they hold at confidence "
                f"{record.confidence:g}, for each mechanism by itself."
                + (
                    " Measured epsilons are the measured mu read off the Gaussian curve; section 6 "
                    "has those that assume no curve."
                    if record.claim.is_curve
                    else ""
                ),
                header=(
                    "mechanism",
                    "role",
                    "verdict",
                    "exit code",
                    "proven epsilon at most",
                    "measured epsilon at least",
                    "by",
                ),
                rows=rows,
                numeric=(3, 4, 5),
            ),
            Facts(tuple((m.name, m.verdict.sentence) for m in record.mechanisms)),
        ]
    return Section("verdict", "Verdict", tuple(blocks))


def _verdict_row(record: AuditRecord, mechanism: MechanismResult) -> tuple[Cell, ...]:
    best = strongest(record, mechanism)
    return (
        mechanism.name,
        role(mechanism),
        word(mechanism.verdict.word),
        str(mechanism.verdict.exit_code),
        at_most(mechanism.proven_epsilon.upper),
        "none inside the claim" if best is None else at_least(measured(record, best)),
        "" if best is None else by(best),
    )


def claim(record: AuditRecord) -> Section:
    """Section 1."""
    asserted = record.claim
    who = " or ".join(asserted.adversaries)
    words = (
        f"Whoever takes the part of the {who} can tell from what is released whether one "
        f"{asserted.unit} {_WORLDS[asserted.adjacency]} no better than "
    )
    if asserted.is_curve:
        mu = asserted.gaussian_mu().upper
        words += f"two unit normals whose means are {at_most(mu)} apart can be told apart."
    elif asserted.epsilon is not None:
        words += f"epsilon = {asserted.epsilon:g} and delta = {asserted.delta:g} allow."
    else:
        words += f"the curve of {asserted.text().split(',')[0]} allows."
    stated = "not stated" if asserted.delta is None else f"{asserted.delta:g}"
    facts = (
        ("in words", words),
        ("in symbols", asserted.text()),
        ("epsilon", f"{at_most(claimed_epsilon(record))} nats at delta {delta_of(record):g}"),
        ("delta", stated),
        ("adjacency", asserted.adjacency),
        ("unit", asserted.unit),
        ("cap on one unit", "one record" if asserted.unit == "example" else NOT_STATED),
        ("holds against", ", ".join(asserted.adversaries)),
        ("releases and accesses covered", asserted.covers or NOT_STATED),
        ("treated as public", "; ".join(asserted.unprotected) or NOT_STATED),
        ("source of the claim", asserted.source or NOT_STATED),
        ("confidence of the audit", f"{record.confidence:g}, all attacks on a mechanism together"),
        (
            "power asked for",
            "CONSISTENT needs an attack that would have refuted a mechanism with "
            f"{record.power_multiple:g} times the claimed leakage",
        ),
    )
    return Section("claim", "Claim", (Facts(facts),))


def mechanisms(record: AuditRecord) -> Section:
    """Section 2."""
    table = Table(
        caption="Parameters are public. The event is what everything in the ledger costs together.",
        header=("mechanism", "kind", "role", "description", "releases", "assumptions"),
        rows=tuple(
            (
                m.name,
                m.kind,
                role(m),
                m.description or NOT_STATED,
                str(m.releases),
                _assumed([a.holds for a in m.assumptions]),
            )
            for m in record.mechanisms
        ),
        numeric=(4,),
    )
    return Section("mechanisms", "Mechanisms", (table, *map(_mechanism, record.mechanisms)))


def _mechanism(row: MechanismResult) -> Group:
    clipped = ", ".join(f"{share:.1%}" for share in row.clipped) or NOT_STATED
    return Group(
        f"{row.name}: parameters, assumptions, accounted event",
        (
            Table(
                caption="Parameters",
                header=("parameter", "value"),
                rows=(
                    *((key, _parameter(value)) for key, value in sorted(row.parameters.items())),
                    ("records shortened by the clip", f"{clipped} (a diagnostic, not released)"),
                    ("SHA-256 of the ledger", row.ledger_sha256),
                ),
            ),
            Table(
                caption="Assumptions of the proof",
                header=("assumption", "status", "how it is checked"),
                rows=tuple((a.text, _holds(a.holds), a.how) for a in row.assumptions),
            ),
            Code(
                "Accounted event",
                json.dumps(row.event, indent=1, sort_keys=True, ensure_ascii=False),
            ),
        ),
    )


def _assumed(outcomes: list[bool | None]) -> str:
    words = [
        (outcomes.count(True), "hold"),
        (outcomes.count(False), "DO NOT HOLD"),
        (outcomes.count(None), "not checked"),
    ]
    return ", ".join(f"{count} {text}" for count, text in words if count) or "none stated"


def _parameter(value: float | int | str | list[float]) -> str:
    if isinstance(value, list):
        return ", ".join(f"{v:.6g}" for v in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _holds(holds: bool | None) -> Tag:
    if holds is None:
        return Tag("not checked", "open")
    return Tag("checked, holds", "ok") if holds else Tag("checked, DOES NOT HOLD", "failed")


def proven(record: AuditRecord) -> Section:
    """Section 3."""
    delta = delta_of(record)
    rows = tuple(
        (
            m.name,
            _enclosure(m.proven.mu.lower, m.proven.mu.upper),
            _enclosure(m.proven_epsilon.lower, m.proven_epsilon.upper),
            at_most(proven_bound(m).advantage().upper),
            f"{m.proven.adjacency}, {m.proven.group_size} {m.proven.unit}",
            m.proven.method,
        )
        for m in record.mechanisms
    )
    epsilons = list(dict.fromkeys(e for m in record.mechanisms for e, _ in m.profile))
    profile = tuple(
        (f"{epsilon:g}", *(_delta_at(m, epsilon) for m in record.mechanisms))
        for epsilon in epsilons
    )
    blocks: list[Block] = [
        Text(
            "Upper bounds by accounting, independent of any attack: the smallest mu that holds is "
            "enclosed from both sides, and the upper end is the guarantee."
        ),
        Table(
            caption=f"Proven bounds, adding up all releases; epsilon in nats at delta = {delta:g}.",
            header=(
                "mechanism",
                "mu (no unit)",
                "epsilon (nats)",
                "advantage TPR - FPR at most",
                "terms",
                "method",
            ),
            rows=rows,
            numeric=(1, 2, 3),
        ),
    ]
    if profile:
        blocks.append(
            Table(
                caption="Privacy profile: delta at most, for each epsilon (nats)",
                header=("epsilon", *(m.name for m in record.mechanisms)),
                rows=profile,
                numeric=tuple(range(len(record.mechanisms) + 1)),
                folded=True,
            )
        )
    return Section("proven", "Proven bound", tuple(blocks))


def _enclosure(lower: float, upper: float) -> str:
    if lower == upper:
        return at_most(upper, 7)
    return f"{at_least(lower, 7)} to {at_most(upper, 7)}"


def _delta_at(mechanism: MechanismResult, epsilon: float) -> str:
    found = [delta for e, delta in mechanism.profile if e == epsilon]
    return at_most(found[0]) if found else "not computed"


def threats(record: AuditRecord) -> Section:
    """Section 4."""
    seen: dict[str, AttackResult] = {}
    for row in record.mechanisms:
        for attack in row.attacks:
            seen.setdefault(attack.adversary, attack)
    by_caller = "made_by" in record.resolved  # no federation: what is seen is the caller's choice
    names = list(seen) if by_caller else list(dict.fromkeys([*record.claim.adversaries, *seen]))
    rows = []
    for name in names:
        known = ADVERSARIES.get(name)
        tried = sorted(
            {a.attack for m in record.mechanisms for a in m.attacks if a.adversary == name}
        )
        rows.append(
            (
                name,
                seen[name].sees if name in seen else (known.sees if known else NOT_STATED),
                *(
                    ("how the mechanism works, and both data sets", "only look")
                    if by_caller
                    else (known.knows, known.may)
                    if known
                    else (NOT_STATED, NOT_STATED)
                ),
                "inside" if name in record.claim.adversaries else "OUTSIDE: refutes nothing",
                ", ".join(tried) or "none: not tested",
            )
        )
    table = Table(
        caption="Who attacks. Leakage to someone whom the claim does not cover refutes nothing.",
        header=("adversary", "sees", "knows", "may", "claim", "attacks made"),
        rows=tuple(rows),
    )
    return Section("threats", "Threat models", (table,))

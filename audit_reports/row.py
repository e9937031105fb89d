"""One row of an audit: release under a ledger, account, attack, judge."""

import hashlib
from pathlib import Path
from typing import Any

from ..accountant.account import account
from ..accountant.bounds import Interval
from ..accountant.claim import PrivacyClaim
from ..accountant.event_json import to_dict
from ..accountant.gaussian import mu_interval
from ..accountant.ledger import Ledger
from ..fl_core import simulate
from ..fl_core.config import AuditFile, MechanismSection
from ..fl_core.models.backbone import NAMES
from ..fl_core.task import Task
from ..fl_core.transcript import Transcript
from ..mechanisms import catalog
from ..mechanisms.base import Mechanism, SeededKey
from ..mechanisms.prototypes import PrototypeDesign
from . import membership
from .declared import design
from .reporter import Reporter
from .results import PROFILE, AttackResult, EqualPowerRow, MechanismResult
from .run_assumptions import LABELS, encoder
from .stages import Stages
from .verdict import judge


def audit_mechanism(
    audit: AuditFile,
    task: Task,
    section: MechanismSection,
    mechanism: Mechanism,
    claim: PrivacyClaim,
    folder: Path,
    inputs: str,
    stages: Stages,
    key: SeededKey,
    reporter: Reporter,
) -> tuple[MechanismResult, Transcript]:
    """Everything about one mechanism of the file, and what left in its run.

    Args:
        audit: the audit file.
        task: the records.
        section: of this mechanism.
        mechanism: built from it.
        claim: what is to be judged.
        folder: of the run; its ledger and its transcript go below.
        inputs: hash of everything that determines the run.
        stages: results of earlier attempts.
        key: root of all noise; the mechanism's name is added to it.
        reporter: told what happens.
    """
    name, own = section.name, key.child(section.name)
    file = folder / "ledger" / f"{name}.jsonl"
    with Ledger(adjacency=claim.adjacency, unit=claim.unit, path=file) as ledger:
        transcript = simulate.release(
            task,
            mechanism,
            audit,
            key=own.child("run"),
            ledger=ledger,
            folder=folder / "transcripts" / name,
            name=inputs,
        )
        event, releases = ledger.event(), len(ledger.entries)
    proven = account(event, adjacency=claim.adjacency, unit=claim.unit)
    attacks: list[AttackResult] = []
    for attack, error in zip(audit.attack, membership.allowed_errors(audit), strict=True):
        confidence = 1.0 - error

        def compute(attack: Any = attack, confidence: float = confidence) -> AttackResult:
            return membership.measure(
                task,
                mechanism,
                audit,
                attack,
                claim,
                key=own.child("trials", attack.name, attack.adversary),
                confidence=confidence,
                proven_mu=proven.mu.upper,
                progress=reporter.bar(f"{name}: {attack.name} by the {attack.adversary}"),
            )

        stage = f"{name}-{attack.name}-{attack.adversary}"
        attacks.append(stages.json(stage, AttackResult, compute))
    assumptions = (encoder(_encoder_holds(task)), LABELS, *mechanism.assumptions())
    delta = 1e-5 if claim.delta is None else claim.delta
    result = MechanismResult(
        name=name,
        kind=section.kind,
        description=section.description,
        expect=section.expect,
        parameters=_parameters(mechanism, audit),
        event=to_dict(event),
        assumptions=assumptions,
        proven=proven,
        proven_epsilon=proven.epsilon(delta) if delta > 0 else proven.epsilon(0.0),
        profile=tuple((e, proven.delta(e).upper) for e in PROFILE),
        releases=releases,
        ledger_sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        clipped=_clipped(task, mechanism),
        attacks=tuple(attacks),
        verdict=judge(
            claim,
            proven=proven,
            assumptions=assumptions,
            measured=attacks,
            releases=releases,
            power_multiple=audit.gate.power_multiple,
        ),
    )
    return result, transcript


def equal_power(audit: AuditFile, task: Task) -> tuple[EqualPowerRow, ...]:
    """Exact epsilon of groupwise noise with a global clip, where isotropic noise has 1, 2 and 8."""
    claim = audit.claim.claim()
    delta = claim.delta or 1e-5
    rows = []
    for section in audit.mechanism:
        if section.kind != "groupwise_global_clip":
            continue
        for epsilon in (1.0, 2.0, 8.0):
            base = design(audit, section, task.group_sizes, task.public_group_norms)
            changed = PrototypeDesign(
                **{**base.__dict__, "mu": mu_interval(epsilon, delta)[0], "rounds": 1}
            )
            event = catalog.build(section.kind, changed).event()
            bound = account(event, adjacency=claim.adjacency, unit=claim.unit)
            rows.append(
                EqualPowerRow(
                    quiet_fraction=base.group_sizes[0] / sum(base.group_sizes),
                    noise_ratio=base.noise_ratio,
                    isotropic_epsilon=epsilon,
                    epsilon=Interval(bound.epsilon(delta).lower, bound.epsilon(delta).upper),
                    delta=delta,
                )
            )
    return tuple(rows)


def _encoder_holds(task: Task) -> bool | None:
    if task.backbone.fingerprint() != task.encoder_fingerprint:
        return False
    return True if task.backbone.name in NAMES else None


def _parameters(mechanism: Mechanism, audit: AuditFile) -> dict[str, Any]:
    return {
        "dimensions": mechanism.dimension,
        "group_sizes": list(map(float, mechanism.group_sizes)),
        "declared noise_stddevs (prototype units)": list(mechanism.noise_stddevs),
        "declared noise power (sum of variances)": sum(
            d * s * s for d, s in zip(mechanism.group_sizes, mechanism.noise_stddevs, strict=True)
        ),
        "public_count (records)": mechanism.public_count,
        "rounds": audit.release.rounds,
        "clip_norm (feature units)": audit.release.clip_norm,
    }


def _clipped(task: Task, mechanism: Mechanism) -> tuple[float, ...]:
    """Share of records that the clip shortened, per group."""
    before = task.train_x.split(mechanism.group_sizes, dim=-1)
    after = mechanism.contribution(task.train_x).split(mechanism.group_sizes, dim=-1)
    return tuple(
        float((a.norm(dim=-1) < b.norm(dim=-1) * (1 - 1e-9)).double().mean())
        for a, b in zip(after, before, strict=True)
    )

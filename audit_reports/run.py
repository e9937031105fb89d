"""`run`: from an audit file to a record. Simulate, account, attack, estimate, judge, report."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ..accountant.account import account
from ..accountant.assumption import Assumption
from ..accountant.bounds import Interval
from ..accountant.claim import PrivacyClaim
from ..accountant.errors import ConfigError
from ..accountant.events import to_dict
from ..accountant.gaussian import mu_interval
from ..accountant.ledger import Ledger
from ..fl_core import config, simulate
from ..fl_core.config import AuditFile, MechanismSection
from ..fl_core.task import Task, build, fingerprint
from ..fl_core.transcript import Transcript
from ..mechanisms import catalog
from ..mechanisms.base import Mechanism, SeededKey
from ..mechanisms.prototypes import PrototypeDesign
from . import hazards, inversion, membership, provenance, utility
from .declared import design
from .record import (
    SCHEMA_VERSION,
    AttackResult,
    AuditRecord,
    EqualPowerRow,
    InversionRow,
    MechanismResult,
    UtilityRow,
    parse,
    write,
)
from .stages import Stages
from .sums import write_sums
from .verdict import judge, overall

PROFILE = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


class Reporter(Protocol):
    """Where progress goes; the command line gives one that draws bars on stderr."""

    def say(self, text: str) -> None: ...  # noqa: D102

    def bar(self, name: str) -> Callable[[int, int], None]: ...  # noqa: D102


class Silent:
    """A reporter that says nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def bar(self, name: str) -> Callable[[int, int], None]:
        """A callback that does nothing."""
        return lambda done, total: None


def run(
    path: str | Path,
    *,
    out: str | Path | None = None,
    overrides: dict[str, Any] | None = None,
    only: str | None = None,
    fresh: bool = False,
    reporter: Reporter | None = None,
) -> AuditRecord:
    """Run the audit file at `path`; write record, report, tables and figures to `out`.

    An interrupted run goes on where it stopped; a finished one with the same audit file, data and
    source is not computed again, unless `fresh`.

    Args:
        path: the audit file (TOML).
        out: run folder; runs/<name of the file> if not given.
        overrides: {"training.seeds": 3} replaces values of the file.
        only: audit this mechanism alone, as a subject.
        fresh: forget earlier results.
        reporter: told what happens.

    Raises:
        ConfigError: the file or the data are wrong; AssetError: a model or data set is missing.
    """
    start, path, reporter = time.monotonic(), Path(path), reporter or Silent()
    audit = config.load(path, overrides)
    if only is not None:
        audit = _only(audit, only)
    folder = Path(out) if out is not None else Path("runs") / path.stem
    if fresh:
        _forget(folder)
    folder.mkdir(parents=True, exist_ok=True)
    task = build(audit, folder=path.parent, say=reporter.say)
    resolved = audit.model_dump(mode="json")
    text = json.dumps([resolved, task.hashes, provenance.source_sha256()], sort_keys=True)
    inputs = hashlib.sha256(text.encode()).hexdigest()
    record = _audit(audit, task, resolved, path, folder, inputs, reporter, start)
    write(record, folder / "record.json")
    record = parse(record.text())  # what is rendered is what was written
    from .render.folder import write_report

    write_report(record, folder)
    write_sums(folder)
    return record


def _forget(folder: Path) -> None:
    """Remove what a run writes, and nothing else: the folder may hold other things."""
    for name in ("stages", "ledger", "transcripts", "figures", "tables"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("record.json", "report.html", "report.pdf", "SHA256SUMS"):
        (folder / name).unlink(missing_ok=True)


def _only(audit: AuditFile, name: str) -> AuditFile:
    chosen = [m.model_copy(update={"expect": None}) for m in audit.mechanism if m.name == name]
    if not chosen:
        known = ", ".join(m.name for m in audit.mechanism)
        raise ConfigError(f"--only {name}: the audit file has no such mechanism; it has {known}")
    return audit.model_copy(update={"mechanism": chosen, "inversion": None})


def _audit(
    audit: AuditFile,
    task: Task,
    resolved: dict[str, Any],
    path: Path,
    folder: Path,
    inputs: str,
    reporter: Reporter,
    start: float,
) -> AuditRecord:
    claim, key = audit.claim.claim(), SeededKey(audit.seed)
    membership.check_file(audit, task)
    stages = Stages(folder / "stages", inputs, reporter.say)
    mechanisms = {m.name: catalog.build(m.kind, _design(audit, m, task)) for m in audit.mechanism}
    results, transcripts = [], {}
    ledgers = _ledger_folder(folder, inputs)
    for section in audit.mechanism:
        mechanism = mechanisms[section.name]
        result, transcripts[section.name] = _mechanism(
            audit, task, section, mechanism, claim, ledgers, stages, key, reporter
        )
        transcripts[section.name].save(folder / "transcripts" / section.name)
        results.append(result)

    equal = [r.name for r in results if r.expect is None and r.verdict.word == "CONSISTENT"]
    reporter.say(f"utility: {len(mechanisms) + 2} variants x {audit.training.seeds} seeds")
    accuracies = stages.json(
        "utility",
        tuple[UtilityRow, ...],
        lambda: utility.compare(task, mechanisms, equal, audit, key=key.child("utility")),
    )
    reconstructions: tuple[InversionRow, ...] = ()
    if audit.inversion is not None:
        section_ = audit.inversion
        views = {name: t.view("server") for name, t in transcripts.items()}
        reconstructions = stages.json(
            "inversion",
            tuple[InversionRow, ...],
            lambda: inversion.reconstruct(
                task,
                mechanisms,
                views,
                section_,
                key=key.child("inversion"),
                progress=reporter.bar("inversion"),
            ),
        )
    same_encoder = fingerprint(task.backbone) == task.encoder_fingerprint
    record = AuditRecord(
        schema_version=SCHEMA_VERSION,
        title=audit.title,
        claim=claim,
        claimed_mu=claim.gaussian_mu() if claim.is_curve else None,
        confidence=audit.estimate.confidence,
        power_multiple=audit.gate.power_multiple,
        mechanisms=tuple(results),
        utility=accuracies,
        equal_power=_equal_power(audit, task),
        inversion=reconstructions,
        hazards=hazards.checklist(claim, results, same_encoder=same_encoder),
        limits=_limits(audit),
        given=_without_paths(path.read_text(encoding="utf-8"), audit),
        resolved=json.loads(_without_paths(json.dumps(resolved), audit)),
        seed=audit.seed,
        environment=provenance.environment(
            seconds=time.monotonic() - start,
            config_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            data_sha256=task.hashes,
        ),
        verdict=overall([(r.name, r.verdict.word, r.expect) for r in results]),
    )
    return record.sealed()


def _mechanism(
    audit: AuditFile,
    task: Task,
    section: MechanismSection,
    mechanism: Mechanism,
    claim: PrivacyClaim,
    ledgers: Path,
    stages: Stages,
    key: SeededKey,
    reporter: Reporter,
) -> tuple[MechanismResult, Transcript]:
    name, own = section.name, key.child(section.name)
    file = ledgers / f"{name}.jsonl"
    with Ledger(adjacency=claim.adjacency, unit=claim.unit, path=file) as ledger:
        transcript = simulate.release(
            task, mechanism, rounds=audit.release.rounds, key=own.child("run"), ledger=ledger
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
                progress=reporter.bar(f"{name}: {attack.name} by the {attack.adversary}"),
            )

        stage = f"{name}-{attack.name}-{attack.adversary}"
        attacks.append(stages.json(stage, AttackResult, compute))
    assumptions = (*_run_assumptions(task), *mechanism.assumptions())
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


def _design(audit: AuditFile, section: MechanismSection, task: Task) -> PrototypeDesign:
    return design(audit, section, task.group_sizes, task.public_group_norms)


def _run_assumptions(task: Task) -> tuple[Assumption, ...]:
    return (
        Assumption(
            text="The encoder and the projection do not depend on private records.",
            how="the weights' hash is unchanged; the projection is fitted on public photographs",
            holds=fingerprint(task.backbone) == task.encoder_fingerprint,
        ),
        Assumption(
            text="Labels are fixed: a record has one label, so that classes compose in parallel.",
            how="each record enters the sum of its own label only",
            holds=True,
        ),
    )


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


def _equal_power(audit: AuditFile, task: Task) -> tuple[EqualPowerRow, ...]:
    """Exact epsilon of groupwise noise with a global clip, where isotropic noise has 1, 2 and 8."""
    claim = audit.claim.claim()
    delta = claim.delta or 1e-5
    rows = []
    for section in audit.mechanism:
        if section.kind != "groupwise_global_clip":
            continue
        for epsilon in (1.0, 2.0, 8.0):
            base = _design(audit, section, task)
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


def _without_paths(text: str, audit: AuditFile) -> str:
    """`text` with absolute paths of the audit file cut to their last part: they name users."""
    for value in (audit.data.path, audit.model.backbone):
        if value is not None and Path(value).is_absolute():
            text = text.replace(value, Path(value).name)
    return text


def _limits(audit: AuditFile) -> tuple[str, ...]:
    return (
        "One pair of neighbouring data sets was tested per mechanism: a real class with and "
        "without one real record (or as the adjacency says). Other pairs may leak more, up to the "
        "proven bound.",
        "The local models are not released and not audited; serving one is a release that the "
        "claim does not cover.",
        "Inversion is one attack with one prior; a failed reconstruction shows nothing about "
        "stronger ones.",
        "Utility is measured on small public image sets with a packaged encoder; it says nothing "
        "about other data.",
        f"Noise is drawn from the published seed {audit.seed}, so that this audit can be repeated. "
        "Noise of a deployed system must never be.",
    )


def _ledger_folder(folder: Path, inputs: str) -> Path:
    """ledger/ of this run; that of a run with other inputs is another system's, and is removed."""
    ledgers, mark = folder / "ledger", folder / "ledger" / "INPUTS"
    if ledgers.exists() and (not mark.exists() or mark.read_text() != inputs):
        shutil.rmtree(ledgers)
    ledgers.mkdir(exist_ok=True)
    partial = mark.with_suffix(".partial")
    partial.write_text(inputs)
    os.replace(partial, mark)
    return ledgers

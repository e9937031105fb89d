"""`run`: from an audit file to a record. Simulate, account, attack, estimate, judge, report."""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from ..accountant.errors import ConfigError
from ..fl_core import config
from ..fl_core.config import AuditFile
from ..fl_core.recorder import INDEX
from ..fl_core.task import Task, build
from ..mechanisms.base import SeededKey
from . import declared, hazards, inversion, membership, provenance, utility
from .comparison.folder import as_given, held
from .limits import limits
from .record import SCHEMA_VERSION, AuditRecord, parse, write
from .reporter import Reporter, Silent
from .results import InversionRow, UtilityRow
from .row import audit_mechanism, equal_power
from .stages import Stages, replaces
from .sums import NAME, PARTS, listed, write_sums
from .verdict import overall
from .without_folders import without_folders


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
    given = as_given(path)
    if only is not None:
        audit = _only(audit, only)
    folder = Path(out) if out is not None else Path("runs") / path.stem
    _check_folder(folder)
    task = build(audit, folder=path.parent, say=reporter.say)
    resolved = audit.model_dump(mode="json")
    text = json.dumps([resolved, task.hashes, provenance.source_sha256()], sort_keys=True)
    inputs = hashlib.sha256(text.encode()).hexdigest()
    asked = [f"--set {key}={value!r}" for key, value in (overrides or {}).items()]
    changes = tuple(without_folders([*asked, *([f"--only {only}"] if only else [])]))
    # The data are loaded: from here on the audit is what its record shows, and names no folder.
    audit = config.parse(without_folders(resolved))
    with held(folder):
        if fresh:
            _forget(folder)
        record = _audit(audit, task, changes, given, folder, inputs, reporter, start)
        write(record, folder / "record.json")
        record = parse(record.text())  # what is rendered is what was written
        from .render.folder import write_report

        write_report(record, folder)
        write_sums(folder)
    return record


def _forget(folder: Path) -> None:
    """Remove what a run wrote, and nothing else: the folder may hold other things."""
    mine = [folder / name for name in listed(folder)]
    mine += [*folder.glob("stages/*.json"), *folder.glob("ledger/*"), folder / NAME]
    mine += [*folder.glob("transcripts/*/*.npy"), *folder.glob(f"transcripts/*/{INDEX}")]
    for path in mine:
        path.unlink(missing_ok=True)
    for path in sorted(folder.glob("*/**/"), reverse=True):  # inner folders first
        if path.relative_to(folder).parts[0] in PARTS and not any(path.iterdir()):
            path.rmdir()


def _check_folder(folder: Path) -> None:
    """Raise `ConfigError` for a folder that holds something, but no run: it is somebody's."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder with --out")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "ledger" / "INPUTS").exists():
        raise ConfigError(
            f"{folder} is not empty and is no run folder; nothing in it was touched.\n"
            "  Name an empty or a new folder with --out."
        )


def _only(audit: AuditFile, name: str) -> AuditFile:
    chosen = [m.model_copy(update={"expect": None}) for m in audit.mechanism if m.name == name]
    if not chosen:
        known = ", ".join(m.name for m in audit.mechanism)
        raise ConfigError(f"--only {name}: the audit file has no such mechanism; it has {known}")
    return audit.model_copy(update={"mechanism": chosen, "inversion": None})


def _audit(
    audit: AuditFile,
    task: Task,
    changes: tuple[str, ...],
    given: tuple[str, str],
    folder: Path,
    inputs: str,
    reporter: Reporter,
    start: float,
) -> AuditRecord:
    claim, key = audit.claim.claim(), SeededKey(audit.seed)
    membership.check_file(audit, task)
    mechanisms = {
        section.name: declared.build(audit, section, task.group_sizes, task.public_group_norms)
        for section in audit.mechanism
    }
    results, transcripts = [], {}
    _prepare_ledgers(folder, inputs, reporter)
    stages = Stages(folder / "stages", inputs, reporter.say)
    for section in audit.mechanism:
        mechanism = mechanisms[section.name]
        result, transcripts[section.name] = audit_mechanism(
            audit, task, section, mechanism, claim, folder, inputs, stages, key, reporter
        )
        results.append(result)

    equal = [r.name for r in results if r.expect is None and claim.is_proven_by(r.proven)]
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
    same_encoder = task.backbone.fingerprint() == task.encoder_fingerprint
    record = AuditRecord(
        schema_version=SCHEMA_VERSION,
        title=audit.title,
        claim=claim,
        claimed_mu=claim.gaussian_mu() if claim.is_curve else None,
        confidence=audit.estimate.confidence,
        power_multiple=audit.gate.power_multiple,
        mechanisms=tuple(results),
        utility=accuracies,
        equal_power=equal_power(audit, task),
        inversion=reconstructions,
        hazards=hazards.checklist(claim, results, same_encoder=same_encoder),
        limits=limits(audit),
        given=without_folders(given[0]),
        changes=changes,
        resolved=audit.model_dump(mode="json"),
        seed=audit.seed,
        environment=provenance.environment(
            seconds=time.monotonic() - start,
            config_sha256=given[1],
            data_sha256=task.hashes,
        ),
        verdict=overall([(r.name, r.verdict.word, r.expect) for r in results]),
    )
    return record.sealed()


def _prepare_ledgers(folder: Path, inputs: str, reporter: Reporter) -> None:
    """Make ledger/ of this run; what a run with other inputs left is another system's: removed."""
    ledgers, mark = folder / "ledger", folder / "ledger" / "INPUTS"
    if ledgers.exists() and (not mark.exists() or mark.read_text() != inputs):
        reporter.say(replaces(folder))
        _forget(folder)
    ledgers.mkdir(parents=True, exist_ok=True)
    partial = mark.with_suffix(".partial")
    partial.write_text(inputs)
    os.replace(partial, mark)

"""`compare` for a file with a [system] table: from the file to comparison.json and its pages."""

import hashlib
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

from ...accountant.errors import ConfigError
from ...fl_core.systems import base
from ...fl_core.systems.base import Outcome, Prepared, RowPlan, SystemFile
from .. import provenance
from ..reporter import Reporter, Silent
from ..stages import Stages
from .folder import NAME, check_folder, forget, write
from .system_reading import limits, reading
from .system_record import VERSION, SystemRecord, contrasts, parse, results_sha256
from .system_verify import checked_row
from .without_folders import without_folders


def compare(
    path: str | Path,
    *,
    out: str | Path | None = None,
    overrides: dict[str, Any] | None = None,
    fresh: bool = False,
    reporter: Reporter | None = None,
) -> SystemRecord:
    """Run the system's comparison file at `path` and write what it found to `out`.

    A comparison that was interrupted goes on at the first row without a result.

    Args:
        path: the comparison file (TOML).
        out: folder; runs/<name of the file> if not given.
        overrides: {"compare.seeds": 5} replaces values of the file.
        fresh: forget earlier results.
        reporter: told what happens.

    Raises:
        ConfigError: the file or the data are wrong; AssetError: a model or data set is missing.
    """
    start, path, reporter = time.monotonic(), Path(path), reporter or Silent()
    file = base.load(path, overrides)
    plans, shown = _checked(file), _shown(file)
    folder = Path(out) if out is not None else Path("runs") / path.stem
    check_folder(folder)
    system = file.prepare(path.parent, reporter.say)
    if fresh:
        forget(folder)
    resolved = file.model_dump(mode="json")
    text = json.dumps([resolved, system.hashes, provenance.source_sha256()], sort_keys=True)
    inputs = hashlib.sha256(text.encode()).hexdigest()
    stages = Stages(folder / "stages", inputs, reporter.say)
    rows = []
    for place, plan in enumerate(plans):
        words = _words(plan)
        run = partial(_run, file, system, plan, reporter.bar(f"{place + 1}/{len(plans)} {words}"))
        rows.append(checked_row(file, plan, stages.json(_stage(plan), Outcome, run)))
    found = tuple(rows)
    differences = contrasts(file.metrics(), plans, found)
    record = SystemRecord(
        system_version=VERSION,
        system=file.system.name,
        label=file.label(),
        title=shown.title,
        delta=file.claim.delta,
        seeds=file.compare.seeds,
        seed=file.seed,
        rows=found,
        contrasts=differences,
        reading=reading(file, found, differences),
        limits=limits(file),
        given=without_folders(path.read_text(encoding="utf-8")),
        changes=tuple(
            without_folders(f"--set {key}={value!r}") for key, value in (overrides or {}).items()
        ),
        resolved=shown.model_dump(mode="json"),
        results_sha256=results_sha256(found),
        environment=provenance.environment(
            seconds=time.monotonic() - start,
            config_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            data_sha256=system.hashes,
        ),
    ).sealed()
    write(folder / NAME, record.text())
    write_report(parse(record.text()), folder)  # what is rendered is what was written
    return record


def write_report(record: SystemRecord, folder: Path) -> None:
    """comparison.csv, .md and .html, from the record alone."""
    from .system_page import render
    from .system_tables import csv_text, markdown

    file = base.parse(record.resolved)
    write(folder / "comparison.csv", csv_text(record, file))
    write(folder / "comparison.md", markdown(record, file))
    write(folder / "comparison.html", render(record, file))


def _shown(file: SystemFile) -> SystemFile:
    """The file as the record shows it.

    Raises:
        ConfigError: without its folders a path means something else.
    """
    shown = base.parse(without_folders(file.model_dump(mode="json")))
    if (shown.label(), shown.rows()) != (file.label(), file.rows()):
        raise ConfigError(
            "a record keeps only the last part of an absolute path, and one in the file then "
            "means something else, such as a folder called 'substitute'.\n  Rename it."
        )
    return shown


def _checked(file: SystemFile) -> tuple[RowPlan, ...]:
    """The rows, each once, each with somebody to be compared with."""
    plans, parts = file.rows(), {part.name for part in file.parts()}
    keys = [plan.key for plan in plans]
    if len(set(keys)) < len(keys):
        raise ConfigError(f"rows must differ in part, name or epsilon, but are {keys}")
    names = {(plan.part, plan.name) for plan in plans}
    for plan in plans:
        missing = [name for name in plan.against if (plan.part, name) not in names]
        if missing or plan.part not in parts:
            raise ConfigError(
                f"row {plan.name!r} of part {plan.part!r} is compared with {missing}, and the "
                f"parts are {sorted(parts)}: one of them is not there"
            )
    return plans


def _run(file: SystemFile, system: Prepared, plan: RowPlan, bar: base.Bar) -> Outcome:
    """One row; what cannot be is found now, not by a reader, and is not kept for another run."""
    outcome = system.run(plan, bar)
    checked_row(file, plan, outcome)
    return outcome


def _words(plan: RowPlan) -> str:
    at = "" if plan.asked is None else f" {plan.asked:g}"
    return f"{plan.part}{': ' if plan.part else ''}{plan.name}{at}"


def _stage(plan: RowPlan) -> str:
    """A file name for the row, of letters that every file system takes."""
    plain = "".join(c if c.isalnum() else "_" for c in _words(plan))
    return f"{plain[:60]}-{hashlib.sha256(repr(plan.key).encode()).hexdigest()[:8]}"

"""`compare` for a file with a [system] table: from the file to comparison.json and its pages."""

import hashlib
import json
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from ...accountant import check
from ...accountant.errors import ConfigError
from ...fl_core.systems import base
from ...fl_core.systems.base import Outcome, Prepared, RowPlan, SystemFile
from .. import provenance
from ..reporter import Reporter, Silent
from ..stages import Stages
from ..without_folders import without_folders
from .folder import as_given, check_folder, forget, held
from .kinds import write_all
from .system_reading import limits, reading
from .system_record import VERSION, SystemRecord, contrasts, results_sha256
from .system_verify import checked_row
from .workers import outcomes

Key = tuple[str, str, float | None]  # of a row


def compare(
    path: str | Path,
    *,
    out: str | Path | None = None,
    overrides: dict[str, Any] | None = None,
    fresh: bool = False,
    workers: int = 1,
    reporter: Reporter | None = None,
) -> SystemRecord:
    """Run the system's comparison file at `path` and write what it found to `out`.

    A comparison that was interrupted goes on at the first row without a result.

    Args:
        path: the comparison file (TOML).
        out: folder; runs/<name of the file> if not given.
        overrides: {"compare.seeds": 5} replaces values of the file.
        fresh: forget earlier results.
        workers: processes that compute rows at the same time; results are the same. With more
            than one, a script that calls this needs `if __name__ == "__main__":`.
        reporter: told what happens.

    Raises:
        ConfigError: the file or the data are wrong; AssetError: a model or data set is missing.
        ParameterError: no workers.
    """
    check.count(workers=workers)
    start, path, reporter = time.monotonic(), Path(path), reporter or Silent()
    file = base.load(path, overrides)
    given, sha256 = as_given(path)
    plans, shown = _checked(file), _shown(file)
    folder = Path(out) if out is not None else Path("runs") / path.stem
    check_folder(folder)
    system = file.prepare(path.parent, reporter.say)
    with held(folder):
        if fresh:
            forget(folder)
        resolved = file.model_dump(mode="json")
        text = json.dumps([resolved, system.hashes, provenance.source_sha256()], sort_keys=True)
        inputs = hashlib.sha256(text.encode()).hexdigest()
        stages = Stages(folder / "stages", inputs, reporter.say)
        missing = [plan for plan in plans if stages.missing(_stage(plan))]
        found = {}
        if workers > 1 and len(missing) > 1:
            found = _side_by_side(file, path.parent, system, missing, stages, workers, reporter)
        rows = []
        for place, plan in enumerate(plans):
            words = _words(plan)
            run = partial(
                _run, file, system, plan, reporter.bar(f"{place + 1}/{len(plans)} {words}")
            )
            outcome = found.get(plan.key) or stages.json(_stage(plan), Outcome, run)
            rows.append(checked_row(file, plan, outcome))
        differences = contrasts(file.metrics(), plans, tuple(rows))
        asked = [f"--set {key}={value!r}" for key, value in (overrides or {}).items()]
        record = SystemRecord(
            system_version=VERSION,
            system=file.system.name,
            label=file.label(),
            title=shown.title,
            delta=file.claim.delta,
            seeds=file.compare.seeds,
            seed=file.seed,
            rows=tuple(rows),
            contrasts=differences,
            reading=reading(file, tuple(rows), differences),
            limits=limits(file),
            given=without_folders(given),
            changes=tuple(without_folders(asked)),
            resolved=shown.model_dump(mode="json"),
            results_sha256=results_sha256(tuple(rows)),
            environment=provenance.environment(
                seconds=time.monotonic() - start,
                config_sha256=sha256,
                data_sha256=system.hashes,
            ),
        ).sealed()
        write_all(record, folder)
        return record


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


def _side_by_side(
    file: SystemFile,
    folder: Path,
    system: Prepared,
    missing: list[RowPlan],
    stages: Stages,
    workers: int,
    reporter: Reporter,
) -> dict[Key, Outcome]:
    """Compute rows without a result; each is kept as soon as it is there."""
    workers, start = min(workers, len(missing)), time.monotonic()
    reporter.say(f"{len(missing)} rows, {workers} at a time; each process first loads the models")
    found: dict[Key, Outcome] = {}
    ran = outcomes(file, folder, missing, hashes=system.hashes, workers=workers)
    with closing(ran):  # else rows go on after an error here, for nobody
        for done, (plan, outcome, seconds) in enumerate(ran, start=1):
            found[plan.key] = stages.json(_stage(plan), Outcome, partial(_same, outcome))
            left = (time.monotonic() - start) / done * (len(missing) - done)
            words = f"{seconds:.1f} s, {left:.0f} s left"
            reporter.say(f"{done}/{len(missing)} {_words(plan)}: {words}")
    return found


def _same(outcome: Outcome) -> Outcome:
    return outcome


def _words(plan: RowPlan) -> str:
    at = "" if plan.asked is None else f" {plan.asked:g}"
    return f"{plan.part}{': ' if plan.part else ''}{plan.name}{at}"


def _stage(plan: RowPlan) -> str:
    """A file name for the row, of letters that every file system takes."""
    plain = "".join(c if c.isalnum() else "_" for c in _words(plan))
    return f"{plain[:60]}-{hashlib.sha256(repr(plan.key).encode()).hexdigest()[:8]}"

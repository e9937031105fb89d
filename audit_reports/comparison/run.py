"""`compare`: from a comparison file to comparison.json, its tables and its page; resumable."""

import hashlib
import json
import time
from functools import partial
from pathlib import Path
from typing import Any, cast

from ...accountant.account import account
from ...accountant.event_json import from_dict
from ...fl_core import comparison
from ...fl_core.comparison import ComparisonFile
from ...fl_core.comparison_run import Comparison, Result
from ...fl_core.config import AuditFile
from ...fl_core.task import build
from .. import provenance
from ..reporter import Reporter, Silent
from ..run import _without_paths
from ..stages import Stages
from .folder import NAME, check_folder, forget, write
from .reading import limits, reading
from .record import VERSION, ComparisonRecord, Row, parse, results_sha256
from .statistics import by_seed, contrasts, mean


def compare(
    path: str | Path,
    *,
    out: str | Path | None = None,
    overrides: dict[str, Any] | None = None,
    fresh: bool = False,
    reporter: Reporter | None = None,
) -> ComparisonRecord:
    """Run the comparison file at `path` and write what it found to `out`.

    A comparison that was interrupted goes on at the first method without a result.

    Args:
        path: the comparison file (TOML).
        out: folder; runs/<name of the file> if not given.
        overrides: {"compare.seeds": 10} replaces values of the file.
        fresh: forget earlier results.
        reporter: told what happens.

    Raises:
        ConfigError: the file or the data are wrong; AssetError: a model or data set is missing.
    """
    start, path, reporter = time.monotonic(), Path(path), reporter or Silent()
    file = comparison.load(path, overrides)
    folder = Path(out) if out is not None else Path("runs") / path.stem
    check_folder(folder)
    # Both functions read [data], [model] and [release] alone, which the two files have in common.
    sections = cast(AuditFile, file)
    task = build(sections, folder=path.parent, say=reporter.say)
    runs = Comparison(file, task)
    _ = runs.methods, runs.variants  # what is wrong with them is said before anything runs
    if fresh:
        forget(folder)
    resolved = file.model_dump(mode="json")
    text = json.dumps([resolved, task.hashes, provenance.source_sha256()], sort_keys=True)
    inputs = hashlib.sha256(text.encode()).hexdigest()
    stages = Stages(folder / "stages", inputs, reporter.say)
    found: list[Result] = []
    for name in runs.names:
        run = partial(runs.results, name, reporter.bar(name))
        found += stages.json(name, tuple[Result, ...], run)
    rows = tuple(_row(file, result) for result in found)
    differences = contrasts(rows, distillation=file.compare.distillation)
    asked = tuple(f"--set {key}={value!r}" for key, value in (overrides or {}).items())
    record = ComparisonRecord(
        comparison_version=VERSION,
        title=file.title,
        adjacency=file.claim.adjacency,
        unit=file.claim.unit,
        delta=file.claim.delta,
        clients=task.clients,
        seeds=file.compare.seeds,
        seed=file.seed,
        rows=rows,
        contrasts=differences,
        reading=reading(differences, file.compare),
        limits=limits(file),
        given=_without_paths(path.read_text(encoding="utf-8"), sections),
        changes=tuple(_without_paths(list(asked), sections)),
        resolved=_without_paths(resolved, sections),
        results_sha256=results_sha256(rows),
        environment=provenance.environment(
            seconds=time.monotonic() - start,
            config_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            data_sha256=task.hashes,
        ),
    ).sealed()
    write(folder / NAME, record.text())
    write_report(parse(record.text()), folder)  # what is rendered is what was written
    return record


def write_report(record: ComparisonRecord, folder: Path) -> None:
    """comparison.csv, .md and .html, from the record alone."""
    from .page import render
    from .tables import csv_text, markdown

    write(folder / "comparison.csv", csv_text(record))
    write(folder / "comparison.md", markdown(record))
    write(folder / "comparison.html", render(record))


def _row(file: ComparisonFile, result: Result) -> Row:
    claim = file.claim
    bound = account(from_dict(result.event), adjacency=claim.adjacency, unit=claim.unit)
    return Row(
        method=result.method,
        name=result.name,
        asked=result.asked,
        proven=bound.epsilon(claim.delta),
        event=result.event,
        releases=result.releases,
        accuracy=result.accuracy,
        mean=mean(by_seed(result.accuracy)),
        clients=tuple(mean(column) for column in zip(*result.accuracy, strict=True)),
        run_digest=result.digest,
    )

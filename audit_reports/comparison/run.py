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
from ..stages import Stages
from ..without_folders import without_folders
from .folder import as_given, check_folder, forget, held
from .kinds import write_all
from .reading import limits, reading
from .record import VERSION, ComparisonRecord, Row, results_sha256
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
    given, sha256 = as_given(path)
    folder = Path(out) if out is not None else Path("runs") / path.stem
    check_folder(folder)
    # Both functions read [data], [model] and [release] alone, which the two files have in common.
    sections = cast(AuditFile, file)
    task = build(sections, folder=path.parent, say=reporter.say)
    runs = Comparison(file, task)
    _ = runs.methods, runs.variants  # what is wrong with them is said before anything runs
    with held(folder):
        if fresh:
            forget(folder)
        resolved = file.model_dump(mode="json")
        shown = comparison.parse(without_folders(resolved))
        text = json.dumps([resolved, task.hashes, provenance.source_sha256()], sort_keys=True)
        inputs = hashlib.sha256(text.encode()).hexdigest()
        stages = Stages(folder / "stages", inputs, reporter.say)
        found: list[Result] = []
        for name in runs.names:
            run = partial(runs.results, name, reporter.bar(name))
            found += stages.json(name, tuple[Result, ...], run)
        rows = tuple(_row(file, result) for result in found)
        differences = contrasts(rows, distillation=file.compare.distillation)
        asked = [f"--set {key}={value!r}" for key, value in (overrides or {}).items()]
        record = ComparisonRecord(
            comparison_version=VERSION,
            title=shown.title,
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
            given=without_folders(given),
            changes=tuple(without_folders(asked)),
            resolved=shown.model_dump(mode="json"),
            results_sha256=results_sha256(rows),
            environment=provenance.environment(
                seconds=time.monotonic() - start,
                config_sha256=sha256,
                data_sha256=task.hashes,
            ),
        ).sealed()
        write_all(record, folder)
        return record


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

"""One verb for two kinds of files: mechanisms at equal budgets, or a whole system."""

from pathlib import Path
from typing import Any

from ...fl_core import comparison
from ...fl_core.systems import base
from ..reporter import Reporter
from .record import ComparisonRecord
from .system_record import SystemRecord


def needed(path: Path, overrides: dict[str, Any]) -> list[str]:
    """Assets that the comparison file at `path` needs; of mechanisms, all that come with pip."""
    if base.is_system(comparison.content(path, overrides)):
        return list(base.load(path, overrides).assets())
    from ...fl_core.data.assets import ASSETS

    return list(ASSETS)


def compare(
    path: Path,
    *,
    out: Path,
    overrides: dict[str, Any],
    fresh: bool,
    workers: int | None = None,
    reporter: Reporter,
) -> tuple[ComparisonRecord | SystemRecord, list[str]]:
    """The record, and what a terminal shows of it; see `run.compare` and `systems.compare`.

    `workers` are for systems; None takes one for each processor.
    """
    if base.is_system(comparison.content(path, overrides)):
        from .system_tables import terminal as show_system
        from .systems import compare as run_system
        from .workers import default_workers

        found = run_system(
            path,
            out=out,
            overrides=overrides,
            fresh=fresh,
            workers=default_workers() if workers is None else workers,
            reporter=reporter,
        )
        return found, show_system(found, base.parse(found.resolved))
    from .run import compare as run_mechanisms
    from .tables import terminal

    record = run_mechanisms(path, out=out, overrides=overrides, fresh=fresh, reporter=reporter)
    return record, terminal(record)

"""Everything that is rendered from a record, in its run folder."""

import os
from pathlib import Path

from ..figures import all_figures
from ..record import AuditRecord
from .html import render
from .tables import write_tables


def write_report(record: AuditRecord, folder: Path) -> None:
    """Write report.html, figures/*.svg and tables/*.csv, each file atomically.

    Figures of an earlier record are removed, so that the folder shows one record only.
    """
    drawings = all_figures(record)
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for old in figures.glob("*.svg"):
        if old.stem not in drawings:
            old.unlink()
    for name, drawing in drawings.items():
        _write(figures / f"{name}.svg", drawing.svg)
    write_tables(record, folder / "tables")
    _write(folder / "report.html", render(record, drawings))


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, path)

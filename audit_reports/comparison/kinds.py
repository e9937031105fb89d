"""A comparison.json of either kind: reading it, showing it, and writing its pages again."""

from pathlib import Path

from ...accountant.errors import RecordError
from ...fl_core.systems import base
from . import record as mechanisms
from . import system_record as systems
from .folder import finish, write
from .record import ComparisonRecord
from .system_record import SystemRecord

AnyRecord = ComparisonRecord | SystemRecord


def load(path: Path) -> AnyRecord:
    """The record in a comparison.json; its digest is checked.

    Raises:
        RecordError: it cannot be read, or is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} cannot be read: {error.__class__.__name__}") from None
    if f'"{systems.KEY}"' in text:  # nowhere in another comparison's text
        return systems.parse(text, name=str(path))
    return mechanisms.parse(text, name=str(path))


def terminal(record: AnyRecord) -> list[str]:
    """What the command prints of it."""
    if isinstance(record, ComparisonRecord):
        from .tables import terminal as of_mechanisms

        return of_mechanisms(record)
    from .system_tables import terminal as of_system

    return of_system(record, base.parse(record.resolved))


def write_pages(record: AnyRecord, folder: Path) -> None:
    """comparison.csv, .md and .html, from the record alone."""
    if isinstance(record, ComparisonRecord):
        from .page import render
        from .tables import csv_text, markdown

        pages = (csv_text(record), markdown(record), render(record))
    else:
        from .system_page import render as render_system
        from .system_tables import csv_text as csv_system
        from .system_tables import markdown as markdown_system

        file = base.parse(record.resolved)
        pages = (
            csv_system(record, file),
            markdown_system(record, file),
            render_system(record, file),
        )
    for name, text in zip(("csv", "md", "html"), pages, strict=True):
        write(folder / f"comparison.{name}", text)


def write_all(record: AnyRecord, folder: Path) -> AnyRecord:
    """The record, its pages and their hashes; what is rendered is what was written."""
    text = record.text()
    parse = mechanisms.parse if isinstance(record, ComparisonRecord) else systems.parse
    finish(folder, text, lambda place: write_pages(parse(text), place))
    return record

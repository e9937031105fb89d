"""`verify`: recompute a record's bounds and verdicts from the record alone.

Needs neither the data nor torch, and writes nothing. What it shows: the record is the one that was
written, its proven bounds follow from its events, its measured bounds from its counts, its verdicts
from both, and pages beside it show what it says. What it cannot show: that the counts came from the
run that the record describes. What it did not look at is listed.
"""

from functools import partial
from pathlib import Path

from ..accountant.errors import RecordError
from . import provenance, verify_black_box
from .record import AuditRecord, parse
from .sums import check_sums
from .verify_bound import check_bound as check_bound
from .verify_checks import TOLERANCE as TOLERANCE
from .verify_checks import Verified as Verified
from .verify_checks import close as close
from .verify_checks import near as near
from .verify_checks import same as same
from .verify_pages import Pages, below, check_pages
from .verify_run import UNCHECKED, check_ledger, check_run, check_words

_COMPARISON = "<title>Comparison: "  # of a page that holds no record


def load(path: Path) -> AuditRecord:
    """The record of a run folder, a record.json or a report.html; its digest is checked.

    Raises:
        RecordError: there is none, or it is damaged.
    """
    file = path / "record.json" if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecordError(f"there is no record at {file}; `privassay run` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{file} cannot be read: {error.__class__.__name__}") from None
    if file.suffix == ".html":
        from .render.html import extract_record

        if _COMPARISON in text:
            raise RecordError(
                f"{file} is the page of a comparison, which holds no record.\n  Give its folder, "
                f"or {file.with_name('comparison.json')}."
            )
        text = extract_record(text)
    return parse(text, name=str(file))


def comparison_of(path: Path) -> Path | None:
    """The comparison.json that is meant by a folder or a file; None if none is."""
    file = path / "comparison.json" if path.is_dir() else path
    return file if file.name == "comparison.json" and file.is_file() else None


def verify(path: str | Path) -> Verified:
    """What was checked, and what was not.

    Args:
        path: folder of a run or of a comparison, or one of the files in it that hold a record.

    Raises:
        RecordError: something does not fit; the message says what.
    """
    path = Path(path)
    comparison = comparison_of(path)
    if comparison is not None:
        from .comparison.verify import verify as verify_comparison

        return verify_comparison(comparison, path if path.is_dir() else None)
    done: list[str] = []
    unchecked: list[str] = []
    if path.is_dir():
        done.append(f"{check_sums(path)} files have the hashes in SHA256SUMS")
    record = load(path)
    done.append("the record's content gives its digest")
    ours = record.environment.source_sha256 == provenance.source_sha256()
    words = True
    if record.resolved.get("made_by") in verify_black_box.MAKERS:
        for row in record.mechanisms:
            verify_black_box.check_row(record, row)
            done.append(f"{row.name}: {len(row.attacks)} measured bounds, power, verdict")
        done.append(f"overall verdict: {record.verdict.word}")
        unchecked += verify_black_box.UNCHECKED
        follow, checks = "limits and assumptions", partial(verify_black_box.check_words, record)
    else:
        found, file = check_run(record)
        done += found
        follow, checks = "limits, hazards and assumptions", partial(check_words, record, file)
    try:
        checks()
        done.append(f"{follow} follow from how it was made")
    except RecordError as error:
        if ours:
            raise
        words = False
        unchecked.append(f"{follow}: another version of the program wrote the record ({error})")
    if record.resolved.get("made_by") not in verify_black_box.MAKERS:
        for row in record.mechanisms if path.is_dir() else ():
            check_ledger(record, row, path / "ledger" / f"{row.name}.jsonl")
            done.append(f"{row.name}: its ledger gives the proven bound's event")
        if not path.is_dir():
            unchecked.append(
                "ledger_sha256 and releases, since the ledgers lie in the run's folder"
            )
        unchecked += UNCHECKED
    pages = _check_pages(record, path, ours)
    if pages.fit:
        done.append("pages show what the record says")
    if pages.unchecked:
        unchecked.append(pages.unchecked)
    if (path / "report.pdf").exists():
        unchecked.append("report.pdf")
    words = words and not pages.foreign
    return Verified(done=tuple(done), unchecked=tuple(unchecked), words=words)


def _check_pages(record: AuditRecord, path: Path, ours: bool) -> Pages:

    def write(folder: Path) -> None:
        from .render.folder import write_report

        write_report(record, folder)

    check = partial(check_pages, write=write, environment=record.environment, ours=ours)
    if path.is_dir():
        return check(below(path, ("report.html", "figures/*", "tables/*")))
    if path.suffix == ".html":
        return check({"report.html": path}, whole=False)
    return Pages("pages, since only the record was given", fit=False)

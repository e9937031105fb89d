"""Recompute from a comparison record all that follows from its events and raw accuracies."""

from functools import partial
from pathlib import Path

from ...accountant.account import account
from ...accountant.errors import ConfigError, RecordError
from ...accountant.event_json import from_dict
from ...fl_core import comparison
from ...fl_core.comparison import ComparisonFile
from .. import provenance
from ..sums import check_sums
from ..verify_checks import Verified, close, near, same, same_list
from ..verify_given import check_given
from ..verify_pages import Pages, below, check_pages
from .folder import PAGES, PRODUCT
from .kinds import load, write_pages
from .reading import limits, reading
from .record import ComparisonRecord, Row, results_sha256
from .statistics import Mean, by_seed, contrasts, mean
from .system_verify import check as check_system

UNCHECKED = (
    "that accuracies, events and notes came from the runs (run the file again and compare "
    "results_sha256)",
    "numbers of releases, which do not follow from events, and digests of runs",
    "environment: where and when it ran",
)


def verify(path: Path, folder: Path | None = None) -> Verified:
    """What was checked, and what was not. Needs neither the data nor torch.

    Args:
        path: comparison.json.
        folder: in which it lies, if all of that is to be checked.

    Raises:
        RecordError: something does not fit; the message says what.
    """
    done = []
    if folder is not None:
        done.append(f"{check_sums(folder, PRODUCT)} files have the hashes in SHA256SUMS")
    record = load(path)
    ours = record.environment.source_sha256 == provenance.source_sha256()
    done.append("the comparison's content gives its digest")
    if isinstance(record, ComparisonRecord):
        found, words = _check(record, ours)
    else:
        found, words = check_system(record, ours)
    done += found
    pages = Pages("pages, since only the record was given", fit=False)
    if folder is not None:
        pages = check_pages(
            below(folder, PAGES),
            partial(write_pages, record),
            record.environment,
            ours=ours,
        )
    if pages.fit:
        done.append("pages show what the record says")
    unchecked = [words, *UNCHECKED, pages.unchecked]
    return Verified(
        done=tuple(done),
        unchecked=tuple(each for each in unchecked if each),
        words=not words and not pages.foreign,
    )


def _check(record: ComparisonRecord, ours: bool) -> tuple[list[str], str]:
    """What was checked, and what was not, in words; empty if everything was."""
    file = _check_against_file(record)
    done = [f"its {len(record.rows)} rows are those of its file, none left out"]
    for row in record.rows:
        _check_row(record, row)
    same("the hash of the results", record.results_sha256, results_sha256(record.rows))
    done.append("each proven epsilon follows from its events, each mean from its accuracies")
    again = contrasts(record.rows, distillation=file.compare.distillation)
    keys = [
        [(c.method, c.name, c.asked, c.against) for c in each] for each in (record.contrasts, again)
    ]
    same_list("the list of differences", *keys)
    for found, wanted in zip(record.contrasts, again, strict=True):
        words = f"{found.method}/{found.name} less {found.against}"
        _check_mean(words, found.difference, wanted.difference)
    done.append(f"{len(again)} paired differences follow from the accuracies")
    try:
        same_list("the reading", record.reading, reading(record.contrasts, file.compare))
        same_list("the limits", record.limits, limits(file))
    except RecordError as error:
        if ours:
            raise
        return done, f"reading and limits: another version of the program wrote them ({error})"
    done.append("the reading follows from the differences, the limits from the file")
    return done, ""


def _check_against_file(record: ComparisonRecord) -> ComparisonFile:
    """What was asked for must be what the record says."""
    try:
        file = comparison.parse(record.resolved)
    except ConfigError as error:
        raise RecordError(f"the resolved file in the record is damaged: {error}") from None
    check_given(
        record.given,
        record.changes,
        record.resolved,
        lambda data: comparison.parse(data).model_dump(mode="json"),
    )
    same_list(
        "rows (file against record)",
        [(r.method, r.name, r.asked) for r in record.rows],
        comparison.rows(file.compare),
    )
    for name, found, wanted in (
        ("title", record.title, file.title),
        ("adjacency", record.adjacency, file.claim.adjacency),
        ("unit", record.unit, file.claim.unit),
        ("delta", record.delta, file.claim.delta),
        ("seeds", record.seeds, file.compare.seeds),
        ("seed", record.seed, file.seed),
        ("clients", len(record.clients), file.data.clients),
    ):
        same(f"{name} (file against record)", found, wanted)
    return file


def _check_row(record: ComparisonRecord, row: Row) -> None:
    name = f"{row.method}/{row.name}"
    if row.releases < 0:
        raise RecordError(f"{name}: {row.releases} releases cannot be")
    bound = account(from_dict(row.event), adjacency=record.adjacency, unit=record.unit)
    close(f"{name}: proven epsilon", row.proven, bound.epsilon(record.delta))
    shape = (len(row.accuracy), {len(by_client) for by_client in row.accuracy})
    same(f"{name}: seeds and clients", shape, (record.seeds, {len(record.clients)}))
    same(f"{name}: means of clients", len(row.clients), len(record.clients))
    if not all(0.0 <= value <= 1.0 for by_client in row.accuracy for value in by_client):
        raise RecordError(f"{name}: an accuracy lies outside [0, 1]")
    _check_mean(f"{name}: mean", row.mean, mean(by_seed(row.accuracy)))
    columns = list(zip(*row.accuracy, strict=True))
    for client, found, values in zip(record.clients, row.clients, columns, strict=True):
        _check_mean(f"{name}: {client}", found, mean(values))


def _check_mean(words: str, found: Mean, again: Mean) -> None:
    near(words, found.value, again.value)
    near(f"{words} (lower end)", found.lower, again.lower)
    near(f"{words} (upper end)", found.upper, again.upper)

"""Recompute from a comparison record all that follows from its events and raw accuracies."""

from pathlib import Path

from ...accountant.account import account
from ...accountant.errors import ConfigError, RecordError
from ...accountant.event_json import from_dict
from ...fl_core import comparison
from ...fl_core.comparison import ComparisonFile
from ..verify import close, near, same
from .reading import limits, reading
from .record import ComparisonRecord, Row, parse, results_sha256
from .statistics import Mean, by_seed, contrasts, mean
from .system_record import KEY
from .system_verify import verify as verify_system


def verify(path: Path) -> list[str]:
    """What was checked, a line each. Needs neither the data nor torch.

    What it cannot show: that the accuracies came from the runs that the record describes.

    Raises:
        RecordError: something does not fit; the message says what.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} cannot be read: {error.__class__.__name__}") from None
    if f'"{KEY}"' in text:  # nowhere in another comparison's text
        return verify_system(text, str(path))
    record = parse(text, name=str(path))
    done = ["the comparison's content gives its digest"]
    file = _check_against_file(record)
    done.append(f"its {len(record.rows)} rows are those of its file, none left out")
    for row in record.rows:
        _check_row(record, row)
    same("the hash of the results", record.results_sha256, results_sha256(record.rows))
    done.append("each proven epsilon follows from its events, each mean from its accuracies")
    again = contrasts(record.rows, distillation=file.compare.distillation)
    keys = [
        [(c.method, c.name, c.asked, c.against) for c in each] for each in (record.contrasts, again)
    ]
    same("the list of differences", *keys)
    for found, wanted in zip(record.contrasts, again, strict=True):
        words = f"{found.method}/{found.name} less {found.against}"
        _check_mean(words, found.difference, wanted.difference)
    done.append(f"{len(again)} paired differences follow from the accuracies")
    same("the reading", record.reading, reading(record.contrasts, file.compare))
    same("the limits", record.limits, limits(file))
    done.append("the reading follows from the differences, the limits from the file")
    return done


def _check_against_file(record: ComparisonRecord) -> ComparisonFile:
    """What was asked for must be what the record says."""
    try:
        file = comparison.parse(record.resolved)
    except ConfigError as error:
        raise RecordError(f"the resolved file in the record is damaged: {error}") from None
    for name, found, wanted in (
        ("title", record.title, file.title),
        ("adjacency", record.adjacency, file.claim.adjacency),
        ("unit", record.unit, file.claim.unit),
        ("delta", record.delta, file.claim.delta),
        ("seeds", record.seeds, file.compare.seeds),
        ("seed", record.seed, file.seed),
        ("clients", len(record.clients), file.data.clients),
        (
            "rows",
            [(r.method, r.name, r.asked) for r in record.rows],
            comparison.rows(file.compare),
        ),
    ):
        same(f"{name} (file against record)", found, wanted)
    return file


def _check_row(record: ComparisonRecord, row: Row) -> None:
    name = f"{row.method}/{row.name}"
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

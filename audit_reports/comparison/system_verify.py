"""Recompute from the record of a system's comparison all that follows from events and raw values.

Needs neither the data nor torch. What it cannot show: that the values came from the runs that the
record describes.
"""

import math

from ...accountant.errors import ConfigError, RecordError
from ...fl_core.systems import base
from ...fl_core.systems.base import Metric, RowPlan, SystemFile
from ..verify import close, near, same
from .statistics import Mean
from .system_reading import limits, reading
from .system_record import SystemRecord, SystemRow, contrasts, parse, results_sha256, row_of


def verify(text: str, name: str) -> list[str]:
    """What was checked, a line each.

    Raises:
        RecordError: something does not fit; the message says what.
    """
    record = parse(text, name=name)
    done = ["the comparison's content gives its digest"]
    file = _file(record)
    plans = file.rows()
    same(
        "the rows (file against record)",
        [_planned(row) for row in record.rows],
        [_planned(plan) for plan in plans],
    )
    done.append(f"its {len(record.rows)} rows are those of its file, none left out")
    for row, plan in zip(record.rows, plans, strict=True):
        _check_row(file, row, plan)
    same("the hash of the results", record.results_sha256, results_sha256(record.rows))
    done.append("each proven epsilon follows from its events, each mean from its values")
    again = contrasts(file.metrics(), plans, record.rows)
    keys = [
        [(c.part, c.name, c.asked, c.metric, c.against) for c in each]
        for each in (record.contrasts, again)
    ]
    same("the list of differences", *keys)
    for found, wanted in zip(record.contrasts, again, strict=True):
        _check_mean(f"{found.name} less {found.against}", found.difference, wanted.difference)
    done.append(f"{len(again)} paired differences follow from the values")
    same("the reading", record.reading, reading(file, record.rows, record.contrasts))
    same("the limits", record.limits, limits(file))
    done.append("the reading follows from the differences, the limits from the file")
    return done


def _file(record: SystemRecord) -> SystemFile:
    """What was asked for must be what the record says."""
    try:
        file = base.parse(record.resolved)
    except ConfigError as error:
        raise RecordError(f"the resolved file in the record is damaged: {error}") from None
    for name, found, wanted in (
        ("title", record.title, file.title),
        ("system", record.system, file.system.name),
        ("label", record.label, file.label()),
        ("delta", record.delta, file.claim.delta),
        ("seeds", record.seeds, file.compare.seeds),
        ("seed", record.seed, file.seed),
    ):
        same(f"{name} (file against record)", found, wanted)
    return file


def _planned(row: RowPlan | SystemRow) -> tuple[object, ...]:
    terms = (row.dp, row.unit, row.adjacency, row.view)
    return (row.key, row.released, row.protection, row.control, *terms)


def _check_row(file: SystemFile, row: SystemRow, plan: RowPlan) -> None:
    name = f"{row.part}/{row.name}" if row.part else row.name
    metrics = {metric.name: metric for metric in file.metrics()}
    same(f"{name}: metrics without an unknown one", set(row.values) - set(metrics), set())
    clients = next(len(part.clients) for part in file.parts() if part.name == row.part)
    for metric, values in row.values.items():
        check_values(f"{name}: {metric}", metrics[metric], values, file.compare.seeds, clients)
    same(f"{name}: has an event", row.event is not None, plan.dp == "accounted")
    again = row_of(file, plan, base.Outcome(
        values=row.values, event=row.event, releases=row.releases, notes=row.notes,
        digest=row.run_digest,
    ))  # fmt: skip
    if row.proven is None or again.proven is None:
        same(f"{name}: proven epsilon", row.proven, again.proven)
    else:
        close(f"{name}: proven epsilon", row.proven, again.proven)
    same(f"{name}: names of means", set(row.means), set(again.means))
    same(f"{name}: has a gap", row.gap is None, again.gap is None)
    if row.gap is not None and again.gap is not None:
        _check_mean(f"{name}: gap", row.gap, again.gap)
    for metric, found in row.means.items():
        _check_mean(f"{name}: {metric}", found, again.means[metric])
        same(f"{name}: groups", set(row.groups[metric]), set(again.groups[metric]))
        for group, each in row.groups[metric].items():
            _check_mean(f"{name}: {metric}, {group}", each, again.groups[metric][group])


def check_values(
    words: str, metric: Metric, values: tuple[tuple[float, ...], ...], seeds: int, clients: int
) -> None:
    """Raise `RecordError` unless there is a possible value for each seed and client."""
    shape = (len(values), {len(by_client) for by_client in values})
    same(f"{words}: seeds and clients", shape, (seeds, {clients}))
    for by_client in values:
        for value in by_client:
            if not (math.isfinite(value) and metric.lower <= value <= metric.upper):
                raise RecordError(
                    f"{words}: {value!r} does not lie in [{metric.lower:g}, {metric.upper:g}]"
                )


def _check_mean(words: str, found: Mean, again: Mean) -> None:
    near(words, found.value, again.value)
    near(f"{words} (lower end)", found.lower, again.lower)
    near(f"{words} (upper end)", found.upper, again.upper)

"""Recompute from the record of a system's comparison all that follows from events and raw values.

Needs neither the data nor torch. What it cannot show: that values, events and notes came from the
runs that the record describes.
"""

import math

from ...accountant.bounds import Interval
from ...accountant.errors import ConfigError, RecordError
from ...fl_core.systems import base
from ...fl_core.systems.base import Metric, Outcome, RowPlan, SystemFile
from ..verify_checks import TOLERANCE, close, near, same, same_list
from ..verify_given import check_given
from .statistics import Mean
from .system_reading import limits, reading
from .system_record import SystemRecord, SystemRow, contrasts, results_sha256, row_of

_WASTE = 1e-3  # of a budget that a row may leave


def check(record: SystemRecord, ours: bool) -> tuple[list[str], str]:
    """What was checked, and what was not, in words; empty if everything was.

    Args:
        record: what to check.
        ours: whether this very program wrote it, so that its sentences must be these.

    Raises:
        RecordError: something does not fit; the message says what.
    """
    file = _file(record)
    plans = file.rows()
    try:
        _check_plans(record, plans)
    except RecordError as error:
        if ours:
            raise
        raise RecordError(
            f"{error}\n  The record was written by another version of the program. Use the one "
            "named under environment.git_revision."
        ) from None
    done = [f"its {len(record.rows)} rows are those of its file, none left out"]
    for row, plan in zip(record.rows, plans, strict=True):
        _check_row(file, row, plan)
    same("the hash of the results", record.results_sha256, results_sha256(record.rows))
    done.append("each proven epsilon follows from its events, each mean from its values")
    again = contrasts(file.metrics(), plans, record.rows)
    keys = [
        [(c.part, c.name, c.asked, c.metric, c.against) for c in each]
        for each in (record.contrasts, again)
    ]
    same_list("the list of differences", *keys)
    for found, wanted in zip(record.contrasts, again, strict=True):
        _check_mean(f"{found.name} less {found.against}", found.difference, wanted.difference)
    done.append(f"{len(again)} paired differences follow from the values")
    try:
        _check_words(record, file, plans)
    except RecordError as error:
        if ours:
            raise
        return done, (
            "sentences (label, what rows say of themselves, reading, limits): another version of "
            f"the program wrote them ({error})"
        )
    done.append("the reading follows from the differences, label and limits from the file")
    return done, ""


def _check_plans(record: SystemRecord, plans: tuple[RowPlan, ...]) -> None:
    """The rows must be those of the file, each with the terms of its epsilon."""
    same_list(
        "the rows (file against record)",
        [row.key for row in record.rows],
        [plan.key for plan in plans],
    )
    for row, plan in zip(record.rows, plans, strict=True):
        for what in ("released", "control", "dp", "unit", "adjacency", "view"):
            found, wanted = getattr(row, what), getattr(plan, what)
            same(f"the rows (file against record): {what} of {row.key}", found, wanted)


def _check_words(record: SystemRecord, file: SystemFile, plans: tuple[RowPlan, ...]) -> None:
    """Sentences must be those that follow; another version of the program may word them anew."""
    same("label (file against record)", record.label, file.label())
    said, wanted = ([row.protection for row in rows] for rows in (record.rows, plans))
    same_list("what the rows say of themselves (file against record)", said, wanted)
    same_list("the reading", record.reading, reading(file, record.rows, record.contrasts))
    same_list("the limits", record.limits, limits(file))


def _file(record: SystemRecord) -> SystemFile:
    """What was asked for must be what the record says."""
    try:
        file = base.parse(record.resolved)
    except ConfigError as error:
        raise RecordError(f"the resolved file in the record is damaged: {error}") from None
    check_given(
        record.given,
        record.changes,
        record.resolved,
        lambda data: base.parse(data).model_dump(mode="json"),
    )
    for name, found, wanted in (
        ("title", record.title, file.title),
        ("system", record.system, file.system.name),
        ("delta", record.delta, file.claim.delta),
        ("seeds", record.seeds, file.compare.seeds),
        ("seed", record.seed, file.seed),
    ):
        same(f"{name} (file against record)", found, wanted)
    return file


def _check_row(file: SystemFile, row: SystemRow, plan: RowPlan) -> None:
    name = f"{row.part}/{row.name}" if row.part else row.name
    outcome = Outcome(
        values=row.values,
        event=row.event,
        releases=row.releases,
        notes=row.notes,
        digest=row.run_digest,
    )
    again = checked_row(file, plan, outcome)
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


def checked_row(file: SystemFile, plan: RowPlan, outcome: Outcome) -> SystemRow:
    """The row of an outcome that is one of this plan; said of a new row and of a recorded one.

    Raises:
        RecordError: a metric is missing, a value is impossible, or what the ledger costs is not
            what the plan says: nothing where no record has an influence, the budget to a
            thousandth where noise was made for one, and no bound where there is neither.
    """
    name = f"{plan.part}/{plan.name}" if plan.part else plan.name
    metrics = {metric.name: metric for metric in file.metrics()}
    wanted = "metrics, none missing and none unknown"
    same(f"{name}: {wanted}", sorted(outcome.values), sorted(metrics))
    clients = next(len(part.clients) for part in file.parts() if part.name == plan.part)
    for metric, values in outcome.values.items():
        check_values(f"{name}: {metric}", metrics[metric], values, file.compare.seeds, clients)
    same(f"{name}: has an event", outcome.event is not None, plan.dp == "accounted")
    if (outcome.releases > 0) != plan.records:
        raise RecordError(
            f"{name}: {outcome.releases} releases are recorded, but there must be "
            f"{'some' if plan.records else 'none'}: the plan says that "
            f"{'records have' if plan.records else 'no record has'} an influence"
        )
    row = row_of(file, plan, outcome)
    if row.proven is not None:
        _check_cost(name, plan, row.proven)
    return row


def _check_cost(name: str, plan: RowPlan, proven: Interval) -> None:
    """What is proven must be of the kind that the plan says."""
    if not plan.records:
        wanted, fits = "0, as no record has an influence", proven.upper == 0.0
    elif plan.released:
        wanted, fits = "above 0, as records have an influence", proven.upper > 0.0
    elif plan.asked is None:
        wanted, fits = "infinite, as no noise was made for a budget", math.isinf(proven.upper)
    else:
        least, most = plan.asked * (1.0 - _WASTE), plan.asked * (1.0 + TOLERANCE)
        wanted = f"the budget {plan.asked:g}, of which {_WASTE:g} may be left"
        fits = least <= proven.upper <= most
    if not fits:
        raise RecordError(
            f"{name}: the proven epsilon of the ledger's events is {proven.upper:.10g}, but must "
            f"be {wanted}"
        )


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

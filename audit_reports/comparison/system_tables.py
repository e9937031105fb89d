"""The rows of a system's comparison as text: for a terminal, as markdown, as CSV."""

import csv
import io
from collections.abc import Sequence

from ...fl_core.systems.base import DpLine, SystemFile
from ..render.tables import harmless
from .reading import shown
from .statistics import Mean
from .system_reading import control, epsilon
from .system_record import SystemRecord, SystemRow
from .tables import aligned, bullets, grid, interval, plain

Grid = tuple[tuple[str, ...], list[tuple[str, ...]]]
_HEADINGS: dict[DpLine, str] = {
    "accounted": "rows with an accounted epsilon",
    "no DP claim": "rows without a DP claim",
}
_NO_BUDGET = "controls and rows without a budget"


def terms(record: SystemRecord) -> str:
    """In what sense epsilons are meant."""
    kinds = sorted({f"{r.adjacency}, one {r.unit}" for r in record.rows if r.proven is not None})
    return (
        f"epsilon at delta {record.delta:g} ({'; '.join(kinds)}), all rounds together; "
        f"{record.seeds} seeds, 95 % t intervals"
    )


def sections(record: SystemRecord, file: SystemFile) -> list[tuple[str, list[SystemRow]]]:
    """Heading and rows of each table: never two senses of epsilon in one.

    Rows with and without a DP claim are apart, and so are rows with a budget of different unit,
    adjacency or adversary. Without a budget epsilon is 0 or infinite, in any sense: such rows have
    a table of their own where there are several senses, else they are in the only one.
    """
    found = []
    for part in file.parts():
        start = f"{part.name}: " if part.name else ""
        for dp, words in _HEADINGS.items():
            rows = [r for r in record.rows if (r.part, r.dp) == (part.name, dp)]
            kinds = senses(rows)
            if len(kinds) > 1:
                found.append((start + _NO_BUDGET, [r for r in rows if r.asked is None]))
                found += [
                    (f"{start}epsilon of {kind}", [r for r in rows if in_sense(r, kind)])
                    for kind in kinds
                ]
            elif rows:
                found.append((start + words, rows))
    return found


def sense(row: SystemRow) -> str:
    """What a row's epsilon is of: unit, adjacency, adversary."""
    return f"one {row.unit}, {row.adjacency}; {row.view}"


def senses(rows: Sequence[SystemRow]) -> tuple[str, ...]:
    """Those of rows with a budget."""
    return tuple(dict.fromkeys(sense(row) for row in rows if row.asked is not None))


def in_sense(row: SystemRow, kind: str) -> bool:
    """Whether the row has a budget in this sense."""
    return row.asked is not None and sense(row) == kind


def summary(file: SystemFile, rows: Sequence[SystemRow]) -> Grid:
    """A line per row: what it was asked to cost, what it is proven to cost, how good it is."""
    gap = file.gap()
    header = ["row", "asked", "epsilon, proven", *(metric.name for metric in file.metrics())]
    if gap is not None:
        header.append(f"{gap[0]} less {gap[1]}")
    body = []
    for row in rows:
        cells = [row.name, asked(row), epsilon(row)]
        cells += [_cell(row.means.get(metric.name)) for metric in file.metrics()]
        if gap is not None:
            cells.append("" if row.gap is None else shown(row.gap))
        body.append(tuple(cells))
    return tuple(header), body


def asked(row: SystemRow) -> str:
    """The budget, or what the published program claims."""
    if row.asked is None:
        return ""
    return f"{row.asked:g} claimed" if row.released else f"{row.asked:g}"


def differences(record: SystemRecord, file: SystemFile, rows: Sequence[SystemRow]) -> Grid:
    """A line per row, a column per control, of the first metric; twins have one together."""
    metric = file.metrics()[0].name
    known = {
        (c.part, c.name, c.asked, control(c)): c.difference
        for c in record.contrasts
        if c.metric == metric
    }
    keys = {row.key for row in rows}
    names = list(dict.fromkeys(k[3] for k in known if k[:3] in keys))
    body = []
    for row in rows:
        found = [known.get((*row.key, name)) for name in names]
        if any(each is not None for each in found):
            cells = ("" if each is None else shown(each) for each in found)
            body.append((row.name, asked(row), *cells))
    return ("row", "asked", *(f"{metric} less {name}" for name in names)), body


def groups(file: SystemFile, rows: Sequence[SystemRow]) -> Grid:
    """The first metric of each group of clients."""
    metric = file.metrics()[0].name
    names = [name for part in file.parts() if part.name == rows[0].part for name in part.groups]
    body = [
        (row.name, asked(row), *(_cell(row.groups.get(metric, {}).get(name)) for name in names))
        for row in rows
    ]
    return ("row", "asked", *(f"{metric}, {name}" for name in names)), body


def protections(rows: Sequence[SystemRow]) -> Grid:
    """What each row does, for whom its epsilon is, and what else was measured."""
    body: list[tuple[str, ...]] = [
        (row.name, asked(row), row.protection, row.view, f"{row.adjacency}, one {row.unit}",
         " ".join(row.notes))
        for row in rows
    ]  # fmt: skip
    return ("row", "asked", "protection", "epsilon is for", "terms", "also measured"), body


def terminal(record: SystemRecord, file: SystemFile) -> list[str]:
    """What the command prints."""
    lines = [record.title, terms(record)]
    for heading, rows in sections(record, file):
        lines += ["", heading, *aligned(*summary(file, rows))]
    return [*lines, "", *record.reading]


def markdown(record: SystemRecord, file: SystemFile) -> str:
    """The reading, and the tables."""
    parts = [f"# {plain(record.title)}", f"{terms(record)}.", bullets(record.reading)]
    metrics = [f"{m.name}: {m.words} ({m.unit}, {m.better} is better)" for m in file.metrics()]
    parts.append(bullets(metrics))
    for heading, rows in sections(record, file):
        parts += [f"## {plain(heading)}", grid(*summary(file, rows))]
        for found in (differences(record, file, rows), groups(file, rows), protections(rows)):
            if len(found[0]) > 2 and found[1]:
                parts.append(grid(*found))
    parts += ["## Limits", bullets(record.limits)]
    return "\n\n".join(parts) + "\n"


def csv_text(record: SystemRecord, file: SystemFile) -> str:
    """A line per row and metric, RFC 4180, at full precision."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    names = [f"{c} (of {p.name})" if p.name else c for p in file.parts() for c in p.groups]
    ends = ("mean", "lower_95", "upper_95")
    writer.writerow(
        [
            *("part", "row", "asked_epsilon (nats)", "claimed_by_program", "dp"),
            *("proven_epsilon_lower (nats)", "proven_epsilon_upper (nats)"),
            *("delta (probability)", "adjacency", "unit", "epsilon_is_for"),
            *("seeds", "metric", "unit_of_metric"),
            *ends,
            *(harmless(f"{name}_{end}") for name in names for end in ends),
        ]
    )  # fmt: skip
    for row in record.rows:
        bound = ("", "") if row.proven is None else (row.proven.lower, row.proven.upper)
        for metric in file.metrics():
            if metric.name not in row.means:
                continue
            means = [row.means[metric.name]]
            per_group = [
                row.groups[metric.name][name] if part.name == row.part else None
                for part in file.parts()
                for name in part.groups
            ]
            writer.writerow(
                [
                    *(harmless(row.part), harmless(row.name), row.asked, row.released, row.dp),
                    *bound,
                    *(record.delta, row.adjacency, row.unit, harmless(row.view), record.seeds),
                    *(metric.name, metric.unit),
                    *(
                        value
                        for m in (*means, *per_group)
                        for value in (("",) * 3 if m is None else (m.value, m.lower, m.upper))
                    ),
                ]
            )
    return out.getvalue()


def _cell(found: Mean | None) -> str:
    return "" if found is None else interval(found)

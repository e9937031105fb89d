"""The rows of a comparison as text: for a terminal, as markdown, as CSV."""

import csv
import io
from collections.abc import Sequence

from ...fl_core.comparison import BASELINE, RANDOM_ONCE, RANDOM_PROTOTYPES
from ..render.tables import harmless
from ..text import at_most
from .reading import shown
from .record import ComparisonRecord, Row
from .statistics import Contrast, Mean, at_budget

_AGAINST = (BASELINE, RANDOM_PROTOTYPES, RANDOM_ONCE)  # differences in the CSV file
HEADER = ("protection", "epsilon, proven", "mean accuracy")


def epsilon(row: Row) -> str:
    """The proven epsilon, rounded up; "inf" where nothing is proven."""
    text = at_most(row.proven.upper)
    over = row.asked is not None and not at_budget(row)
    return f"{text} (over {row.asked:g})" if over else text


def interval(found: Mean) -> str:
    """A mean and half the width of its interval.

    >>> interval(Mean(0.5, 0.45, 0.55))
    '0.500 ± 0.050'
    """
    return f"{found.value:.3f} ± {found.upper - found.value:.3f}"


def methods(record: ComparisonRecord) -> list[str]:
    """Their names, in the order of the rows."""
    return list(dict.fromkeys(row.method for row in record.rows))


def rows_of(record: ComparisonRecord, method: str) -> list[Row]:
    """The rows of one method."""
    return [row for row in record.rows if row.method == method]


def difference(record: ComparisonRecord, row: Row, against: str) -> Contrast | None:
    """A recorded difference of this row; None if there is none such."""
    key = (row.method, row.name, row.asked, against)
    for found in record.contrasts:
        if (found.method, found.name, found.asked, found.against) == key:
            return found
    return None


def columns(record: ComparisonRecord, method: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and cells of one method's table."""
    rows = rows_of(record, method)
    against = [
        name
        for name in dict.fromkeys(c.against for c in record.contrasts if c.method == method)
        if any(difference(record, row, name) for row in rows)
    ]
    header = (*HEADER, *record.clients, *(f"less {name}" for name in against))
    return header, [
        (
            row.name,
            epsilon(row),
            interval(row.mean),
            *(interval(found) for found in row.clients),
            *(_cell(difference(record, row, name)) for name in against),
        )
        for row in rows
    ]


def _cell(found: Contrast | None) -> str:
    return "" if found is None else shown(found.difference)


def terms(record: ComparisonRecord) -> str:
    """In what sense the budgets are equal."""
    return (
        f"epsilon at delta {record.delta:g}, {record.adjacency}, one {record.unit}, all rounds "
        f"together; {record.seeds} seeds, 95 % t intervals"
    )


def summary(record: ComparisonRecord) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Mean accuracies, a line per method and protection, a column per budget.

    A mechanism that does not cost what it was asked to has its proven epsilon in the cell.
    """
    budgets = sorted({row.asked for row in record.rows if row.asked is not None})
    header = ("method", "protection", "no budget", *(f"epsilon {b:g}" for b in budgets))
    body = []
    for method in methods(record):
        found = {(row.name, row.asked): row for row in rows_of(record, method)}
        for name in dict.fromkeys(name for name, _ in found):
            cells = (found.get((name, budget)) for budget in (None, *budgets))
            body.append((method, name, *("" if c is None else _short(c) for c in cells)))
    return header, body


def _short(row: Row) -> str:
    text = f"{row.mean.value:.3f}"
    tight = row.asked is None or row.asked - 1e-6 <= row.proven.upper <= row.asked
    return text if tight else f"{text} at {at_most(row.proven.upper, 3)}"


def terminal(record: ComparisonRecord) -> list[str]:
    """What the command prints."""
    lines = aligned(*summary(record))
    return [record.title, f"mean accuracy; {terms(record)}", "", *lines, "", *record.reading]


def aligned(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table in columns of equal width."""
    table = [header, *body]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]


def markdown(record: ComparisonRecord) -> str:
    """The reading, a summary, and a table per method."""
    header, body = summary(record)
    parts = [f"# {plain(record.title)}", plain(" ".join(record.reading))]
    parts += [f"Mean accuracy; {terms(record)}.", grid(header, body)]
    for method in methods(record):
        parts += [f"## {method}", grid(*columns(record, method))]
    parts += ["## Limits", bullets(record.limits)]
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """Text that markdown shows as it is: one line, no element of HTML in it.

    >>> plain("<b>x</b> & y")
    '&lt;b>x&lt;/b> &amp; y'
    """
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")


def bullets(items: Sequence[str]) -> str:
    """A list in markdown."""
    return "\n".join(f"- {plain(item)}" for item in items)


def grid(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table in markdown."""
    return "\n".join(map(_line, (header, ["---"] * len(header), *body)))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(plain(cell).replace("|", "\\|") for cell in cells) + " |"


def csv_text(record: ComparisonRecord) -> str:
    """A line per variant, RFC 4180, at full precision."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    ends = ("mean", "lower_95", "upper_95")
    writer.writerow(
        [
            *("method", "variant", "asked_epsilon (nats)", "proven_epsilon_lower (nats)"),
            *("proven_epsilon_upper (nats)", "delta (probability)", "adjacency", "unit", "seeds"),
            *(f"{end}_accuracy (fraction)" for end in ends),
            *(harmless(f"{c}_{end} (fraction)") for c in record.clients for end in ends),
            *(f"less_{name}_{end} (fraction)" for name in _AGAINST for end in ends),
        ]
    )
    for row in record.rows:
        pairs = [difference(record, row, name) for name in _AGAINST]
        found = [None if pair is None else pair.difference for pair in pairs]
        means: list[Mean | None] = [row.mean, *row.clients, *found]
        writer.writerow(
            [
                *(row.method, row.name, row.asked, row.proven.lower, row.proven.upper),
                *(record.delta, record.adjacency, record.unit, record.seeds),
                *(
                    value
                    for m in means
                    for value in (("",) * 3 if m is None else (m.value, m.lower, m.upper))
                ),
            ]
        )
    return out.getvalue()

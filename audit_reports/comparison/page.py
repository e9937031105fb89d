"""comparison.html: one self-contained page without script, light and dark, printable."""

from collections.abc import Sequence
from html import escape

from ..dossier.page import POLICY, STYLE, block_html
from ..figures import Drawing
from ..render.blocks import Facts, Table, Text
from .figure import accuracy
from .record import ComparisonRecord
from .system_record import SystemRecord
from .tables import HEADER, columns, methods, summary, terms

_MORE = """
.paper { background: #ffffff; border: 1px solid var(--line); border-radius: 4px; padding: .5rem;
  overflow-x: auto; }
.paper svg { display: block; width: 100%; height: auto; min-width: 44rem; }
@media (max-width: 48rem) {
  .paper::before { content: "wider than the screen: scroll sideways"; display: block;
    position: sticky; left: 0; font-size: .8rem; color: #5b6570; }
}
ul.plain { padding-left: 1.25rem; }
pre { overflow-x: auto; font: .82rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
"""
_MARKS = (
    "Lines: mechanisms at proven budgets; bars: 95 % intervals over seeds. Points of one budget "
    "are drawn side by side. Levels: controls without a budget; the band is the interval of "
    "training alone."
)


def render(record: ComparisonRecord) -> str:
    """The page; names in the record come from folders and files, so all text is escaped."""
    parts = [
        ("reading", "What the numbers say", block_html(Text(" ".join(record.reading)))),
        ("figure", "Accuracy against epsilon", figure(accuracy(record), _MARKS)),
        ("summary", "Mean accuracies", block_html(_summary(record))),
        *(
            (f"method-{number}", method, block_html(_table(record, method)))
            for number, method in enumerate(methods(record))
        ),
        ("limits", "Limits", items(record.limits)),
        ("reproduce", "How to repeat it", reproduce(record)),
    ]
    return document(record.title, terms(record), parts)


def document(title: str, terms: str, parts: Sequence[tuple[str, str, str]]) -> str:
    """A page of sections: id, heading, HTML each."""
    title = escape(title)
    links = "".join(f'<li><a href="#{key}">{escape(name)}</a></li>' for key, name, _ in parts)
    body = "\n".join(
        f'<section id="{key}">\n<h2>{escape(name)}</h2>\n{content}\n</section>'
        for key, name, content in parts
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Comparison: {title}</title>\n<style>{STYLE}{_MORE}</style>\n</head>\n<body>\n"
        f"<header><h1>{title}</h1>\n"
        f'<p class="sub">{escape(terms)}. Every epsilon was computed from the ledger of '
        "its run and is rounded up.</p>\n"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n'
        f"<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _summary(record: ComparisonRecord) -> Table:
    header, rows = summary(record)
    return Table(
        caption="Mean over clients and seeds at each budget; where another epsilon is proven than "
        "the budget, it is in the cell.",
        header=header,
        rows=tuple(rows),
        numeric=tuple(range(2, len(header))),
    )


def _table(record: ComparisonRecord, method: str) -> Table:
    header, rows = columns(record, method)
    return Table(
        caption="Mean over clients and of each client: mean over seeds and half the width of its "
        "95 % interval. Differences are paired over seeds.",
        header=header,
        rows=tuple(rows),
        numeric=tuple(range(1, len(HEADER) + len(record.clients))),
    )


def figure(drawing: Drawing, marks: str) -> str:
    """A drawing with its conclusion, what its marks mean, and its data."""
    data = Table(
        caption="Data of the figure",
        header=drawing.header,
        rows=drawing.rows,
        folded=True,
    )
    return (
        f'<figure>\n<div class="paper" tabindex="0" role="region" aria-label="Figure, scrolls '
        f'sideways">\n{drawing.svg}\n</div>\n<figcaption>{escape(drawing.conclusion)}</figcaption>\n'
        f'<p class="sub">{escape(marks)}</p>'
        f"\n{block_html(data)}\n</figure>"
    )


def items(items: Sequence[str]) -> str:
    """A list."""
    return '<ul class="plain">' + "".join(f"<li>{escape(i)}</li>" for i in items) + "</ul>"


def reproduce(record: ComparisonRecord | SystemRecord) -> str:
    """Hashes, place and time, and the file."""
    where = record.environment
    facts = (
        ("results", f"SHA-256 {record.results_sha256}"),
        ("record", f"SHA-256 {record.digest}"),
        ("source", f"SHA-256 {where.source_sha256}, git {where.git_revision}"),
        ("run", f"{where.created}, {where.seconds:g} s, Python {where.python}, {where.platform}"),
        ("changes", " ".join(record.changes) or "none"),
    )
    return (
        f"{block_html(Facts(facts))}\n<details><summary>The comparison file</summary>\n"
        f'<pre tabindex="0">{escape(record.given)}</pre></details>'
    )

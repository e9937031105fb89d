"""A dossier as one self-contained HTML page: no script, no request, light and dark, printable."""

from html import escape

from ..render.blocks import Block, Cell, Facts, Section, Table, Text
from .build import Dossier
from .sections import sections

_STYLE = """
:root { --paper: #ffffff; --ink: #1b1f24; --faint: #57606a; --line: #d5dae0;
  --link: #0b5394; --failed: #a63603; --open: #7a5600; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e7ebf0; --faint: #a3adb8;
  --line: #3a424c; --link: #8cc4ff; --failed: #ff9e66; --open: #ecc766; } }
@media print { :root { --paper: #ffffff; --ink: #000000; --faint: #333333; --line: #999999; }
  .scroll { overflow: visible; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.25rem; background: var(--paper);
  color: var(--ink); overflow-wrap: anywhere;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.25rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
a, summary { color: var(--link); }
summary { cursor: pointer; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .15rem .9rem; padding: 0; }
dl > div { display: grid; grid-template-columns: minmax(7rem, 12rem) 1fr; gap: 0 1rem;
  padding: .2rem 0; border-bottom: 1px solid var(--line); }
dt, caption, .sub { color: var(--faint); }
dd { margin: 0; }
.scroll { overflow-x: auto; margin: .5rem 0 1.5rem; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
caption { text-align: left; padding: .2rem 0 .4rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0; max-width: 26rem;
  border-bottom: 1px solid var(--line); }
thead th { border-bottom-width: 2px; vertical-align: bottom; max-width: 9rem; }
.number { text-align: right; white-space: nowrap; }
td.long { min-width: 15rem; }
tbody th { min-width: 11rem; }
.failed { color: var(--failed); font-weight: 600; }
.open { color: var(--open); font-weight: 600; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_TAGS = frozenset({"failed", "open", "ok"})


def render(made: Dossier) -> str:
    """The page. Everything that comes from a declaration is escaped."""
    parts = sections(made)
    links = "".join(f'<li><a href="#{escape(s.key)}">{escape(s.title)}</a></li>' for s in parts)
    body = "\n".join(_section(section) for section in parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Dossier: {escape(made.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(made.title)}</h1>\n"
        '<p class="sub">Every number on this page was computed by the accountant when it was '
        "written. An upper limit is rounded up. Findings are about what is declared; none is no "
        f'proof.</p>\n<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n'
        f"<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    blocks = "\n".join(_block(block) for block in section.blocks)
    key, title = escape(section.key), escape(section.title)
    return f'<section id="{key}">\n<h2>{title}</h2>\n{blocks}\n</section>'


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f"<p>{escape(block.text)}</p>"
    if isinstance(block, Facts):
        rows = "".join(
            f"<div><dt>{escape(term)}</dt><dd>{escape(text)}</dd></div>"
            for term, text in block.facts
        )
        return f"<dl>{rows}</dl>"
    if isinstance(block, Table):
        grid = _table(block)
        if block.folded:
            return f"<details><summary>{escape(block.caption)}</summary>\n{grid}\n</details>"
        return grid
    raise TypeError(f"a dossier holds no {type(block).__name__}")


def _table(table: Table) -> str:
    head = "".join(
        f'<th scope="col"{_number(i, table)}>{escape(name)}</th>'
        for i, name in enumerate(table.header)
    )
    body = "\n".join(
        "<tr>" + "".join(_cell(cell, i, table) for i, cell in enumerate(row)) + "</tr>"
        for row in table.rows
    )
    caption = escape(table.caption)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}">\n<table>\n'
        f"<caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n"
        "</table>\n</div>"
    )


def _number(index: int, table: Table) -> str:
    return ' class="number"' if index in table.numeric and index else ""


def _cell(cell: Cell, index: int, table: Table) -> str:
    if isinstance(cell, str):
        inner, text = escape(cell), cell
    else:
        kind = cell.kind if cell.kind in _TAGS else "ok"
        inner, text = f'<span class="{kind}">{escape(cell.text)}</span>', cell.text
    if index == 0:
        return f'<th scope="row">{inner}</th>'
    long = ' class="long"' if len(text) > 40 and index not in table.numeric else ""
    return f"<td{_number(index, table) or long}>{inner}</td>"

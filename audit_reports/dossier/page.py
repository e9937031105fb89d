"""A dossier as one self-contained HTML page: no script, no request, light and dark, printable."""

from html import escape

from ..render.blocks import Block, Cell, Facts, Section, Table, Text, VerdictBox
from .build import Dossier
from .figure import bars
from .sections import sections

STYLE = """
:root { --paper: #ffffff; --ink: #1b1f24; --faint: #57606a; --line: #d5dae0;
  --link: #0b5394; --failed: #a63603; --open: #7a5600; --track: #eef1f4; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e7ebf0; --faint: #a3adb8;
  --line: #3a424c; --link: #8cc4ff; --failed: #ff9e66; --open: #ecc766;
  --track: #232a32; } }
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
dt, .caption, .sub { color: var(--faint); }
dd { margin: 0; }
.scroll { overflow-x: auto; margin: 0 0 1.75rem; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
.caption { margin: 1rem 0 .2rem; font-size: .88rem; max-width: 60rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0; max-width: 26rem;
  border-bottom: 1px solid var(--line); }
thead th { border-bottom-width: 2px; vertical-align: bottom; max-width: 9rem; }
.number { text-align: right; }
td.number { white-space: nowrap; }
td.long { min-width: 13rem; }
tbody th { min-width: 11rem; }
.box { border: 2px solid var(--line); border-radius: 6px; padding: .25rem 1rem; }
.word { font-size: 1.25rem; letter-spacing: .03em; margin-right: .4rem; }
h3 { font-size: 1rem; margin: .9rem 0 .3rem; }
ol { margin: 0 0 .8rem; padding-left: 1.4rem; }
figure { margin: 1.25rem 0; }
figcaption { font-weight: 600; margin-bottom: .6rem; }
.bar { display: grid; grid-template-columns: minmax(8rem, 24rem) 1fr 6.5rem; gap: .1rem .8rem;
  align-items: center; padding: .15rem 0; font-size: .88rem; }
.bar b { font-variant-numeric: tabular-nums; }
.track { position: relative; height: .9rem; background: var(--track); }
.track > span { display: block; height: 100%; background: var(--failed); }
.claim .track > span { background: var(--faint); }
.sound .track > span { background: var(--link); }
.none .track > span { background: repeating-linear-gradient(45deg, var(--failed) 0 4px,
  var(--track) 4px 9px); }
.axis .track { background: none; border-top: 1px solid var(--faint); height: 1.4rem; }
.axis .track > span { position: absolute; background: none; height: auto; color: var(--faint);
  transform: translateX(-50%); font-size: .8rem; white-space: nowrap; }
.axis .track > span:first-child { transform: none; }
.axis .track > span:last-child { transform: translateX(-100%); }
@media (max-width: 40rem) {
  body { padding: .75rem; }
  .bar { grid-template-columns: 1fr 5.5rem; }
  .bar > span:first-child { grid-column: 1 / -1; }
  dl > div { grid-template-columns: 1fr; }
}
.failed { color: var(--failed); font-weight: 600; }
.open { color: var(--open); font-weight: 600; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_TAGS = frozenset({"failed", "open", "ok"})


def render(made: Dossier) -> str:
    """The page. Everything that comes from a declaration is escaped."""
    parts = sections(made)
    links = "".join(f'<li><a href="#{escape(s.key)}">{escape(s.title)}</a></li>' for s in parts)
    body = "\n".join(
        _section(section, bars(made) if section.key == "summary" else "") for section in parts
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Dossier: {escape(made.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(made.title)}</h1>\n"
        '<p class="sub">Every number on this page was computed when it was written, or is marked '
        "as quoted. Upper limits are rounded up; reference numbers are rounded to nearest. "
        "Findings are about what is declared; none is no proof.</p>\n"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n'
        f"<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _section(section: Section, figure: str) -> str:
    blocks = "\n".join((*(block_html(block) for block in section.blocks), figure))
    key, title = escape(section.key), escape(section.title)
    return f'<section id="{key}">\n<h2>{title}</h2>\n{blocks}\n</section>'


def block_html(block: Block) -> str:
    """A block as HTML; all text is escaped."""
    if isinstance(block, Text):
        return f"<p>{escape(block.text)}</p>"
    if isinstance(block, VerdictBox):
        return _verdict(block)
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


def _verdict(box: VerdictBox) -> str:
    rows = "".join(
        f"<div><dt>{escape(term)}</dt><dd>{escape(text)}</dd></div>" for term, text in box.lines
    )
    worst = "".join(f"<li>{escape(text)}</li>" for text in box.caveats)
    kind = box.word.kind if box.word.kind in _TAGS else "ok"
    return (
        f'<div class="box"><p><span class="word {kind}">{escape(box.word.text)}</span> '
        f"{escape(box.sentence)}</p>\n<dl>{rows}</dl>\n"
        f"<h3>Worst findings</h3><ol>{worst}</ol></div>"
    )


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
        # outside the table: a caption that is as wide as a table that scrolls cannot be read
        f'<p class="caption">{caption}</p>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}">\n'
        f'<table aria-label="{caption}">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table>\n</div>"
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

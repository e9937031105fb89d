"""A dossier in words for the terminal."""

import textwrap

from ..lint.show import paragraph
from ..render.blocks import Block, Cell, Facts, Table, Text, VerdictBox
from .build import Dossier
from .sections import sections

_WIDTH = 100
_WIDEST = 130  # a table that is wider is written row by row


def lines(made: Dossier) -> list[str]:
    """All sections; findings that are information only are left to `privassay lint`."""
    out = [made.title, "=" * len(made.title)]
    for section in sections(made):
        out += ["", section.title, "-" * len(section.title)]
        if section.key == "findings":
            out += [*_block(section.blocks[0]), "", *_findings(made)]
            continue
        for block in section.blocks:
            out += [*_block(block), ""]
    return [_clean(line) for line in out]


def _clean(text: str) -> str:
    # a declaration is a stranger's file: no control characters reach the terminal
    return "".join(c if c.isprintable() else " " for c in text)


def _findings(made: Dossier) -> list[str]:
    out: list[str] = []
    for mode in (*made.released, *made.sound):
        loud = [f for f in mode.findings if f.severity != "info"]
        out += [f"{mode.declaration.title} (lint exits with {mode.exit_code}):"]
        out += [line for f in loud for line in paragraph(f)] or ["    nothing above information"]
        out.append("")
    return out


def _block(block: Block) -> list[str]:
    if isinstance(block, VerdictBox):
        rows = [("verdict", f"{block.word.text}: {block.sentence}"), *block.lines]
        rows += [(f"worst {i}", text) for i, text in enumerate(block.caveats, start=1)]
        return [line for term, text in rows for line in _term(term, text)]
    if isinstance(block, Facts):
        return [line for term, text in block.facts for line in _term(term, text)]
    if isinstance(block, Text):
        return textwrap.wrap(block.text, _WIDTH)
    return _table(block) if isinstance(block, Table) else []


def _term(term: str, text: str) -> list[str]:
    indent = " " * 13
    return textwrap.wrap(
        f"{term:<12} {text}", _WIDTH, subsequent_indent=indent, break_on_hyphens=False
    )


def _table(table: Table) -> list[str]:
    """Columns as wide as their widest cell; headers wrap."""
    rows = [[_text(cell) for cell in row] for row in table.rows]
    body = [max((len(row[i]) for row in rows), default=0) for i in range(len(table.header))]
    widths = [max(w, min(len(h), 14)) for w, h in zip(body, table.header, strict=True)]
    out = textwrap.wrap(table.caption, _WIDTH)
    if sum(widths) + 2 * len(widths) > _WIDEST:
        return out + [line for row in rows for line in _row(table.header, row)]
    heads = [textwrap.wrap(h, w) or [""] for h, w in zip(table.header, widths, strict=True)]
    depth = max(len(head) for head in heads)
    top = [[h[i] if i < len(h) else "" for h in heads] for i in range(depth)]
    for row in (*top, *rows):
        cells = [
            f"{cell:>{w}}" if i in table.numeric else f"{cell:<{w}}"
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        out.append(("  " + "  ".join(cells)).rstrip())
    return out


def _row(header: tuple[str, ...], row: list[str]) -> list[str]:
    """One row of a wide table: its name, then a line for each cell that is not empty."""
    out = [f"  {row[0]}"]
    for name, cell in zip(header[1:], row[1:], strict=True):
        if cell:
            text = f"    {name}: {cell}"
            out += textwrap.wrap(text, _WIDTH, subsequent_indent=" " * 6)
    return out


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell.text

"""A dossier in words for the terminal."""

import textwrap

from ..lint.show import paragraph
from ..render.blocks import Block, Cell, Facts, Table, Text
from .build import Dossier
from .sections import sections

_WIDTH = 100


def lines(made: Dossier) -> list[str]:
    """All sections; findings that are information only are left to `privassay lint`."""
    out = [made.title, "=" * len(made.title)]
    for section in sections(made):
        out += ["", section.title, "-" * len(section.title)]
        if section.key == "findings":
            out += _findings(made)
            continue
        for block in section.blocks:
            out += [*_block(block), ""]
    return out


def _findings(made: Dossier) -> list[str]:
    out: list[str] = []
    for mode in (*made.released, *made.sound):
        loud = [f for f in mode.findings if f.severity != "info"]
        out += [f"{mode.declaration.title} (lint exits with {mode.exit_code}):"]
        out += [line for f in loud for line in paragraph(f)] or ["    nothing above information"]
        out.append("")
    return out


def _block(block: Block) -> list[str]:
    if isinstance(block, Facts):
        return [
            line
            for term, text in block.facts
            for line in textwrap.wrap(f"{term:<12} {text}", _WIDTH, subsequent_indent=" " * 13)
        ]
    if isinstance(block, Text):
        return textwrap.wrap(block.text, _WIDTH)
    return _table(block) if isinstance(block, Table) else []


def _table(table: Table) -> list[str]:
    """Columns as wide as their widest cell; headers wrap."""
    rows = [[_text(cell) for cell in row] for row in table.rows]
    body = [max((len(row[i]) for row in rows), default=0) for i in range(len(table.header))]
    widths = [max(w, min(len(h), 14)) for w, h in zip(body, table.header, strict=True)]
    heads = [textwrap.wrap(h, w) or [""] for h, w in zip(table.header, widths, strict=True)]
    depth = max(len(head) for head in heads)
    top = [[h[i] if i < len(h) else "" for h in heads] for i in range(depth)]
    out = textwrap.wrap(table.caption, _WIDTH)
    for row in (*top, *rows):
        cells = [
            f"{cell:>{w}}" if i in table.numeric else f"{cell:<{w}}"
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        out.append(("  " + "  ".join(cells)).rstrip())
    return out


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell.text

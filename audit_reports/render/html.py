"""The report: one self-contained HTML file, no request leaves it, readable without script."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...accountant.errors import RecordError
from ..figures import Drawing, all_figures
from ..record import AuditRecord
from . import evidence, guarantee, measured

_OPENING = '<script type="application/json" id="privassay-record">'
_CLOSING = "</script>"
_TEMPLATES = Path(__file__).resolve().parent.parent / "templates"


def render(record: AuditRecord, drawings: dict[str, Drawing] | None = None) -> str:
    """The report of `record`, HTML.

    Args:
        record: what to show.
        drawings: its figures, if they are drawn already.
    """
    from markupsafe import Markup

    drawn = all_figures(record) if drawings is None else drawings
    sections = [
        guarantee.verdict(record),
        guarantee.claim(record),
        guarantee.mechanisms(record),
        guarantee.proven(record),
        guarantee.threats(record),
        measured.attacks(record),
        measured.measurement(record, drawn),
        measured.gap(record, drawn),
        evidence.utility(record),
        evidence.comparison(record, drawn),
        evidence.reconstruction(record),
        evidence.hazards(record),
        evidence.limits(record),
        evidence.reproduce(record),
        evidence.glossary(record),
    ]
    numbered = list(enumerate(s for s in sections if s is not None))
    text: str = (
        _environment()
        .get_template("report.html.j2")
        .render(
            record=record,
            sections=numbered,
            embedded=Markup(_OPENING + _embed(record.text()) + _CLOSING),
            markup=Markup,
        )
    )
    return text


def extract_record(html_text: str) -> str:
    """The record inside a report, the exact text of record.json.

    Raises:
        RecordError: there is no record in the text, or more than one.
    """
    found = html_text.count(_OPENING)
    if found != 1:
        raise RecordError(
            f"the report holds {found or 'no'} audit record{'s' if found > 1 else ''}, but must "
            "hold exactly one.\n  Give the report.html that privassay wrote, unchanged."
        )
    start = html_text.index(_OPENING) + len(_OPENING)
    end = html_text.find(_CLOSING, start)
    if end < 0:
        raise RecordError("the report is cut off inside its audit record; ask for the whole file")
    return _restore(html_text[start:end])


def _embed(text: str) -> str:
    r"""JSON that cannot leave its script element.

    `</` would end the element; after `<!--` and `<script` the true end would be overlooked. Both
    are written with escapes that JSON readers understand.

    >>> _embed('"</script><!--"')
    '"<\\/script>\\u003c!--"'
    """
    return text.replace("</", r"<\/").replace("<!--", r"\u003c!--")


def _restore(text: str) -> str:
    r"""Undo `_embed`. Escapes are read from left to right: a backslash may itself be escaped.

    >>> text = '"</a>" "<!--" "\\\\u003c" "\\\\/"'
    >>> _restore(_embed(text)) == text
    True
    """
    meaning = {"/": "/", "u003c": "<"}
    return re.sub(r"\\(u003c|.)", lambda m: meaning.get(m[1], m[0]), text, flags=re.DOTALL)


@lru_cache(maxsize=1)
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )

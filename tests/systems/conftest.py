"""How numbers of a specification page are compared with the tables that a dossier computes.

A row of a checklist is (where on the page, function that makes the table, first cell of its row,
what the page prints in the cells after it). A printed text is met if the number, rounded to the
digits shown, is that text. Instead of a text there may be:

- "": not on the page;
- ("6.70", "6.69"): the page prints the first, which is wrong; the second is right;
- near(".360", .1): the page's number comes from random draws; ours is this close.
"""

import importlib
import inspect
import math
from functools import cache
from typing import NamedTuple

import pytest

from privassay.audit_reports.dossier.sections import number


class near(NamedTuple):  # noqa: N801 - reads as a word in the checklists
    """A printed number that was simulated, and how far another simulation may be from it."""

    text: str
    within: float


def agrees(value, text):
    """Whether `text` is `value` rounded to the digits that `text` shows."""
    digits = text.replace(",", "")
    places = len(digits.partition(".")[2])
    if "e" in digits:
        mantissa, _, power = digits.partition("e")
        unit = 10.0 ** (int(power) - len(mantissa.partition(".")[2]))
    else:
        unit = 10.0**-places
    return math.isfinite(value) and abs(value - float(digits)) <= 0.5 * unit * (1.0 + 1e-9)


def meets(cell, wanted):
    """Whether a cell of a table is what a checklist says."""
    if wanted == "":
        return True
    if isinstance(wanted, near):
        return abs(cell - float(wanted.text)) <= wanted.within
    if isinstance(wanted, tuple):
        wrong, right = wanted
        return agrees(cell, right) and not agrees(cell, wrong)
    if isinstance(cell, str) or not math.isfinite(cell):
        return (cell if isinstance(cell, str) else number(cell)) == wanted
    return agrees(cell, wanted)


def params(checklist, slow=()):
    """The rows as parameters of a test; those of the functions in `slow` are marked."""
    return [
        pytest.param(*row, marks=[pytest.mark.slow] if row[1] in slow else []) for row in checklist
    ]


@cache
def table(function):
    """The table that a function of a dossier makes for the released system."""
    module = inspect.getmodule(function)
    return function((module if hasattr(module, "RELEASED") else owner(module)).RELEASED)


def owner(module):
    """The module of the system that a helper module such as vpdr_noise belongs to."""
    name = module.__name__
    return importlib.import_module(name.removesuffix("_" + name.rpartition("_")[2]))


@pytest.fixture(scope="session")
def check_row():
    """Compare one row of a table with the page."""

    def check(function, label, wanted):
        found = table(function)
        rows = [row for row in found.rows if shown(row[0]) == label]
        assert len(rows) == 1, (label, [shown(row[0]) for row in found.rows])
        cells = rows[0][1:]
        assert len(cells) == len(wanted), (cells, wanted)
        wrong = [(c, w) for c, w in zip(cells, wanted, strict=True) if not meets(c, w)]
        assert not wrong, wrong

    return check


def shown(cell):
    """A cell as a reader sees it."""
    return cell if isinstance(cell, str) else number(cell)


@pytest.fixture(scope="session")
def check_table():
    """Compare a whole table with the page, row by row."""

    def check(function, wanted):
        rows = table(function).rows
        assert len(rows) == len(wanted)
        pairs = [
            (cell, text)
            for row, texts in zip(rows, wanted, strict=True)
            for cell, text in zip(row, texts, strict=True)
        ]
        wrong = [pair for pair in pairs if not meets(*pair)]
        assert not wrong, wrong

    return check


@pytest.fixture(scope="session")
def check_complete():
    """Every row of every table is on the checklist, or is named as one that no page prints."""

    def check(module, checklist, ours, slow=()):
        listed = {(function, label) for _, function, label, _ in checklist}
        on_it = {function for function, _ in listed}
        left = {part.__name__ for part in module.PARTS if part not in on_it}
        assert left == {*ours, "<lambda>"}, left  # the last is the table of defects
        assert on_it <= set(module.PARTS)
        for function in on_it - set(slow):
            missing = [
                shown(row[0])
                for row in table(function).rows
                if (function, shown(row[0])) not in listed
            ]
            assert not missing, (table(function).key, missing)

    return check

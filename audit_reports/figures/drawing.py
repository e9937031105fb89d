"""`Drawing`: what a figure is, besides its picture."""

from typing import NamedTuple


class Drawing(NamedTuple):
    """A figure.

    Attributes:
        svg: its text; also usable alone.
        conclusion: what it shows, one line, computed from the numbers.
        header: of the data table.
        rows: of the data table.
    """

    svg: str
    conclusion: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

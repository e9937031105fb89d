"""What a section of the report is made of. Inert: the template alone knows HTML."""

from dataclasses import dataclass
from typing import ClassVar

from ..figures import Drawing


@dataclass(frozen=True)
class Tag:
    """A coloured word: a verdict or a status. `kind` is one of a fixed set of style names."""

    text: str
    kind: str


Cell = str | Tag


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table whose first column heads its rows; `numeric` columns are aligned right."""

    block: ClassVar[str] = "table"
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: tuple[int, ...] = ()
    folded: bool = False


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    block: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Items:
    """A list."""

    block: ClassVar[str] = "items"
    items: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Terms and what they are, in two columns."""

    block: ClassVar[str] = "facts"
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Code:
    """Text to be read letter by letter."""

    block: ClassVar[str] = "code"
    caption: str
    text: str
    folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One figure, or several side by side: (file stem, drawing, caption)."""

    block: ClassVar[str] = "figures"
    figures: tuple[tuple[str, Drawing, str], ...]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A small picture. `data` is base64 of a PNG, checked; None if there is nothing to show."""

    caption: str
    alt: str
    data: str | None


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """One row of the gallery."""

    title: str
    pictures: tuple[Picture, ...]
    numbers: str
    reading: str
    leaks: bool


@dataclass(frozen=True)
class Gallery:
    """Reconstructions beside their controls."""

    block: ClassVar[str] = "gallery"
    rows: tuple[Reconstruction, ...]


@dataclass(frozen=True, kw_only=True)
class VerdictBox:
    """The first thing a reader sees."""

    block: ClassVar[str] = "verdict"
    word: Tag
    sentence: str
    lines: tuple[tuple[str, str], ...]
    caveats: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Blocks that are folded away together."""

    block: ClassVar[str] = "group"
    title: str
    blocks: tuple["Table | Code", ...]


Block = Table | Text | Items | Facts | Code | Figures | Gallery | VerdictBox | Group


@dataclass(frozen=True)
class Section:
    """A numbered section of the report."""

    key: str
    title: str
    blocks: tuple[Block, ...]

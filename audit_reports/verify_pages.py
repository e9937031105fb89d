"""Pages that people read are rendered again from the record, and compared with those on the disk.

Text and tables must be the same to the byte. Pictures are, too, where the same version of
matplotlib draws them on the same kind of machine; elsewhere they are left out, and that is said.
"""

import platform
import re
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from ..accountant.errors import RecordError
from .results import Environment


class Pages(NamedTuple):
    """What became of the pages.

    Attributes:
        unchecked: what was not compared, in words; empty if everything was.
        fit: whether text and tables were compared, and are those of the record.
        foreign: whether they differ, as another version of the program wrote them.
    """

    unchecked: str
    fit: bool
    foreign: bool = False


_PICTURE = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
_NO_DRAWING = re.compile(r"<(?:\w+:)?(?:foreignObject|script|iframe|a)\b", re.IGNORECASE)


def check_pages(
    pages: dict[str, Path],
    write: Callable[[Path], None],
    environment: Environment,
    *,
    ours: bool,
    whole: bool = True,
) -> Pages:
    """Compare pages with what the record gives.

    Args:
        pages: name as `write` gives it -> the file to be checked.
        write: renders all pages into a folder.
        environment: of the record.
        ours: whether this very program wrote the record, so that its pages must be these.
        whole: whether `pages` must be all that `write` gives.

    Raises:
        RecordError: a page is missing, is one too many, or does not show what the record says.
    """
    with TemporaryDirectory() as made:
        folder = Path(made)
        try:
            write(folder)
        except ImportError as error:
            return Pages(f"pages ({error.name} is not installed)", fit=False)
        wanted = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
        alike = _draws_alike(environment)
        if wrong := _first_wrong(pages, wanted, alike, whole):
            if ours:
                raise RecordError(
                    f"{wrong}.\n  Believe the record, not its pages; `privassay report` on the "
                    "folder writes them again from the record."
                )
            return Pages(f"pages: another version wrote them, and {wrong}", fit=False, foreign=True)
    left = "" if alike else f"pictures on pages ({_other(environment)})"
    return Pages(left, fit=True)


def _first_wrong(pages: dict[str, Path], wanted: dict[str, Path], alike: bool, whole: bool) -> str:
    """The first difference, in words; empty if there is none."""
    for name in sorted({*pages, *(wanted if whole else ())}):
        if name not in pages or not pages[name].is_file():
            return f"{name} is missing"
        if name not in wanted:
            return f"{name} is no page of this record"
        found, again = (_read(path) for path in (pages[name], wanted[name]))
        if not alike:
            pictures = [found] if name.endswith(".svg") else _PICTURE.findall(found)
            if any(_NO_DRAWING.search(picture) for picture in pictures):
                return f"a picture in {name} holds more than a drawing"
            if name.endswith(".svg"):
                continue
            # a mark stays, so that the number of pictures and their places must fit
            found, again = (_PICTURE.sub("<svg/>", text) for text in (found, again))
        if found != again:
            return f"{name} shows something else than the record"
    return ""


def below(folder: Path, patterns: Iterable[str]) -> dict[str, Path]:
    """Files of the folder that match, by name."""
    found = (path for pattern in patterns for path in folder.glob(pattern))
    return {path.relative_to(folder).as_posix(): path for path in found if path.is_file()}


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path.name} cannot be read: {error.__class__.__name__}") from None


def _draws_alike(environment: Environment) -> bool:
    return _drawing(environment) == (version("matplotlib"), _machine())


def _other(environment: Environment) -> str:
    drawn, machine = _drawing(environment)
    return (
        f"drawn with matplotlib {drawn or 'of no known version'} on {machine}; here is "
        f"{version('matplotlib')} on {_machine()}"
    )


def _drawing(environment: Environment) -> tuple[str | None, str]:
    return environment.packages.get("matplotlib"), environment.platform


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}"

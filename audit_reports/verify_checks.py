"""What every `verify` has in common: how two things are compared, and what it found."""

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from ..accountant.bounds import Interval
from ..accountant.errors import RecordError

TOLERANCE = 1e-9  # relative: special functions differ in their last digits between platforms


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What `verify` found to fit, and what it did not look at. Iterating gives its lines.

    Attributes:
        done: what was checked, a line each.
        unchecked: what nothing in the record or beside it can show, a line each.
        words: whether the sentences are those that follow from the numbers; if not, another
            version of the program wrote the record, and only its numbers were checked.
    """

    done: tuple[str, ...]
    unchecked: tuple[str, ...] = ()
    words: bool = True

    @property
    def heading(self) -> str:
        """The first line of all."""
        if self.words:
            return "VERIFIED against the record:"
        return "NUMBERS VERIFIED, WORDS NOT: do not believe its sentences and pages."

    def __iter__(self) -> Iterator[str]:
        yield from self.done
        yield from (f"not checked: {line}" for line in self.unchecked)


def close(what: str, found: Interval, again: Interval) -> None:
    """Both ends must be near."""
    near(f"{what} (lower end)", found.lower, again.lower)
    near(f"{what} (upper end)", found.upper, again.upper)


def near(what: str, found: float, again: float) -> None:
    """Equal but for the last digits, in which platforms differ."""
    if not (found == again or math.isclose(found, again, rel_tol=TOLERANCE, abs_tol=1e-12)):
        raise RecordError(f"{what}: the record says {found!r}, but recomputing gives {again!r}")


def same(what: str, found: object, again: object) -> None:
    """Equal."""
    if found != again:
        raise RecordError(f"{what}: the record says {found!r}, but recomputing gives {again!r}")


def same_list(what: str, found: Sequence[Hashable], wanted: Sequence[Hashable]) -> None:
    """Equal, in the same order; the message names what is missing or too many, not the lists."""
    if list(found) == list(wanted):
        return
    missing = [each for each in wanted if each not in found]
    extra = [each for each in found if each not in wanted]
    twice = [each for each in dict.fromkeys(found) if list(found).count(each) > 1]
    faults = [
        f"{words} {', '.join(map(str, those[:3]))}{' and others' if len(those) > 3 else ''}"
        for words, those in (
            ("the record lacks", missing),
            ("the file does not ask for", extra),
            ("the record has more than once", twice),
        )
        if those
    ]
    raise RecordError(f"{what}: {'; '.join(faults) or 'they stand in another order'}")

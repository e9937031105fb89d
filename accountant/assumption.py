"""`Assumption`: something that a proof needs, and whether it was checked."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """Something that the proof needs.

    Attributes:
        text: the assumption, one sentence.
        how: how it is checked, or why it cannot be.
        holds: True (checked), False (checked, and it does not hold) or None (not checked).
    """

    text: str
    how: str
    holds: bool | None

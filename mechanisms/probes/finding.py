"""`Finding`: what a probe saw."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one probe of one program.

    Attributes:
        probe: its name.
        fired: whether the program does not do what is declared.
        text: one sentence with the numbers.
        measured: the number that was measured, NaN if there is none.
        declared: the number that it was held against, NaN if there is none.
    """

    probe: str
    fired: bool
    text: str
    measured: float = math.nan
    declared: float = math.nan


def worst(findings: list[Finding]) -> Finding:
    """The first that fired, or else the first.

    Raises:
        ValueError: there are none.
    """
    if not findings:
        raise ValueError("no probe was run")
    return next((found for found in findings if found.fired), findings[0])

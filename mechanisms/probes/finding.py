"""`Finding`: what a probe saw."""

import math
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one probe of one program.

    Attributes:
        probe: its name.
        fired: whether the program does not do what is declared.
        text: one sentence with the numbers.
        fix: what to do about it; empty if nothing is wrong.
        severity: of what fired: "error" breaks the guarantee, "warning" leaves it open, "info" is
            worth knowing.
        measured: the number that was measured, NaN if there is none.
        declared: the number that it was held against, NaN if there is none.
    """

    probe: str
    fired: bool
    text: str
    fix: str = ""
    severity: Severity = "error"
    measured: float = math.nan
    declared: float = math.nan

    def __post_init__(self) -> None:
        if self.fired != bool(self.fix):
            raise ValueError(
                f"probe {self.probe!r}: what fires needs a fix, what does not has none; fired is "
                f"{self.fired}, fix {self.fix!r}"
            )

    def __str__(self) -> str:
        """One line: severity or ok, probe, text, fix."""
        word = self.severity if self.fired else "ok"
        return f"{word:7} {self.probe}: {self.text}" + (f". To do: {self.fix}" if self.fix else "")


def worst(findings: list[Finding]) -> Finding:
    """The first that fired, or else the first.

    Raises:
        ValueError: there are none.
    """
    if not findings:
        raise ValueError("no probe was run")
    return next((found for found in findings if found.fired), findings[0])

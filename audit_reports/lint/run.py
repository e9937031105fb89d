"""`lint`: all rules over one declaration."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ...accountant.errors import ParameterError
from . import reader
from .declaration import Declaration
from .findings import Finding, ordered
from .rules import (
    checklist,
    claim,
    composition,
    flows,
    formula,
    mpc,
    openings,
    parts,
    practice,
    sampling,
    schedule,
    sensitivity,
    trust,
)

Rule = Callable[[Declaration], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    claim.complete,
    trust.trust,
    claim.holds,
    sensitivity.scaled,
    sensitivity.unstated,
    sensitivity.clip_point,
    composition.shared_budget,
    composition.uncounted,
    formula.exactness,
    sampling.sampler,
    schedule.schedule,
    schedule.counts,
    flows.unnoised,
    flows.public_content,
    parts.parameters,
    parts.inputs,
    practice.randomness,
    practice.tuning,
    practice.shared_state,
    practice.fidelity,
    openings.openings,
    openings.noise,
    mpc.secret_sharing,
    checklist.hazards,
)


class Declares(Protocol):
    """A system that describes itself, as those in `privassay.mechanisms.released` do."""

    def declaration(self) -> dict[str, Any]:
        """Its declaration, as nested dicts."""


def lint(
    declaration: Declaration | Declares | Mapping[str, Any] | str | Path,
) -> list[Finding]:
    """What is wrong, open or worth knowing in how a system is declared. Nothing is run.

    A finding is about the declaration: a true one of a false declaration says nothing, and no
    finding is no proof.

    Args:
        declaration: a TOML file, the name of a shipped one, the content of one as nested dicts,
            or a system that declares itself by a method `declaration()`.

    Returns:
        Errors first, then warnings, then information.

    Raises:
        ConfigError: the declaration is wrong; the message lists all of it.

    >>> found = lint("dp_fpl_as_released")
    >>> {f.code for f in found if f.severity == "error"} >= {"D1", "D2", "D3", "D4"}
    True
    """
    made = declaration if isinstance(declaration, Declaration) else resolve(declaration)
    return ordered(found for rule in RULES for found in rule(made))


def resolve(given: Declares | Mapping[str, Any] | str | Path) -> Declaration:
    """The declaration that something stands for; of a name, a file comes first."""
    if isinstance(given, Mapping):
        return reader.parse(dict(given))
    if not isinstance(given, str | Path):
        if not hasattr(given, "declaration"):
            raise ParameterError(
                f"a {type(given).__name__} cannot be linted.\n  Give a declaration (TOML file, "
                "nested dicts), a shipped name, or an object with a method declaration()."
            )
        return reader.parse(given.declaration(), name=type(given).__name__)
    name = str(given)
    if not Path(name).exists() and name in reader.shipped():
        return reader.system(name)
    if "\0" in name:
        raise ParameterError(f"no file has the name {name!r}")
    return reader.load(Path(name))

"""`lint`: all rules over one declaration."""

from collections.abc import Callable, Iterator
from pathlib import Path

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
    practice,
    sampling,
    sensitivity,
)

Rule = Callable[[Declaration], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    claim.complete,
    claim.holds,
    sensitivity.scaled,
    sensitivity.clip_point,
    composition.shared_budget,
    composition.uncounted,
    formula.exactness,
    sampling.sampler,
    flows.unnoised,
    flows.parameters,
    flows.inputs,
    practice.randomness,
    practice.tuning,
    practice.shared_state,
    practice.fidelity,
    mpc.secret_sharing,
    checklist.hazards,
)


def lint(declaration: Declaration | str | Path) -> list[Finding]:
    """What is wrong, open or worth knowing in how a system is declared. Nothing is run.

    A finding is about the declaration: a true one of a false declaration says nothing, and no
    finding is no proof.

    Args:
        declaration: a declaration, or a TOML file, or the name of a shipped one.

    Returns:
        Errors first, then warnings, then information.

    Raises:
        ConfigError: the file is wrong; the message lists all of it.

    >>> found = lint("dp_fpl_as_released")
    >>> {f.code for f in found if f.severity == "error"} >= {"D1", "D2", "D3", "D4"}
    True
    """
    if not isinstance(declaration, Declaration):
        declaration = resolve(declaration)
    return ordered(found for rule in RULES for found in rule(declaration))


def resolve(given: str | Path) -> Declaration:
    """The declaration that a path or a shipped name stands for; a file comes first."""
    name = str(given)
    if not Path(name).exists() and name in reader.shipped():
        return reader.system(name)
    if "\0" in name:
        raise ParameterError(f"no file has the name {name!r}")
    return reader.load(Path(name))

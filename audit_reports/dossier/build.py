"""`dossier`: claim, exact accounting as released and sound, findings, reference tables."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, NamedTuple

from ...accountant import check
from ...accountant.jsonio import dump
from ..lint import exact, reader
from ..lint.declaration import Declaration
from ..lint.findings import Exact, Finding, exit_code
from ..lint.run import lint
from .reference import RefTable


class _Subject(NamedTuple):
    title: str
    module: str
    released: tuple[str, ...]
    sound: tuple[str, ...]


_SUBJECTS = {
    "vpdr": _Subject(
        "VPDR: private class prototypes in personalised federated learning",
        "vpdr",
        ("vpdr_as_released", "vpdr_igpp_as_released", "vpdr_legacy_as_released"),
        ("vpdr_frozen", "vpdr_sound"),
    ),
    "dp-fpl": _Subject(
        "DP-FPL: differentially private federated prompt learning",
        "dp_fpl",
        ("dp_fpl_as_released",),
        ("dp_fpl_sound",),
    ),
    "secfpp": _Subject(
        "SecFPP: prompt personalisation by secret-shared clustering",
        "secfpp",
        ("secfpp_as_described",),
        ("secfpp_sound_mpc", "secfpp_sound_dp"),
    ),
    "dp-fedlora": _Subject(
        "DP-FedLoRA: noisy low-rank adapters in federated fine-tuning",
        "dp_fedlora",
        ("dp_fedlora_as_released",),
        ("dp_fedlora_sound",),
    ),
}
SYSTEMS = tuple(_SUBJECTS)


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One declaration of the system: what it says, what is exact, what was found.

    Attributes:
        accounted: exact epsilon of what the system's own accounting counts.
        noised: exact epsilon of all that is noised, as declared, for each covered view.
        declared: the same with what leaves without noise.
    """

    declaration: Declaration
    accounted: tuple[Exact, ...]
    noised: tuple[Exact, ...]
    declared: tuple[Exact, ...]
    findings: tuple[Finding, ...]
    exit_code: int


@dataclass(frozen=True, kw_only=True)
class Dossier:
    """Everything known about one published system."""

    system: str
    title: str
    released: tuple[Mode, ...]
    sound: tuple[Mode, ...]
    tables: tuple[RefTable, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; infinities as strings."""
        found: dict[str, Any] = dump(asdict(self))
        return found


def dossier(system: str) -> Dossier:
    """The dossier of "vpdr", "dp-fpl", "secfpp" or "dp-fedlora"; every number is computed now.

    Raises:
        ParameterError: there is no such system; the closest name is given.

    >>> dossier("dp-fpl").released[0].exit_code
    3
    """
    name = system.lower().replace("_", "-")
    check.one_of(SYSTEMS, system=name)
    subject = _SUBJECTS[name]
    tables: Callable[[], tuple[RefTable, ...]]
    tables = getattr(import_module(f"{__package__}.{subject.module}"), "tables")  # noqa: B009
    return Dossier(
        system=name,
        title=subject.title,
        released=tuple(mode(reader.system(each)) for each in subject.released),
        sound=tuple(mode(reader.system(each)) for each in subject.sound),
        tables=tables(),
    )


def mode(declaration: Declaration) -> Mode:
    """One declaration, accounted and linted."""
    found = tuple(lint(declaration))
    claimed = declaration.claim.kind == "dp"
    return Mode(
        declaration=declaration,
        accounted=_accounts(declaration, exact.ACCOUNTED, "as it accounts itself", claimed),
        noised=_accounts(declaration, exact.NOISED, "all that is noised, as declared", claimed),
        declared=_accounts(declaration, exact.DECLARED, "everything declared", claimed),
        findings=found,
        exit_code=exit_code(found),
    )


def _accounts(
    declaration: Declaration, facts: exact.Facts, words: str, claimed: bool
) -> tuple[Exact, ...]:
    return exact.account_each(declaration, facts, words) if claimed else ()

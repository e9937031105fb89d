"""`dossier`: claim, exact accounting as released and sound, findings, reference tables."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, NamedTuple

from ...accountant import check
from ...accountant.jsonio import dump
from ..lint import reader
from ..lint.declaration import Declaration
from ..lint.findings import Finding, exit_code
from ..lint.run import lint
from ..lint.show import plain_declaration
from .objects import Account
from .reference import RefTable
from .summary import Summary, summary

SCHEMA_VERSION = 1


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
    """One declaration of the system, and what the lint found in it."""

    declaration: Declaration
    findings: tuple[Finding, ...]
    exit_code: int


@dataclass(frozen=True, kw_only=True)
class Dossier:
    """Everything known about one published system.

    Attributes:
        accounts: exact accounting of the mechanism objects, as released and sound.
        released: declarations of what is published; the first holds the claim.
        sound: declarations of what the claim would need.
        tables: reference numbers.
    """

    system: str
    title: str
    summary: Summary
    accounts: tuple[Account, ...]
    released: tuple[Mode, ...]
    sound: tuple[Mode, ...]
    tables: tuple[RefTable, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, infinities as strings; the keys are listed in docs/dossiers.md."""
        found: dict[str, Any] = dump(
            {
                "schema_version": SCHEMA_VERSION,
                "system": self.system,
                "title": self.title,
                "summary": asdict(self.summary),
                "accounts": [asdict(account) for account in self.accounts],
                "released": [_mode(mode) for mode in self.released],
                "sound": [_mode(mode) for mode in self.sound],
                "tables": [asdict(table) for table in self.tables],
            }
        )
        return found


def dossier(system: str, progress: Callable[[int, int], None] | None = None) -> Dossier:
    """The dossier of "vpdr", "dp-fpl", "secfpp" or "dp-fedlora"; every number is computed now.

    Args:
        system: which.
        progress: called with (steps done, steps in all).

    Raises:
        ParameterError: there is no such system; the closest name is given.

    >>> dossier("dp-fpl").summary.word
    'INVALID'
    """
    name = system.lower().replace("_", "-")
    check.one_of(SYSTEMS, system=name)
    subject = _SUBJECTS[name]
    module = import_module(f"{__package__}.{subject.module}")
    published = module.RELEASED
    steps = len(subject.released) + len(subject.sound) + len(module.PARTS) + 1
    done = 0

    def did(value: Any) -> Any:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, steps)
        return value

    with _one_thread():
        accounts = did(module.accounts(published))
        released = tuple(did(mode(reader.system(each))) for each in subject.released)
        return Dossier(
            system=name,
            title=subject.title,
            summary=summary(released[0].declaration, accounts, released[0].findings),
            accounts=accounts,
            released=released,
            sound=tuple(did(mode(reader.system(each))) for each in subject.sound),
            tables=tuple(did(part(published)) for part in module.PARTS),
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Tensors are small here: on a busy machine more threads wait for each other for minutes."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def mode(declaration: Declaration) -> Mode:
    """One declaration, linted."""
    found = tuple(lint(declaration))
    return Mode(declaration=declaration, findings=found, exit_code=exit_code(found))


def _mode(mode: Mode) -> dict[str, Any]:
    return {
        "declaration": plain_declaration(mode.declaration),
        "findings": [finding.to_dict() for finding in mode.findings],
        "exit_code": mode.exit_code,
    }

"""The shipped declarations of published programs, written by the objects that run them.

`python -m privassay.audit_reports.lint.generate` writes `systems/*_as_released.toml` again.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from ...mechanisms.released.dp_fedlora import AsReleasedDpFedLora
from ...mechanisms.released.dp_fpl import AsReleasedDpFpl
from ...mechanisms.released.vpdr import AsReleasedVpdr

_HEAD = "# Written by audit_reports/lint/generate.py from the object that runs the program.\n"


class Declared(Protocol):
    """Anything that says about itself what a lint reads."""

    def declaration(self) -> dict[str, Any]:
        """Nested dicts of the format in docs/lint.md."""


_VPDR = AsReleasedVpdr(epsilon=1.0)
SYSTEMS: Mapping[str, Declared] = {
    "vpdr_as_released": _VPDR,
    "vpdr_igpp_as_released": replace(_VPDR, scheme="igpp", frozen_encoder=True),
    "vpdr_legacy_as_released": replace(_VPDR, generation="legacy", frozen_encoder=True),
    "dp_fpl_as_released": AsReleasedDpFpl(seed=1),
    "dp_fedlora_as_released": AsReleasedDpFedLora(scaffold_leak=True, reseeded=True),
}
"""Each with the switches of the public program on, at the budget of its documented example."""


def toml(declaration: Mapping[str, Any]) -> str:
    """TOML of nested dicts whose leaves are text, numbers, truth values and lists of these.

    >>> print(toml({"title": "x", "claim": {"epsilon": 1.0}, "state": [{"name": "a"}]}), end="")
    title = "x"
    <BLANKLINE>
    [claim]
    epsilon = 1.0
    <BLANKLINE>
    [[state]]
    name = "a"
    """
    plain, tables = [], []
    for key, value in declaration.items():
        if isinstance(value, Mapping):
            tables.append(f"\n[{key}]\n{_pairs(value)}")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            tables += [f"\n[[{key}]]\n{_pairs(one)}" for one in value]
        else:
            plain.append(f"{key} = {_leaf(value)}\n")
    return "".join(plain + tables)


def _pairs(table: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {_leaf(value)}\n" for key, value in table.items())


def _leaf(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_leaf, value))}]"
    # Text, truth values and finite numbers look the same in JSON.
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def write(folder: Path) -> None:
    """All of them, one file each."""
    for name, system in SYSTEMS.items():
        text = _HEAD + toml(system.declaration())
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).parent / "systems")

"""All attacks by name, as "module:class". A new one is one file and one line here."""

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from ..accountant import check

ATTACKS: dict[str, str] = {
    "informed_linear": "privassay.attacks.membership.informed_linear:InformedLinear",
    "prototype_distance": "privassay.attacks.membership.prototype_distance:PrototypeDistance",
    "prototype_inversion": "privassay.attacks.inversion.prototype:invert",
}


def homes() -> dict[str, str]:
    """Ours, and those that third parties add through the entry points "privassay.attacks"."""
    return {e.name: e.value for e in entry_points(group="privassay.attacks")} | ATTACKS


def load(name: str) -> Any:
    """The class of the attack called `name`.

    Raises:
        ParameterError: there is none; the message names the closest.
    """
    known = homes()
    check.one_of(known, attack=name)
    module, _, attribute = known[name].partition(":")
    return getattr(import_module(module), attribute)

"""All mechanisms by name. A new one is one file and one line here; nothing registers itself."""

from importlib import import_module
from importlib.metadata import entry_points

from ..accountant import check
from ..accountant.errors import ParameterError
from .base import Mechanism
from .prototypes import PrototypeDesign

MECHANISMS: dict[str, str] = {
    "none": "privassay.mechanisms.prototypes:non_private",
    "igpp": "privassay.mechanisms.prototypes:isotropic",
    "vpp": "privassay.mechanisms.prototypes:groupwise",
    "groupwise_global_clip": "privassay.mechanisms.prototypes:groupwise_global_clip",
    "noise_halved": "privassay.mechanisms.broken:noise_halved",
}


def build(kind: str, design: PrototypeDesign) -> Mechanism:
    """The mechanism called `kind`, with the public parameters of `design`.

    Third parties add kinds through the entry points "privassay.mechanisms".

    Raises:
        ParameterError: no such kind; the message names the closest.
    """
    homes = {e.name: e.value for e in entry_points(group="privassay.mechanisms")} | MECHANISMS
    if kind not in homes:
        raise ParameterError(f"mechanism kind must be {check.suggest(kind, homes)}")
    module, _, function = homes[kind].partition(":")
    mechanism: Mechanism = getattr(import_module(module), function)(design)
    return mechanism

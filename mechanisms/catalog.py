"""All mechanisms by name. A new one is one file and one line here; nothing registers itself."""

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from ..accountant import check

if TYPE_CHECKING:  # reading an audit file needs the names, not torch
    from .base import Mechanism
    from .prototypes import PrototypeDesign

MECHANISMS: dict[str, str] = {
    "none": "privassay.mechanisms.prototypes:non_private",
    "igpp": "privassay.mechanisms.prototypes:isotropic",
    "vpp": "privassay.mechanisms.prototypes:groupwise",
    "groupwise_global_clip": "privassay.mechanisms.prototypes:groupwise_global_clip",
    "noise_halved": "privassay.mechanisms.broken:noise_halved",
}


def homes() -> dict[str, str]:
    """Ours, and those that third parties add through the entry points "privassay.mechanisms"."""
    return {e.name: e.value for e in entry_points(group="privassay.mechanisms")} | MECHANISMS


def build(kind: str, design: "PrototypeDesign") -> "Mechanism":
    """The mechanism called `kind`, with the public parameters of `design`.

    Raises:
        ParameterError: no such kind; the message names the closest.
    """
    known = homes()
    check.one_of(known, kind=kind)
    module, _, function = known[kind].partition(":")
    mechanism: Mechanism = getattr(import_module(module), function)(design)
    return mechanism

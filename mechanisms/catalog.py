"""All mechanisms by name. A new one is one file and one line here; nothing registers itself."""

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from ..accountant import check

if TYPE_CHECKING:  # reading an audit file needs the names, not torch
    from .base import Mechanism, Release
    from .prototypes import PrototypeDesign

MECHANISMS: dict[str, str] = {
    "none": "privassay.mechanisms.prototypes:non_private",
    "igpp": "privassay.mechanisms.prototypes:isotropic",
    "vpp": "privassay.mechanisms.prototypes:groupwise",
    "vpp_ellipsoid": "privassay.mechanisms.vpp:ellipsoid",
    "groupwise_global_clip": "privassay.mechanisms.prototypes:groupwise_global_clip",
    "noise_halved": "privassay.mechanisms.broken:noise_halved",
}
"""Releases of class prototypes: what an audit file can name."""

BY_GROUP: tuple[str, ...] = ("vpp", "vpp_ellipsoid")
"""Those that are clipped by the norms of groups."""

RELEASES: dict[str, str] = {
    "discrete_gaussian_sum": "privassay.mechanisms.discrete_gaussian:DiscreteGaussianSum",
    "discrete_laplace_sum": "privassay.mechanisms.laplace:DiscreteLaplaceSum",
    "dp_sgd": "privassay.mechanisms.dpsgd:DpSgd",
    "dppl_mean": "privassay.mechanisms.class_means:DpplMean",
    "dppl_public": "privassay.mechanisms.class_means:DpplPublic",
    "gumbel_top_k": "privassay.mechanisms.selection:GumbelTopK",
    "joint_delta_sum": "privassay.mechanisms.lora:JointDeltaSum",
    "joint_delta_upload": "privassay.mechanisms.lora:JointDeltaUpload",
    "kary_response": "privassay.mechanisms.randomized_response:KaryResponse",
    "laplace_sum": "privassay.mechanisms.laplace:LaplaceSum",
    "laplace_top_k": "privassay.mechanisms.selection:LaplaceTopK",
    "prompt_gradients": "privassay.mechanisms.prompt:PromptGradients",
    "second_moments": "privassay.mechanisms.groups:SecondMoments",
    "secure_discrete_sum": "privassay.mechanisms.secure_sum:SecureDiscreteSum",
    "secure_gaussian_sum": "privassay.mechanisms.secure_sum:SecureGaussianSum",
    "sums_and_counts": "privassay.mechanisms.vpp:SumsAndCounts",
    "unary_encoding": "privassay.mechanisms.randomized_response:UnaryEncoding",
}
"""Every other mechanism, each a frozen dataclass with release, event and assumptions."""


def release_class(name: str) -> "type[Release]":
    """The class called `name` in `RELEASES`.

    Raises:
        ParameterError: no such name; the message names the closest.
    """
    check.one_of(RELEASES, name=name)
    module, _, attribute = RELEASES[name].partition(":")
    found: type[Release] = getattr(import_module(module), attribute)
    return found


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

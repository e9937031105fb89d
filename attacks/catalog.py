"""All attacks by name, as "module:class". A new one is one file and one line here."""

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from ..accountant import check

ATTACKS: dict[str, str] = {
    "deep_leakage": "privassay.attacks.inversion.gradients.dlg:DeepLeakage",
    "gradient_likelihood": (
        "privassay.attacks.inversion.gradients.gradient_likelihood:GradientLikelihood"
    ),
    "informed_linear": "privassay.attacks.membership.informed_linear:InformedLinear",
    "input_span": "privassay.attacks.inversion.gradients.input_span:InputSpan",
    "inverting_gradients": (
        "privassay.attacks.inversion.gradients.inverting_gradients:InvertingGradients"
    ),
    "label_recovery": "privassay.attacks.inversion.gradients.label_recovery:LabelRecovery",
    "linear_analytic": "privassay.attacks.inversion.gradients.linear_analytic:LinearAnalytic",
    "prototype_distance": "privassay.attacks.membership.prototype_distance:PrototypeDistance",
    "prototype_inversion": "privassay.attacks.inversion.prototype:invert",
    "token_bag": "privassay.attacks.inversion.gradients.token_bag:TokenBag",
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

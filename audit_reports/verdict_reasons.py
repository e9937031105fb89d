"""The sentences of a verdict: what accounting and attacks show, and what they do not cover."""

import math
from collections.abc import Sequence
from typing import Protocol

from ..accountant.assumption import Assumption
from ..accountant.bounds import ProvenBound
from ..accountant.claim import PrivacyClaim
from ..accountant.conversions import zcdp
from ..accountant.errors import ClaimError
from .estimators.bound import EmpiricalBound
from .estimators.guess_bound import GuessBound
from .estimators.power import RefutablePower
from .text import at_least, at_most


class Measured(Protocol):
    """What the verdict needs of an attack's result."""

    @property
    def attack(self) -> str: ...  # noqa: D102
    @property
    def adversary(self) -> str: ...  # noqa: D102
    @property
    def bound(self) -> EmpiricalBound | GuessBound: ...  # noqa: D102
    @property
    def power(self) -> RefutablePower: ...  # noqa: D102
    @property
    def optimal(self) -> bool: ...  # noqa: D102


def _terms(claim: PrivacyClaim) -> tuple[str, float, float]:
    """('mu' or 'epsilon', claimed value, delta at which epsilon is printed)."""
    delta = 1e-5 if claim.delta is None else claim.delta
    if claim.mu is not None:
        return "mu", claim.mu, delta
    if claim.epsilon is not None:
        return "epsilon", claim.epsilon, delta
    if claim.profile:
        epsilon, delta = min(claim.profile, key=lambda pair: pair[0])
        return "epsilon", epsilon, delta
    raise ClaimError("the claim has no single number to compare with")


def exceeds(claim: PrivacyClaim, proven: ProvenBound) -> str:
    """What exact accounting gives, which is not within the claim."""
    if claim.rho is not None:
        return (
            f"exact accounting gives rho >= {at_least(zcdp(proven).lower)}, claimed {claim.rho:g}"
        )
    name, claimed, delta = _terms(claim)
    value = proven.mu.lower if name == "mu" else proven.epsilon(delta).lower
    at = "" if name == "mu" else f" at delta {delta:g}"
    if math.isinf(value):
        return "the release has no privacy guarantee at all"
    if value <= claimed:
        upper = proven.mu.upper if name == "mu" else proven.epsilon(delta).upper
        return (
            f"exact accounting gives {name} between {value!r} and {upper!r}{at}: that it is within "
            f"the claimed {claimed!r} is not proven"
        )
    return f"exact accounting gives {name} >= {at_least(value)}{at}, above the claimed {claimed:g}"


def within(claim: PrivacyClaim, proven: ProvenBound) -> str:
    """What exact accounting gives, which is within the claim."""
    if claim.rho is not None:
        return f"exact accounting gives rho <= {at_most(zcdp(proven).upper)}, claimed {claim.rho:g}"
    name, claimed, delta = _terms(claim)
    value = proven.mu.upper if name == "mu" else proven.epsilon(delta).upper
    at = "" if name == "mu" else f" at delta {delta:g}"
    return f"exact accounting gives {name} <= {at_most(value)}{at}, within the claimed {claimed:g}"


def refutation(claim: PrivacyClaim, measured: Measured) -> str:
    """What an attack that refutes the claim shows."""
    bound = measured.bound
    if claim.is_curve and bound.mu_lower is not None:
        shown = f"mu >= {at_least(bound.mu_lower)} against {at_most(claim.gaussian_mu().upper)}"
        shown += " claimed"
    elif claim.epsilon is not None:
        shown = f"epsilon >= {at_least(bound.epsilon_lower)} at delta {bound.delta:g} claimed"
    else:
        shown = "more than the claimed curve allows"
        if isinstance(bound, GuessBound):
            shown = f"{bound.correct} of {bound.guesses} guesses right, {shown}"
        elif (point := bound.beyond(claim)) is not None:
            shown = (
                f"TPR >= {at_least(point[1])} at FPR <= {at_most(point[0])}, where the claim "
                f"allows at most {at_most(point[2])}"
            )
    return (
        f"the {measured.attack} attack of the {measured.adversary} shows {shown}, "
        f"at confidence {bound.confidence:.4g}"
    )


def caveats(
    claim: PrivacyClaim, assumptions: Sequence[Assumption], measured: Sequence[Measured]
) -> list[str]:
    """What a verdict does not cover, the gravest first."""
    unchecked = [a.text for a in assumptions if a.holds is None]
    outside = sorted({m.adversary for m in measured if m.adversary not in claim.adversaries})
    found = []
    if outside:
        found.append(
            f"The claim does not cover the {', '.join(outside)}; those results refute nothing."
        )
    if unchecked:
        found.append("Not checked: " + " ".join(unchecked))
    if not claim.unprotected:
        found.append("Which quantities are treated as public is not stated.")
    return found

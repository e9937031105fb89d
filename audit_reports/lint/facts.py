"""Which facts are counted, and the terms that numbers are stated in."""

from dataclasses import dataclass, replace

from ...accountant.adjacency import Adjacency, Unit
from ...accountant.gaussian import epsilon_interval
from .declaration import VIEWS, Declaration

DELTA = 1e-5  # where epsilon is given if the claim names no delta


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is counted as declared (True) and what as the system's own accounting has it (False).

    Attributes:
        sensitivity: how far the clipped value can move; else the assumed sensitivity.
        siblings: all releases of the same records together; else one at a time.
        repeats: all participations; else the accounted ones.
        uncharged: releases that the accounting leaves out.
        inputs: components trained on the same records without noise.
        sampling: the sampler that runs; else the accounted one.
        unnoised: what leaves without noise, except what the claim lists as unprotected.
    """

    sensitivity: bool = False
    siblings: bool = False
    repeats: bool = False
    uncharged: bool = False
    inputs: bool = False
    sampling: bool = False
    unnoised: bool = False


ACCOUNTED = Facts()
DECLARED = Facts(
    sensitivity=True,
    siblings=True,
    repeats=True,
    uncharged=True,
    inputs=True,
    sampling=True,
    unnoised=True,
)
NOISED = replace(DECLARED, unnoised=False)
# All but the flow of private records into models: what the mechanism alone costs.
MECHANISM = replace(NOISED, inputs=False)


def adjacencies(declaration: Declaration) -> tuple[Adjacency, ...]:
    """The claim's relation; both readings of a fixed-size one where the claim names none."""
    found = declaration.claim.adjacency
    return ("zero-out", "replace-one") if found is None else (found,)


def unit(declaration: Declaration) -> Unit:
    """The claim's unit; where it names none, the one that the mechanism clips."""
    if declaration.claim.unit is not None:
        return declaration.claim.unit
    noised = [r for r in declaration.release if r.kind == "gaussian"]
    uploads = bool(noised) and all(r.clip == "upload" for r in noised)
    return "client" if uploads else "example"


def delta(declaration: Declaration) -> float:
    """The claim's delta, or `DELTA`."""
    return DELTA if declaration.claim.delta is None else declaration.claim.delta


def views(declaration: Declaration) -> tuple[str, ...]:
    """The adversaries of the claim that see anything; all of those, where it names none."""
    wanted = declaration.claim.views or VIEWS
    seen = {view for release in declaration.release for view in release.views}
    return tuple(view for view in VIEWS if view in wanted and view in seen)


def claimed_epsilon(declaration: Declaration) -> float | None:
    """The largest epsilon that the claim allows at its delta; None if it states none."""
    claim = declaration.claim
    if claim.epsilon is not None:
        return claim.epsilon
    return None if claim.mu is None else epsilon_interval(delta(declaration), mu=claim.mu)[0]

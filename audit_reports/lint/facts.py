"""Which facts are counted, and the terms that numbers are stated in."""

from dataclasses import dataclass, replace

from ...accountant.adjacency import Adjacency, Unit
from ...accountant.gaussian import epsilon_interval
from .declaration import Declaration
from .release import PUBLIC, Release
from .sections import VIEWS

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


def private_inputs(declaration: Declaration, release: Release) -> tuple[str, ...]:
    """Components of this release that were trained on private records without noise."""
    bad = {c.name for c in declaration.component if c.trained_on == "private"}
    return tuple(name for name in release.inputs if name in bad)


def private_sources(declaration: Declaration, release: Release) -> tuple[str, ...]:
    """Why `release` holds private data although it is declared as public content, in words."""
    readers = [
        r.name
        for r in declaration.release
        if r.data == release.data != PUBLIC and not r.public_content
    ]
    why = []
    if readers:
        why.append(f"it reads {release.data!r}, the private records of {', '.join(readers)}")
    if inputs := private_inputs(declaration, release):
        why.append(f"it is computed with {', '.join(inputs)}, trained on private records")
    return tuple(why)


def is_silent(declaration: Declaration, release: Release) -> bool:
    """Whether nothing private is in it: declared so, and nothing declared contradicts it."""
    free = release.public_content and release.kind == "none"
    return free and not private_sources(declaration, release)


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
    """The largest epsilon that the claim allows at its delta; None if it states neither.

    A claim of both epsilon and mu is held to both.
    """
    claim = declaration.claim
    if claim.mu is None:
        return claim.epsilon
    limit = epsilon_interval(delta(declaration), mu=claim.mu)[0]
    return limit if claim.epsilon is None else min(limit, claim.epsilon)

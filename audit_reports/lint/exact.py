"""Exact accounting of a declaration: which facts are counted is an argument.

A declaration holds two accounts: what really happens, and what the system's own accounting assumed.
`Facts` says, point by point, which of the two is counted, so that the effect of each single defect
is a number of its own.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from ...accountant.account import account
from ...accountant.adjacency import Adjacency, Unit, contribution_factor
from ...accountant.bounds import Interval, ProvenBound
from ...accountant.errors import UnsupportedEventError
from ...accountant.events import GroupwiseGaussianDpEvent, PureDpEvent
from ...accountant.gaussian import epsilon_interval
from ...accountant.geometry import clip_mu
from . import formulas
from .declaration import VIEWS, Declaration, Release
from .findings import Exact

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


def account_all(declaration: Declaration, facts: Facts, words: str) -> tuple[Exact, ...]:
    """One number for each relation in question: the worst of the claim's views.

    Args:
        declaration: the system.
        facts: what is counted.
        words: the same, in words.
    """
    found = []
    for adjacency in adjacencies(declaration):
        each = [account_view(declaration, v, adjacency, facts, words) for v in views(declaration)]
        if each:
            found.append(max(each, key=lambda e: (e.epsilon.upper, e.epsilon.lower)))
    return tuple(found)


def account_each(declaration: Declaration, facts: Facts, words: str) -> tuple[Exact, ...]:
    """One number for each relation in question and each view of the claim."""
    return tuple(
        account_view(declaration, view, adjacency, facts, words)
        for adjacency in adjacencies(declaration)
        for view in views(declaration)
    )


def account_view(
    declaration: Declaration, view: str, adjacency: Adjacency, facts: Facts, words: str
) -> Exact:
    """What one adversary can learn."""
    mu, epsilon = _account_view(declaration, view, adjacency, facts)
    return Exact(
        facts=words,
        adjacency=adjacency,
        unit=unit(declaration),
        view=view,
        delta=delta(declaration),
        mu_upper=mu,
        epsilon=epsilon,
    )


@lru_cache(maxsize=512)  # several rules ask for the same numbers, and an engine may take a second
def _account_view(
    declaration: Declaration, view: str, adjacency: Adjacency, facts: Facts
) -> tuple[float, Interval]:
    listed = declaration.claim.unprotected
    seen = [
        r
        for r in declaration.release
        if view in r.views and not r.public_content and r.name not in listed
    ]
    if not facts.unnoised:
        seen = [r for r in seen if r.kind != "none"]
    if not facts.uncharged:
        seen = [r for r in seen if r.charged]
    together = [r for r in seen if facts.siblings or r.joint]
    alone = [[r] for r in seen if not (facts.siblings or r.joint)]
    at, low, high, mu = delta(declaration), 0.0, 0.0, 0.0
    for group in [together, *alone] if together else alone:
        bound, is_attained = _bound(declaration, group, adjacency, facts)
        epsilon = bound.epsilon(at)
        low = max(low, epsilon.lower if is_attained else 0.0)
        high = max(high, epsilon.upper)
        mu = max(mu, bound.mu.upper)
    return mu, Interval(low, high)


def _bound(
    declaration: Declaration, releases: list[Release], adjacency: Adjacency, facts: Facts
) -> tuple[ProvenBound, bool]:
    """What is proven, and whether neighbours attain it (else its lower end says nothing)."""
    terms = {"adjacency": adjacency, "unit": unit(declaration)}
    sampled = any(r.sampled for r in releases)
    attained = all(_is_attained(declaration, r, adjacency, facts) for r in releases)
    kind = declaration.sampling.used if facts.sampling else declaration.sampling.accounted
    if sampled and kind == "poisson":
        try:
            made = event(declaration, releases, adjacency, facts)
            return account(made, **terms), attained  # type: ignore[arg-type]
        except UnsupportedEventError:  # an upper bound still holds without amplification
            pass
    made = event(declaration, releases, adjacency, facts, amplified=False)
    plain = not sampled or kind == "all"  # otherwise fewer releases may hold one record
    return account(made, **terms), attained and plain  # type: ignore[arg-type]


def _is_attained(
    declaration: Declaration, release: Release, adjacency: Adjacency, facts: Facts
) -> bool:
    if not facts.sensitivity or release.kind != "gaussian":
        return True
    if facts.inputs and private_inputs(declaration, release):
        return False
    if release.clip == "upload":
        return unit(declaration) == "client"
    return release.divisor_source in ("public", "accounted")


def event(
    declaration: Declaration,
    releases: Iterable[Release],
    adjacency: Adjacency,
    facts: Facts,
    *,
    amplified: bool = True,
) -> dpe.DpEvent:
    """The releases together. Those that share a Poisson sample are sampled together."""
    rate = _rate(declaration, facts) if amplified else 1.0
    groups: dict[tuple[str, int], list[dpe.DpEvent]] = {}
    parts: list[dpe.DpEvent] = []
    for release in releases:
        one = one_event(declaration, release, adjacency, facts)
        tensors, count = _counts(release, facts)
        one = one if tensors == 1 else dpe.SelfComposedDpEvent(one, tensors)
        if rate < 1.0 and release.sampled and release.kind != "none":
            groups.setdefault((release.data, count), []).append(one)
        else:
            parts.append(one if count == 1 else dpe.SelfComposedDpEvent(one, count))
    by_data = [data for data, _ in groups]
    for (data, count), inside in groups.items():
        joined = inside[0] if len(inside) == 1 else dpe.ComposedDpEvent(inside)
        if by_data.count(data) > 1:
            raise UnsupportedEventError(f"releases of {data!r} share no common rhythm")
        step = dpe.PoissonSampledDpEvent(rate, joined)
        parts.append(dpe.SelfComposedDpEvent(step, count))
    return parts[0] if len(parts) == 1 else dpe.ComposedDpEvent(parts)


def one_event(
    declaration: Declaration, release: Release, adjacency: Adjacency, facts: Facts
) -> dpe.DpEvent:
    """One release, one tensor, once."""
    if release.kind == "none":
        return dpe.NonPrivateDpEvent()
    if release.kind == "pure":
        return PureDpEvent(float(release.pure_epsilon or 0.0))
    sigma = formulas.sigma(release, delta(declaration))
    factor = contribution_factor(adjacency)
    if not facts.sensitivity:
        return dpe.GaussianDpEvent(factor * sigma)
    scale = reach(declaration, release, adjacency, facts) / factor
    if scale == math.inf:
        return dpe.NonPrivateDpEvent()
    stddevs = noise_stddevs(release, sigma)
    norms, joint = _clip_set(release, len(stddevs))
    if release.clip_set == "ellipsoid":
        return dpe.GaussianDpEvent(1.0 / (scale * clip_mu(stddevs, ellipsoid_radii=norms)))
    return GroupwiseGaussianDpEvent(
        stddevs,
        [scale * norm for norm in norms],
        None if joint is None else scale * joint,
    )


def reach(
    declaration: Declaration, release: Release, adjacency: Adjacency, facts: Facts = DECLARED
) -> float:
    """How far the released value can move, in units of the clip bound; inf if nothing bounds it.

    A clip set K is symmetric and convex. One record of a sum moves it by an element of K (2 K for
    replace-one); whatever is clipped as a whole can move from anywhere to anywhere in K: by 2 K.
    """
    factor, who = contribution_factor(adjacency), unit(declaration)
    if release.clip == "none":
        return math.inf
    if release.clip == "upload":
        return factor if who == "client" else 2.0
    if release.clip == "batch":
        return 2.0
    records = 1.0
    if who != "example":
        if release.records_per_unit is None:
            return math.inf
        records = float(release.records_per_unit)
    if facts.inputs and private_inputs(declaration, release):
        # every clipped record may change: a mean moves anywhere in K, a sum without limit
        return 2.0 if release.divisor > 1.0 else math.inf
    if release.divisor_source not in ("public", "accounted") and adjacency == "add-remove":
        # the other records move too (accountant.geometry.class_mean_factor)
        return 2.0 * records / release.divisor
    return factor * records / release.divisor


def excess(declaration: Declaration, release: Release, adjacency: Adjacency) -> float:
    """How many times larger mu of this release is than its accounting assumes; inputs left out."""
    one = one_event(declaration, release, adjacency, MECHANISM)
    mu = account(one, adjacency=adjacency, unit=unit(declaration)).mu.lower
    return mu * formulas.sigma(release, delta(declaration))


def private_inputs(declaration: Declaration, release: Release) -> tuple[str, ...]:
    """Components of this release that were trained on private records without noise."""
    bad = {c.name for c in declaration.component if c.trained_on == "private"}
    return tuple(name for name in release.inputs if name in bad)


def noise_stddevs(release: Release, sigma: float) -> list[float]:
    """Noise per group, in the units of the release."""
    assumed = float(release.assumed_sensitivity or 0.0)
    if release.clip_set == "ellipsoid":  # noise follows the radii
        return [sigma * assumed * radius for radius in release.group_norms]
    if not release.budget_shares:
        return [sigma * assumed] * max(1, len(release.group_norms))
    whole = release.clip_norm or math.hypot(*release.group_norms)
    return [
        sigma * assumed * norm / whole / math.sqrt(share)
        for norm, share in zip(release.group_norms, release.budget_shares, strict=True)
    ]


def _clip_set(release: Release, groups: int) -> tuple[list[float], float | None]:
    if release.clip_set in ("groups", "ellipsoid"):
        return list(release.group_norms), None
    ball = float(release.clip_norm or math.inf)
    norms = list(release.group_norms) if release.clip_set == "both" else [ball] * groups
    return norms, ball


def _counts(release: Release, facts: Facts) -> tuple[int, int]:
    tensors = release.tensors if facts.siblings else release.accounted_tensors or release.tensors
    count = release.releases if facts.repeats else release.accounted_releases or release.releases
    return tensors, count


def _rate(declaration: Declaration, facts: Facts) -> float:
    sampling = declaration.sampling
    kind = sampling.used if facts.sampling else sampling.accounted
    rate = sampling.rate if facts.sampling else sampling.accounted_rate
    return 1.0 if kind != "poisson" or rate is None else rate

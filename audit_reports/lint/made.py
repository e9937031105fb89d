"""From declared releases to an event: how far each can move, and with what noise."""

import math
from collections.abc import Iterable

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from ...accountant.account import account
from ...accountant.adjacency import Adjacency, contribution_factor
from ...accountant.errors import UnsupportedEventError
from ...accountant.events import GroupwiseGaussianDpEvent, PureDpEvent
from ...accountant.geometry import clip_mu
from . import formulas
from .declaration import Declaration
from .facts import DECLARED, MECHANISM, Facts, delta, private_inputs, unit
from .release import Release


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
        times = pure_excess(declaration, release, adjacency, facts) if facts.sensitivity else 1.0
        if times == math.inf:
            return dpe.NonPrivateDpEvent()
        return PureDpEvent(times * float(release.pure_epsilon or 0.0))
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
    counted = release.divisor_source not in ("public", "noised") and adjacency == "add-remove"
    if release.clip in ("upload", "batch"):
        one = factor if who == "client" and release.clip == "upload" and not counted else 2.0
        uploads = 1.0  # of one user, who may have several clients, or share one with others
        if who == "user":
            if release.records_per_unit is None:
                return math.inf
            uploads = float(release.records_per_unit)
        # of a batch the divisor may be inside the clip, and an upload with noise of its own is
        # seen before it is averaged: there a divisor protects nothing
        summed = release.clip == "upload" and declaration.claim.trust != "local-noise"
        return one * uploads / (release.divisor if summed else min(1.0, release.divisor))
    records = 1.0
    if who != "example":
        if release.records_per_unit is None:
            return math.inf
        records = float(release.records_per_unit)
    if facts.inputs and private_inputs(declaration, release):
        # every clipped record may change: a mean moves anywhere in K, a sum without limit
        return 2.0 if release.divisor > 1.0 else math.inf
    if counted:
        # the other records move too (accountant.geometry.class_mean_factor)
        return 2.0 * records / release.divisor
    return factor * records / release.divisor


def excess(declaration: Declaration, release: Release, adjacency: Adjacency) -> float:
    """How many times more this release costs than its accounting assumes; inputs left out.

    In mu for Gaussian noise, in epsilon for a pure release.
    """
    if release.kind == "pure":
        return pure_excess(declaration, release, adjacency, MECHANISM)
    one = one_event(declaration, release, adjacency, MECHANISM)
    mu = account(one, adjacency=adjacency, unit=unit(declaration)).mu.lower
    return mu * formulas.sigma(release, delta(declaration))


def pure_excess(
    declaration: Declaration, release: Release, adjacency: Adjacency, facts: Facts
) -> float:
    """True epsilon of a pure release over its `pure_epsilon`; 1 where nothing says what bounds it.

    A clipped sum moves by `reach` times its L1 bound. The scores of a choice are clamped, so that
    nothing moves one further than the range: Laplace noise of scale 2 k range/epsilon is enough for
    any unit (mechanisms.selection.LaplaceTopK). An answer of k kept with probability p costs
    ln(p (k - 1)/(1 - p)) for each record, and a missing one is seen.
    """
    claimed = float(release.pure_epsilon or math.inf)
    if release.bound == "clip":
        moved = reach(declaration, release, adjacency, facts) * float(release.clip_norm or math.inf)
        return moved / float(release.assumed_sensitivity or math.inf)
    if release.bound == "choice":
        moved = 2.0 * (release.chosen or 1) * float(release.score_range or math.inf)
        return moved / (release.assumed_sensitivity or moved)
    if release.bound == "answers":
        if adjacency == "add-remove":
            return math.inf
        records = 1.0 if unit(declaration) == "example" else release.records_per_unit or math.inf
        kept, others = float(release.keep_probability or 0.0), (release.answers or 2) - 1
        return records * abs(math.log(kept * others / (1.0 - kept))) / claimed
    return 1.0


def noise_stddevs(release: Release, sigma: float) -> list[float]:
    """Noise per group, in the units of the release; in each group the same unless declared."""
    assumed = float(release.assumed_sensitivity or 0.0)
    if release.noise_shape == "radii":
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

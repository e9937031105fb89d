"""`account`: what an event provably leaks."""

import math
from fractions import Fraction

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports
import numpy as np

from . import check
from .adjacency import UNITS, Adjacency, Unit
from .bounds import Curve, CurveBound, Interval, ProvenBound
from .errors import UnsupportedEventError
from .flatten import Parts, alternatives, flatten
from .geometry import root_interval
from .rebuild import with_python_numbers, without_allocation
from .renyi_terms import ZCdp


def account(
    event: dpe.DpEvent,
    *,
    adjacency: Adjacency,
    unit: Unit = "example",
    group_size: int = 1,
    both_engines: bool = False,
) -> ProvenBound:
    """The guarantee of everything in `event` together, enclosed from both sides.

    Gaussians are added up in closed form: the mechanism is mu-GDP for a mu inside `bound.mu`, and
    the worst neighbours attain it; a group of k has exactly k mu. Anything else is answered by an
    engine (`curve`), in both directions of add-remove, the worse one reported; its lower ends are
    attained by some pair of neighbours too, or 0 where only upper bounds are known (then `method`
    says "upper only"); "two pairs" says that a part of the event is bounded from above by more
    than what is known from below, so that the interval can be wide.
    Source: Dong, Roth & Su, arXiv:1905.02383; Zhu, Dong & Wang, arXiv:2106.08567.

    Args:
        event: what was released. Noise multipliers and norm bounds refer to the contribution of
            one `unit`.
        adjacency: what a neighbour is; replace-one doubles every contribution.
        unit: whose data one contribution is.
        group_size: how many units change together, >= 1. To protect a user with up to k examples
            by a mechanism that bounds examples, account with unit "user" and group_size k.
        both_engines: let both engines answer every question, and intersect.

    Raises:
        UnsupportedEventError: a part of the event for which nothing is proven; named.
        ParameterError: a number or a name outside its range.

    >>> bound = account(dpe.GaussianDpEvent(2.0), adjacency="replace-one")
    >>> bound.mu
    Interval(lower=1.0, upper=1.0)
    >>> round(bound.epsilon(1e-5).upper, 6)
    4.377178
    >>> step = dpe.PoissonSampledDpEvent(0.01, dpe.GaussianDpEvent(0.8))
    >>> bound = account(dpe.SelfComposedDpEvent(step, 1000), adjacency="add-remove")
    >>> round(bound.epsilon(1e-5).upper, 9)
    3.14101414
    """
    check.one_of(UNITS, unit=unit)
    event = with_python_numbers(event)
    ask = {"adjacency": adjacency, "group_size": group_size}
    kinds = alternatives(event, **ask)  # type: ignore[arg-type]
    found = [flatten(one, **ask) for one in kinds]  # type: ignore[arg-type]
    terms = {"adjacency": adjacency, "unit": unit, "group_size": group_size}
    if all(parts.is_gaussian or parts.squared_mu[0] == math.inf for parts in found):
        lower = max((root_interval(p.squared_mu[0])[0] for p in found), default=0.0)
        upper = max((root_interval(p.squared_mu[1])[1] for p in found), default=0.0)
        mu = Interval(lower, upper)
        return ProvenBound(mu=mu, method=_method(found), **terms)  # type: ignore[arg-type]
    from .curve import EngineCurve
    from .joined_curves import Capped, WorstOf
    from .renyi_terms import RenyiOnly, rdp_of

    def curve_of(parts: Parts) -> Curve:
        return RenyiOnly(parts) if parts.renyi else EngineCurve(parts, both_engines=both_engines)

    curves: list[Curve] = []
    for one, parts in zip(kinds, found, strict=True):
        own, plain = curve_of(parts), without_allocation(one)
        # the pairs of random allocation are wide where noise is small: never above none at all
        capped = plain is not one and not parts.renyi
        curves.append(Capped(own, curve_of(flatten(plain, **ask))) if capped else own)  # type: ignore[arg-type]
    curve = curves[0] if len(curves) == 1 else WorstOf(curves)
    high = max(_mu_upper(parts) for parts in found)
    return CurveBound(
        curve,
        mu_upper=high,
        rdp=lambda orders: np.max([rdp_of(parts, orders) for parts in found], axis=0),
        method=_method(found),
        **terms,
    )


def certified_epsilon(event: dpe.DpEvent, bound: ProvenBound, delta: float) -> Interval:
    """Epsilon at `delta`, proven in ball arithmetic: every rounding error is part of the proof.

    Args:
        event: plain and Poisson-sampled Gaussians.
        bound: `account` of that event.
        delta: in (0, 1).

    Raises:
        UnsupportedEventError: another event, or another relation than add-remove or zero-out for
            sampled ones.
        ConfigError: python-flint is not installed.
    """
    from .engine_steps import gaussian_steps
    from .engines import certify
    from .one_way import DIRECTIONS

    check.open_probability(delta=delta)
    ends = []
    for one in alternatives(event, bound.adjacency):
        parts = flatten(one, adjacency=bound.adjacency, group_size=bound.group_size)
        if parts.pairs or parts.renyi or parts.squared_mu[1] == math.inf:
            raise UnsupportedEventError(
                "a certificate exists for Gaussians with noise, plain or Poisson-sampled under "
                f"add-remove; this event has others under {bound.adjacency}.\n  Leave --certify "
                "out: the interval printed then bounds rounding errors too, to first order."
            )
        high = [
            certify.certified_epsilon(gaussian_steps(parts, "upper"), delta, direction=way)[1]
            for way in DIRECTIONS
        ]
        low = [
            certify.certified_epsilon(gaussian_steps(parts, "lower"), delta, direction=way)[0]
            for way in DIRECTIONS
        ]
        ends.append((max(low), max(high)))
    lower, upper = max(e[0] for e in ends), max(e[1] for e in ends)
    plain = bound.epsilon(delta)
    if upper < plain.lower or lower > plain.upper:
        raise ArithmeticError("the certificate and the engine exclude each other; please report")
    return Interval(lower, upper)


def _mu_upper(parts: Parts) -> float:
    """A Gaussian curve above the composition: squares of the steps' mu add up."""
    if parts.renyi or parts.squared_mu[1] == math.inf:
        return math.inf
    total = Fraction(parts.squared_mu[1])
    for (_, noise, _), count in parts.sampled.items():
        total += count / Fraction(noise) ** 2
    for (upper, _), count in parts.pairs.items():
        if upper.mu_upper == math.inf:
            return math.inf
        total += count * Fraction(upper.mu_upper) ** 2
    return root_interval(total)[1]


def _method(found: list[Parts]) -> str:
    if all(p.is_gaussian or p.squared_mu[0] == math.inf for p in found):
        word = "gaussian"
    elif any(p.renyi for p in found):
        word = "renyi (loose)"
    else:
        word = "lattice" if any(p.pairs for p in found) else "contour"
    if not any(_leaks(p) for p in found) and any(_may_leak(p) for p in found):
        return f"{word}, upper only"
    if word != "renyi (loose)" and any(p.lossy or not _is_two_sided(p) for p in found):
        return f"{word}, two pairs"
    return word


def _may_leak(parts: Parts) -> bool:
    return bool(parts.squared_mu[1] or parts.sampled or parts.pairs or parts.renyi)


def _is_two_sided(parts: Parts) -> bool:
    """Whether something is known from below about every part, and about Gaussians nearly all."""
    low, high = parts.squared_mu
    close = low == high or low * (10**9 + 1) >= high * 10**9
    pairs = all(lower is not None for _, lower in parts.pairs)
    return close and pairs and all(noise < math.inf for _, _, noise in parts.sampled)


def _leaks(parts: Parts) -> bool:
    """Whether any part has a lower end above 0."""
    if parts.renyi:  # Renyi orders have none; plain Gaussians and zCDP have
        return parts.squared_mu[0] > 0 or any(isinstance(t, ZCdp) and t.rho for t in parts.renyi)
    known = parts.squared_mu[0] > 0 or any(noise < math.inf for _, _, noise in parts.sampled)
    return known or any(lower is not None for _, lower in parts.pairs)

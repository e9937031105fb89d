"""Exact reduction of an event tree to one Gaussian-DP parameter.

mu^2 is carried as an exact rational number, so that the only rounding is that of the final square
root, and a claim met with equality (mu = 1 from 100 rounds at noise multiplier 10) is proven.
"""

import math
import operator
from fractions import Fraction

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from . import check
from .adjacency import Adjacency, contribution_factor
from .errors import ParameterError, UnsupportedEventError
from .events import GroupwiseGaussianDpEvent, ParallelDpEvent
from .geometry import Exact, root_interval, squared_clip_mu

SUPPORTED = (
    "GaussianDpEvent, GroupwiseGaussianDpEvent, NoOpDpEvent and NonPrivateDpEvent, inside any of "
    "ComposedDpEvent, SelfComposedDpEvent, ParallelDpEvent and PoissonSampledDpEvent with "
    "sampling_probability 0 or 1"
)

# Sums of very many different terms: beyond this many bits the sum is rounded outwards.
_MOST_BITS = 8192

Squared = tuple[Exact, Exact]
_NOTHING: Squared = (Fraction(0), Fraction(0))
_EVERYTHING: Squared = (math.inf, math.inf)


def gaussian_mu(
    event: dpe.DpEvent, *, adjacency: Adjacency, group_size: int = 1
) -> tuple[float, float]:
    """(lower, upper) around the mu for which the event is mu-GDP, and for no smaller one.

    Composition adds mu^2, also for adaptively chosen releases; k records together have k mu.
    Source: Dong, Roth & Su, arXiv:1905.02383, the sections on composition and on groups.

    Args:
        event: what was released; noise multipliers and norm bounds are those of one record's
            contribution, and replace-one doubles them.
        adjacency: what a neighbour is.
        group_size: how many records change together, >= 1.

    Raises:
        UnsupportedEventError: a part of the event for which no exact mu is known.
        ParameterError: a number in the event outside its range.

    >>> gaussian_mu(dpe.SelfComposedDpEvent(dpe.GaussianDpEvent(10.0), 100), adjacency="add-remove")
    (1.0, 1.0)
    """
    check.count(group_size=group_size)
    scale = (Fraction(contribution_factor(adjacency)) * group_size) ** 2
    lower, upper = _squared(event, type(event).__name__)
    return root_interval(_times(scale, lower))[0], root_interval(_times(scale, upper))[1]


def _squared(event: dpe.DpEvent, where: str) -> Squared:
    # mu^2 for one contribution, factor 1. All rules below are homogeneous in that factor.
    match event:
        case dpe.NoOpDpEvent():
            return _NOTHING
        case dpe.NonPrivateDpEvent():
            return _EVERYTHING
        case dpe.GaussianDpEvent():
            _checked(check.non_negative, where, "noise_multiplier", event.noise_multiplier)
            one = squared_clip_mu([event.noise_multiplier], norm_bounds=[1.0])
            return one, one
        case GroupwiseGaussianDpEvent():
            one = squared_clip_mu(
                event.noise_stddevs,
                norm_bounds=event.norm_bounds,
                joint_norm_bound=event.joint_norm_bound,
            )
            return one, one
        case dpe.ComposedDpEvent():
            total = _NOTHING
            for part in _children(event.events, where):
                total = _trimmed(total[0] + part[0], total[1] + part[1])
            return total
        case dpe.SelfComposedDpEvent():
            count = _repetitions(event.count, where)
            lower, upper = _squared(event.event, _inside(where, "event", event.event))
            return _times(count, lower), _times(count, upper)
        case ParallelDpEvent():
            # One record enters one part, so the worst part counts. This holds under replace-one
            # too, also where the record's part may change: in units of one contribution, staying in
            # part a costs 2 mu_a, moving from a to b sqrt(mu_a^2 + mu_b^2) <= 2 max(mu_a, mu_b).
            parts = _children(event.events, where)
            return (
                max((low for low, _ in parts), default=Fraction(0)),
                max((high for _, high in parts), default=Fraction(0)),
            )
        case dpe.PoissonSampledDpEvent():
            rate = event.sampling_probability
            _checked(check.probability, where, "sampling_probability", rate)
            inner = _squared(event.event, _inside(where, "event", event.event))
            if rate == 0.0:
                return _NOTHING
            if rate == 1.0:
                return inner
    raise UnsupportedEventError(
        f"no exact Gaussian reduction is known for {_shown(event)}, at {where}.\n"
        f"  Supported: {SUPPORTED}.\n"
        "  Account for this part with an engine made for it, or leave it out of the claim and say "
        "so in the claim's `covers`."
    )


def _children(events: object, where: str) -> list[Squared]:
    if not isinstance(events, list | tuple):
        raise ParameterError(f"events at {where} must be a list of events, but is {events!r}")
    return [
        _squared(event, _inside(where, f"events[{index}]", event))
        for index, event in enumerate(events)
    ]


def _repetitions(count: object, where: str) -> int:
    try:
        number = operator.index(count)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if number < 0 or isinstance(count, bool):
        raise ParameterError(f"count at {where} must be a whole number >= 0, but is {count!r}")
    return number


def _checked(validator: object, where: str, name: str, value: object) -> None:
    validator(**{f"{name} at {where}": value})  # type: ignore[operator]


def _inside(where: str, field: str, event: dpe.DpEvent) -> str:
    return f"{where}.{field} ({type(event).__name__})"


def _shown(event: object) -> str:
    text = repr(event)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _times(factor: Fraction | int, squared: Exact) -> Exact:
    return Fraction(0) if factor == 0 else squared * factor


def _trimmed(lower: Exact, upper: Exact) -> Squared:
    return _shortened(lower, math.floor), _shortened(upper, math.ceil)


def _shortened(value: Exact, rounding: object) -> Exact:
    if not isinstance(value, Fraction) or value.denominator.bit_length() <= _MOST_BITS:
        return value
    shift = _MOST_BITS // 2
    return Fraction(rounding(value * (1 << shift)), 1 << shift)  # type: ignore[operator]

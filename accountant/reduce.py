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
from .events import (
    CorrelatedGaussianDpEvent,
    GroupwiseGaussianDpEvent,
    ParallelDpEvent,
    RestrictedDpEvent,
)
from .geometry import Exact, covariance_mu_interval, root_interval, square, squared_clip_mu
from .rebuild import inside, shown
from .restricted import unrestricted

SUPPORTED = (
    "GaussianDpEvent, GroupwiseGaussianDpEvent, CorrelatedGaussianDpEvent, NoOpDpEvent and "
    "NonPrivateDpEvent, inside any of "
    "ComposedDpEvent, SelfComposedDpEvent, ParallelDpEvent and PoissonSampledDpEvent with "
    "sampling_probability 0 or 1"
)

# Sums of very many different terms: beyond this many bits the sum is rounded outwards.
_MOST_BITS = 8192

Squared = tuple[Exact, Exact]
NOTHING: Squared = (Fraction(0), Fraction(0))
EVERYTHING: Squared = (math.inf, math.inf)


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
        UnsupportedEventError: a part of the event for which no exact mu is known, or that does
            not hold under the adjacency.
        ParameterError: a number in the event outside its range.

    >>> gaussian_mu(dpe.SelfComposedDpEvent(dpe.GaussianDpEvent(10.0), 100), adjacency="add-remove")
    (1.0, 1.0)
    """
    check.count(group_size=group_size)
    scale = (Fraction(contribution_factor(adjacency)) * group_size) ** 2
    plain = unrestricted(event, adjacency)
    lower, upper = squared(plain, type(plain).__name__)
    return root_interval(times(scale, lower))[0], root_interval(times(scale, upper))[1]


def is_gaussian(event: dpe.DpEvent) -> bool:
    """Whether `event` is made of Gaussians only, so that one mu says everything about it."""
    match event:
        case (
            dpe.NoOpDpEvent()
            | dpe.NonPrivateDpEvent()
            | dpe.GaussianDpEvent()
            | GroupwiseGaussianDpEvent()
            | CorrelatedGaussianDpEvent()
        ):
            return True
        case dpe.ComposedDpEvent() | ParallelDpEvent():
            return isinstance(event.events, list | tuple) and all(map(is_gaussian, event.events))
        case dpe.SelfComposedDpEvent() | RestrictedDpEvent():
            return is_gaussian(event.event)
        case dpe.PoissonSampledDpEvent():
            return event.sampling_probability in (0.0, 1.0) and is_gaussian(event.event)
    return False


def squared(event: dpe.DpEvent, where: str) -> Squared:
    """Lower and upper end of mu^2 for a contribution of one record, without the adjacency's factor.

    Restrictions are refused here: they are checked against the adjacency before (`unrestricted`).

    Raises:
        UnsupportedEventError: not a Gaussian.
    """
    # mu^2 for one contribution, factor 1. All rules below are homogeneous in that factor.
    match event:
        case dpe.NoOpDpEvent():
            return NOTHING
        case dpe.NonPrivateDpEvent():
            return EVERYTHING
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
        case CorrelatedGaussianDpEvent():
            ends = covariance_mu_interval(event.covariance, event.norm_bound)
            return square(ends[0]), square(ends[1])
        case dpe.ComposedDpEvent():
            parts = _children(event.events, where)
            total = NOTHING
            for part in parts:
                total = trimmed(total[0] + part[0], total[1] + part[1])
            if total[0] == math.inf or not any(is_split(one) for one in event.events):
                return total
            # The worst parts of two partitions need not share a record. What every record sees
            # adds up, and some record sees the worst of one event.
            least = [least_squared(one, where) for one in event.events]
            gain = max(part[0] - own for part, own in zip(parts, least, strict=True))
            return trimmed(sum(least, start=gain), total[1])
        case dpe.SelfComposedDpEvent():
            count = repetitions(event.count, where)
            lower, upper = squared(event.event, inside(where, "event", event.event))
            return times(count, lower), times(count, upper)
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
            inner = squared(event.event, inside(where, "event", event.event))
            if rate == 0.0:
                return NOTHING
            if rate == 1.0:
                return inner
    raise UnsupportedEventError(
        f"no exact Gaussian reduction is known for {shown(event)}, at {where}.\n"
        f"  Supported: {SUPPORTED}.\n"
        "  Account for this part with an engine made for it, or leave it out of the claim and say "
        "so in the claim's `covers`."
    )


def is_split(event: dpe.DpEvent) -> bool:
    """Whether records differ in what they see of it."""
    match event:
        case ParallelDpEvent():
            return True
        case dpe.ComposedDpEvent():
            return any(is_split(one) for one in event.events)
        case dpe.SelfComposedDpEvent() | dpe.PoissonSampledDpEvent():
            return is_split(event.event)
    return False


def least_squared(event: dpe.DpEvent, where: str) -> Exact:
    """mu^2 that every record sees, at least, whichever parts of partitions it is in."""
    match event:
        case ParallelDpEvent():
            return min((least_squared(one, where) for one in event.events), default=Fraction(0))
        case dpe.ComposedDpEvent():
            return sum((least_squared(one, where) for one in event.events), start=Fraction(0))
        case dpe.SelfComposedDpEvent():
            return times(repetitions(event.count, where), least_squared(event.event, where))
        case dpe.PoissonSampledDpEvent() if event.sampling_probability == 1.0:
            return least_squared(event.event, where)
    return squared(event, where)[0]


def _children(events: object, where: str) -> list[Squared]:
    if not isinstance(events, list | tuple):
        raise ParameterError(f"events at {where} must be a list of events, but is {events!r}")
    return [
        squared(event, inside(where, f"events[{index}]", event))
        for index, event in enumerate(events)
    ]


def repetitions(count: object, where: str) -> int:
    """`count` as a whole number >= 0, or an error that names the place."""
    try:
        number = operator.index(count)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if number < 0 or isinstance(count, bool):
        raise ParameterError(f"count at {where} must be a whole number >= 0, but is {count!r}")
    return number


def _checked(validator: object, where: str, name: str, value: object) -> None:
    validator(**{f"{name} at {where}": value})  # type: ignore[operator]


def times(factor: Fraction | int, squared: Exact) -> Exact:
    """The product, with 0 * inf = 0."""
    return Fraction(0) if factor == 0 else squared * factor


def trimmed(lower: Exact, upper: Exact) -> Squared:
    """Both ends, rounded outwards where the fractions have grown very long."""
    return _shortened(lower, math.floor), _shortened(upper, math.ceil)


def _shortened(value: Exact, rounding: object) -> Exact:
    if not isinstance(value, Fraction) or value.denominator.bit_length() <= _MOST_BITS:
        return value
    shift = _MOST_BITS // 2
    return Fraction(rounding(value * (1 << shift)), 1 << shift)  # type: ignore[operator]

"""How much noise (or how many rounds) a target allows. Results are on the safe side."""

import math
from collections.abc import Callable
from fractions import Fraction

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from . import check
from .account import account
from .adjacency import Adjacency, Unit, contribution_factor
from .bounds import ProvenBound
from .errors import ParameterError
from .geometry import root_interval

_TOLERANCE = 1e-12


def calibrate(
    make_event: Callable[[float], dpe.DpEvent],
    *,
    epsilon: float,
    delta: float,
    adjacency: Adjacency,
    unit: Unit = "example",
    group_size: int = 1,
    bracket: tuple[float, float] = (1e-6, 1e6),
) -> float:
    """The parameter x that just meets (epsilon, delta), to a relative 1e-12.

    If the loss falls with x (a noise multiplier), the smallest safe x; if it grows (rounds), the
    largest. The result itself is always proven: account(make_event(x)).epsilon(delta).upper <=
    epsilon. That it is the extreme one assumes that the loss is monotone inside the bracket.

    Args:
        make_event: from x, a float in the bracket, to an event.
        epsilon: >= 0, nats.
        delta: in (0, 1).
        adjacency: what a neighbour is.
        unit: whose data one contribution is.
        group_size: how many units change together.
        bracket: 0 < smallest < largest x to try; the target must lie between.

    Raises:
        ParameterError: both ends of the bracket meet the target, or neither does, or both leak
            alike; or a number outside its range.

    >>> z = calibrate(dpe.GaussianDpEvent, epsilon=1.0, delta=1e-5, adjacency="add-remove")
    >>> round(z, 6)
    3.730632
    """
    check.non_negative(epsilon=epsilon)
    check.open_probability(delta=delta)
    first, last = bracket
    check.positive(bracket=first)
    check.positive(bracket=last)
    if not first < last:
        raise ParameterError(f"bracket must be (smaller, larger), but is {bracket}")

    def bound(x: float) -> ProvenBound:
        return account(make_event(x), adjacency=adjacency, unit=unit, group_size=group_size)

    def is_safe(x: float) -> bool:
        return bound(x).epsilon(delta).upper <= epsilon

    asked = f"epsilon = {epsilon:g} at delta = {delta:g} ({adjacency}, one {unit})"
    start, end = bound(first), bound(last)
    if start.mu.upper == end.mu.upper:
        raise ParameterError(
            f"{asked} cannot be met by this parameter: {first:g} and {last:g} leak alike "
            f"(mu = {end.mu.upper:g}).\n  Make the event depend on it, or change bracket."
        )
    falling = start.mu.upper > end.mu.upper
    safe, unsafe = (last, first) if falling else (first, last)
    if not is_safe(safe):
        least = (end if falling else start).epsilon(delta).upper
        raise ParameterError(
            f"{asked} is unreachable for parameters in [{first:g}, {last:g}]: the best of them, "
            f"{safe:g}, has epsilon = {least:g}.\n  Widen bracket, or change what else the event "
            "holds."
        )
    if is_safe(unsafe):
        raise ParameterError(
            f"{asked} is met by all parameters in [{first:g}, {last:g}], even by {unsafe:g}.\n"
            f"  Take {unsafe:g}, or widen bracket."
        )
    # Halving ratios, not differences: the bracket spans many orders of magnitude.
    while abs(safe - unsafe) > _TOLERANCE * min(safe, unsafe):
        middle = math.sqrt(safe) * math.sqrt(unsafe)
        if is_safe(middle):
            safe = middle
        else:
            unsafe = middle
    return safe


def calibrate_gaussian(*, mu: float, rounds: int, adjacency: Adjacency) -> float:
    """Noise multiplier with which `rounds` Gaussian releases are together mu-GDP.

    factor sqrt(rounds)/mu, rounded up, where the factor is 2 under replace-one and 1 otherwise.

    Args:
        mu: > 0, no unit.
        rounds: >= 1.
        adjacency: what a neighbour is.

    Raises:
        ParameterError: a number outside its range.

    >>> calibrate_gaussian(mu=0.5, rounds=100, adjacency="replace-one")
    40.0
    """
    check.positive(mu=mu)
    check.count(rounds=rounds)
    factor = Fraction(contribution_factor(adjacency))
    return root_interval(rounds * factor**2 / Fraction(mu) ** 2)[1]

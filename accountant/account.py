"""`account`: what an event provably leaks."""

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from . import check
from .adjacency import UNITS, Adjacency, Unit
from .bounds import Interval, ProvenBound
from .reduce import gaussian_mu


def account(
    event: dpe.DpEvent, *, adjacency: Adjacency, unit: Unit = "example", group_size: int = 1
) -> ProvenBound:
    """The exact guarantee of everything in `event` together.

    The bound is two-sided: the mechanism is mu-GDP for a mu inside `bound.mu`, and the worst
    neighbours attain it. A group of k has exactly k mu, since its shift is k times as long.
    Source: Dong, Roth & Su, arXiv:1905.02383.

    Args:
        event: what was released. Noise multipliers and norm bounds refer to the contribution of
            one `unit`.
        adjacency: what a neighbour is; replace-one doubles every contribution.
        unit: whose data one contribution is.
        group_size: how many units change together, >= 1.

    Raises:
        UnsupportedEventError: a part of the event for which nothing exact is known; named.
        ParameterError: a number or a name outside its range.

    >>> bound = account(dpe.GaussianDpEvent(2.0), adjacency="replace-one")
    >>> bound.mu
    Interval(lower=1.0, upper=1.0)
    >>> round(bound.epsilon(1e-5).upper, 6)
    4.377178
    """
    check.one_of(UNITS, unit=unit)
    lower, upper = gaussian_mu(event, adjacency=adjacency, group_size=group_size)
    return ProvenBound(
        mu=Interval(lower, upper), adjacency=adjacency, unit=unit, group_size=group_size
    )

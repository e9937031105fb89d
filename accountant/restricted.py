"""Events that hold under some adjacencies only: checked for the whole tree, then taken away.

What is asked of a sub-event is not always what is asked of the whole. A combinator that sometimes
runs its event without the record needs add-remove inside, whatever is asked outside: its formulas
put the sample without the record between the two neighbours, no further away than a contribution.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import attr
import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from . import check
from .adjacency import ADJACENCIES
from .errors import UnsupportedEventError
from .events import ParallelDpEvent, RandomAllocationDpEvent, RestrictedDpEvent
from .rebuild import inside, rebuilt, shown


def unrestricted(event: dpe.DpEvent, adjacency: str) -> Any:
    """`event` without its `RestrictedDpEvent`s; the same object where it holds none.

    Raises:
        UnsupportedEventError: one of them does not hold under what is asked of it; named.
        ParameterError: no such adjacency.

    >>> exchanged = RestrictedDpEvent(dpe.GaussianDpEvent(2.0), ("replace-one",))
    >>> unrestricted(dpe.SelfComposedDpEvent(exchanged, 9), "replace-one")
    SelfComposedDpEvent(event=GaussianDpEvent(noise_multiplier=2.0), count=9)
    """
    check.one_of(ADJACENCIES, adjacency=adjacency)
    if not _find(event, {adjacency: f"{adjacency} was asked"}, type(event).__name__):
        return event
    return rebuilt(event, lambda part: part.event if isinstance(part, RestrictedDpEvent) else part)


def _find(event: object, needed: Mapping[str, str], where: str) -> bool:
    """Whether there are restrictions in the tree; all of them hold under `needed`.

    `needed` maps each adjacency to the reason why it is, the one that was asked first.
    """
    found = isinstance(event, RestrictedDpEvent)
    if isinstance(event, RestrictedDpEvent):
        for adjacency, why in needed.items():
            if adjacency not in event.adjacencies:
                raise _refused(event, adjacency, why, where)
    parts = list(_parts(event))
    below = _needed_inside(event, needed, where) if parts else needed
    for field, part in parts:
        found |= _find(part, below, inside(where, field, part))
    return found


def _parts(event: object) -> Iterator[tuple[str, dpe.DpEvent]]:
    """The sub-events of any event, also of one that nothing is known about, and their fields."""
    kind: Any = type(event)
    for field in attr.fields(kind) if attr.has(kind) else ():
        value = getattr(event, field.name)
        if isinstance(value, dpe.DpEvent):
            yield field.name, value
        elif isinstance(value, list | tuple):
            for index, part in enumerate(value):
                if isinstance(part, dpe.DpEvent):
                    yield f"{field.name}[{index}]", part


def _needed_inside(event: object, needed: Mapping[str, str], where: str) -> Mapping[str, str]:
    match event:
        case dpe.PoissonSampledDpEvent() if event.sampling_probability not in (0.0, 1.0):
            more, why = "add-remove", "a sample may lack the record"
        case RandomAllocationDpEvent() if event.chosen != event.steps:
            more, why = "add-remove", "a step may lack the record"
        case dpe.SampledWithoutReplacementDpEvent() | dpe.SampledWithReplacementDpEvent():
            more, why = "replace-one", "a sample may hold another record in its place"
        case ParallelDpEvent() if event.partition == "label" and "replace-one" in needed:
            more, why = "add-remove", "the record may leave its part for that of another label"
        case _:
            return needed
    if more in needed:
        return needed
    asked = next(iter(needed.values()))
    return {**needed, more: f"{asked}, and {why}, at {where}"}


def _refused(
    event: RestrictedDpEvent, adjacency: str, why: str, where: str
) -> UnsupportedEventError:
    return UnsupportedEventError(
        f"{shown(event.event)}, at {where}, holds under {' and '.join(event.adjacencies)} only, "
        f"but must hold under {adjacency} there: {why}.\n  Account under an adjacency that all "
        f"parts hold under, or declare this part by an event that holds under {adjacency}."
    )

"""Event trees: parts of them replaced, and places in them named."""

from collections.abc import Callable
from typing import Any

import attr
import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports
import numpy as np

from . import events


def rebuilt(event: Any, change: Callable[[Any], Any]) -> Any:
    """The tree with `change` applied to every event and value; itself where nothing changes."""
    if isinstance(event, list | tuple):
        parts = [rebuilt(part, change) for part in event]
        same = all(new is old for new, old in zip(parts, event, strict=True))
        return event if same else type(event)(parts)
    if isinstance(event, dpe.DpEvent) and attr.has(type(event)):
        fields = {
            field.name: rebuilt(getattr(event, field.name), change)
            for field in attr.fields(type(event))
        }
        changed = any(fields[name] is not getattr(event, name) for name in fields)
        event = attr.evolve(event, **fields) if changed else event
    return change(event)


def with_python_numbers(event: dpe.DpEvent) -> Any:
    """Numbers of numpy as Python's, which fractions need."""
    return rebuilt(event, lambda value: value.item() if isinstance(value, np.generic) else value)


def without_allocation(event: dpe.DpEvent) -> Any:
    """Random allocation as plain repetition: an upper bound, since the steps are not told apart.

    Source: post-processing; the steps that a record does not enter do not depend on it.
    """

    def change(value: Any) -> Any:
        if isinstance(value, events.RandomAllocationDpEvent):
            return dpe.SelfComposedDpEvent(value.event, value.chosen)
        return value

    return rebuilt(event, change)


def inside(where: str, field: str, event: object) -> str:
    """The place of a sub-event, for messages."""
    return f"{where}.{field} ({type(event).__name__})"


def shown(event: object) -> str:
    """An event for messages, cut to 200 characters."""
    text = repr(event)
    return text if len(text) <= 200 else f"{text[:200]}..."

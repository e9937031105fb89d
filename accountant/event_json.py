"""Events as JSON and back. Class names are looked up in a fixed table; nothing is imported."""

import math
import types
from typing import Any, Union, get_args, get_origin

import attr
import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from . import check
from .errors import RecordError
from .events import (
    CorrelatedGaussianDpEvent,
    DiscreteGaussianDpEvent,
    GroupwiseGaussianDpEvent,
    ParallelDpEvent,
    PureDpEvent,
    RandomAllocationDpEvent,
    RestrictedDpEvent,
    ShuffledBatchesDpEvent,
    ShuffledDpEvent,
)

CLASSES: dict[str, type[dpe.DpEvent]] = {
    kind.__name__: kind
    for kind in (
        GroupwiseGaussianDpEvent,
        CorrelatedGaussianDpEvent,
        DiscreteGaussianDpEvent,
        PureDpEvent,
        RandomAllocationDpEvent,
        ShuffledBatchesDpEvent,
        ShuffledDpEvent,
        ParallelDpEvent,
        RestrictedDpEvent,
        dpe.NoOpDpEvent,
        dpe.NonPrivateDpEvent,
        dpe.UnsupportedDpEvent,
        dpe.RandomizedResponseDpEvent,
        dpe.GaussianDpEvent,
        dpe.LaplaceDpEvent,
        dpe.DiscreteLaplaceDpEvent,
        dpe.SelfComposedDpEvent,
        dpe.ComposedDpEvent,
        dpe.PoissonSampledDpEvent,
        dpe.SampledWithReplacementDpEvent,
        dpe.SampledWithoutReplacementDpEvent,
        dpe.SingleEpochTreeAggregationDpEvent,
        dpe.RepeatAndSelectDpEvent,
        dpe.MixtureOfGaussiansDpEvent,
        dpe.ZCDpEvent,
        dpe.TruncatedSubsampledGaussianDpEvent,
    )
}


def to_dict(event: dpe.DpEvent) -> dict[str, Any]:
    """Plain JSON types: {"class": class name, field: value, ...}, nested; infinity as "Infinity".

    The key is a Python keyword, so that no field can have that name ("event" is a field of many).

    Raises:
        RecordError: a class that the table does not hold, a field that JSON cannot hold, or NaN.
    """
    name = type(event).__name__
    if CLASSES.get(name) is not type(event):
        raise RecordError(f"event {name} cannot be recorded; known: {', '.join(CLASSES)}")
    fields = attr.fields_dict(type(event))
    return {"class": name} | {field: _encode(getattr(event, field)) for field in fields}


def from_dict(data: Any) -> dpe.DpEvent:
    """The event that `to_dict` wrote.

    Raises:
        RecordError: not such a dictionary, an unknown event, or fields that do not fit it.

    >>> from_dict({"class": "GaussianDpEvent", "noise_multiplier": 2.0})
    GaussianDpEvent(noise_multiplier=2.0)
    """
    if not isinstance(data, dict) or not isinstance(data.get("class"), str):
        raise RecordError(f"an event is an object with a key 'class', but is {data!r}")
    kind = CLASSES.get(data["class"])
    if kind is None:
        raise RecordError(f"event must be {check.suggest(data['class'], CLASSES)}")
    fields = {key: _decode(value) for key, value in data.items() if key != "class"}
    wanted = set(attr.fields_dict(kind))
    if not set(fields) <= wanted:
        extra = ", ".join(sorted(set(fields) - wanted))
        raise RecordError(f"{kind.__name__} has no field {extra}; it has {sorted(wanted)}")
    for key, value in fields.items():
        wanted_type = attr.fields_dict(kind)[key].type
        if not _fits(value, wanted_type):
            shown = getattr(wanted_type, "__name__", wanted_type)
            raise RecordError(f"{kind.__name__}.{key} must be of type {shown}, but is {value!r}")
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:
        raise RecordError(f"{kind.__name__}: {error}") from error


def _encode(value: Any) -> Any:
    if isinstance(value, dpe.DpEvent):
        return to_dict(value)
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            raise RecordError("NaN cannot be recorded: it is not a parameter of an event")
        return "Infinity" if value > 0.0 else "-Infinity"
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise RecordError(f"an event field of type {type(value).__name__} cannot be recorded")


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        return from_dict(value)
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if isinstance(value, str):
        return {"Infinity": math.inf, "-Infinity": -math.inf}.get(value, value)
    return value


def _fits(value: Any, wanted: Any) -> bool:
    # The few forms of annotation that events have; the library itself checks none of them.
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    parts = get_args(wanted)
    if not parts:
        return isinstance(value, wanted) and not isinstance(value, bool)
    if get_origin(wanted) in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    return isinstance(value, list | tuple) and all(_fits(item, parts[0]) for item in value)

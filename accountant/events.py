"""Events: what was released, with what noise. `dp_accounting`'s vocabulary plus ours.

Events are inert. An accountant is written against an event's docstring; the meaning of an event
never changes. `to_dict` and `from_dict` give JSON; class names are looked up in a fixed table,
nothing named in the data is imported.
"""

import math
import types
from collections.abc import Iterable
from typing import Any, Union, get_args, get_origin

import attr
import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from . import check
from .errors import RecordError, UnsupportedEventError


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


def _events(values: Iterable[dpe.DpEvent]) -> tuple[dpe.DpEvent, ...]:
    return tuple(values)


@attr.s(frozen=True, slots=True, auto_attribs=True)
class GroupwiseGaussianDpEvent(dpe.DpEvent):
    """Gaussian noise with its own scale per coordinate group, one joint release.

    A record's contribution to group g has L2 norm at most `norm_bounds[g]`, in all groups at once,
    and at most `joint_norm_bound` over all groups if that is given. The noise in group g has
    standard deviation `noise_stddevs[g]`, in the units of the norms. Zero noise is allowed (and
    then nothing is proven unless the group's bound is zero).

    Raises:
        ParameterError: lengths differ, or a number is negative or NaN.
    """

    noise_stddevs: tuple[float, ...] = attr.ib(converter=_floats)
    norm_bounds: tuple[float, ...] = attr.ib(converter=_floats)
    joint_norm_bound: float | None = None

    def __attrs_post_init__(self) -> None:
        check.same_length(noise_stddevs=self.noise_stddevs, norm_bounds=self.norm_bounds)
        for stddev, bound in zip(self.noise_stddevs, self.norm_bounds, strict=True):
            check.non_negative(noise_stddevs=stddev, norm_bounds=bound)
        if self.joint_norm_bound is not None:
            check.non_negative(joint_norm_bound=self.joint_norm_bound)


PARTITIONS = ("label", "client")


@attr.s(frozen=True, slots=True, auto_attribs=True)
class ParallelDpEvent(dpe.DpEvent):
    """Several releases, of which each record enters at most one.

    `partition` says by which rule: "label" (the record's own label) or "client" (who holds it).
    The rule must look at the record alone. A partition computed from several records, such as the
    clusters of a clustering, is not one: exchanging a record can move others between the parts.

    Raises:
        UnsupportedEventError: any other partition.
    """

    events: tuple[dpe.DpEvent, ...] = attr.ib(converter=_events)
    partition: str

    def __attrs_post_init__(self) -> None:
        if self.partition not in PARTITIONS:
            raise UnsupportedEventError(
                f"parallel composition over partition {self.partition!r} is not proven.\n"
                f"  It needs a rule that looks at one record alone, one of {PARTITIONS}. "
                "Compose the releases in sequence (ComposedDpEvent) instead."
            )


_CLASSES: dict[str, type[dpe.DpEvent]] = {
    kind.__name__: kind
    for kind in (
        GroupwiseGaussianDpEvent,
        ParallelDpEvent,
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
    if _CLASSES.get(name) is not type(event):
        raise RecordError(f"event {name} cannot be recorded; known: {', '.join(_CLASSES)}")
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
    kind = _CLASSES.get(data["class"])
    if kind is None:
        raise RecordError(f"event must be {check.suggest(data['class'], _CLASSES)}")
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

import json
import math

import dp_accounting.dp_event as dpe
import pytest

from privassay.accountant import event_json, events
from privassay.accountant.errors import ParameterError, RecordError, UnsupportedEventError
from privassay.accountant.event_json import from_dict, to_dict
from privassay.accountant.events import GroupwiseGaussianDpEvent, ParallelDpEvent

ONE = dpe.GaussianDpEvent(1.5)
EXAMPLES = [
    GroupwiseGaussianDpEvent((1.0, 2.0), (0.5, 0.25), 0.75),
    GroupwiseGaussianDpEvent((1.0, 2.0), (0.5, 0.25)),
    ParallelDpEvent((ONE, dpe.NoOpDpEvent()), "label"),
    events.CorrelatedGaussianDpEvent(((2.0, 1.0), (1.0, 2.0)), 1.0),
    events.DiscreteGaussianDpEvent(3.0, 2),
    events.PureDpEvent(0.5),
    events.RandomAllocationDpEvent(10, ONE, 2),
    events.ShuffledBatchesDpEvent(10, ONE),
    events.ShuffledDpEvent(100, events.PureDpEvent(0.5)),
    events.RestrictedDpEvent(ONE, ("replace-one", "zero-out")),
    dpe.GaussianDpEvent(math.inf),
    dpe.NoOpDpEvent(),
    dpe.NonPrivateDpEvent(),
    dpe.UnsupportedDpEvent(),
    dpe.RandomizedResponseDpEvent(0.5, 4),
    ONE,
    dpe.LaplaceDpEvent(2.0),
    dpe.DiscreteLaplaceDpEvent(0.5, 2),
    dpe.SelfComposedDpEvent(ONE, 7),
    dpe.ComposedDpEvent([ONE, dpe.SelfComposedDpEvent(dpe.LaplaceDpEvent(1.0), 2)]),
    dpe.PoissonSampledDpEvent(0.01, ONE),
    dpe.SampledWithReplacementDpEvent(100, 10, ONE),
    dpe.SampledWithoutReplacementDpEvent(100, 10, ONE),
    dpe.SingleEpochTreeAggregationDpEvent(1.0, 8),
    dpe.RepeatAndSelectDpEvent(ONE, 3.0, 1.0),
    dpe.MixtureOfGaussiansDpEvent(1.0, [0.0, 1.0], [0.5, 0.5]),
    dpe.ZCDpEvent(0.5, 0.1),
    dpe.TruncatedSubsampledGaussianDpEvent(100, 0.1, 20, 1.0),
]


def test_every_event_of_the_table_has_an_example():
    assert {type(event).__name__ for event in EXAMPLES} == set(event_json.CLASSES)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_json_round_trip(event):
    data = json.loads(json.dumps(to_dict(event), allow_nan=False))
    assert from_dict(data) == event
    assert to_dict(from_dict(data)) == to_dict(event)


@pytest.mark.parametrize(
    "data, message",
    [
        ({"class": "GausianDpEvent", "noise_multiplier": 1.0}, "did you mean 'GaussianDpEvent'"),
        ({"class": "os.system"}, "one of"),
        ({"noise_multiplier": 1.0}, "key 'class'"),
        ({"class": 3}, "key 'class'"),
        ([1.0], "an event is an object"),
        ({"class": "GaussianDpEvent", "noise": 1.0}, "has no field noise"),
        ({"class": "GaussianDpEvent"}, "noise_multiplier"),
        (
            {"class": "GroupwiseGaussianDpEvent", "noise_stddevs": ["a"], "norm_bounds": [1.0]},
            "must be of type",
        ),
        (
            {"class": "GroupwiseGaussianDpEvent", "noise_stddevs": 3, "norm_bounds": [1.0]},
            "must be of type",
        ),
        (
            {"class": "GroupwiseGaussianDpEvent", "noise_stddevs": [1.0], "norm_bounds": [-1.0]},
            "norm_bounds must be",
        ),
        (
            {"class": "ParallelDpEvent", "events": [], "partition": "cluster"},
            "parallel composition",
        ),
        ({"class": "GaussianDpEvent", "noise_multiplier": "1.5"}, "must be of type float"),
        ({"class": "GaussianDpEvent", "noise_multiplier": True}, "must be of type float"),
        ({"class": "SelfComposedDpEvent", "event": 3, "count": 1}, "must be of type DpEvent"),
        ({"class": "ComposedDpEvent", "events": [{"event": "x"}]}, "key 'class'"),
        ({"class": "ComposedDpEvent", "events": [3]}, "must be of type"),
        (
            {"class": "SelfComposedDpEvent", "event_": {"class": "NoOpDpEvent"}, "count": 1},
            "has no field event_",
        ),
    ],
)
def test_what_is_not_an_event(data, message):
    with pytest.raises(RecordError, match=message):
        from_dict(data)


def test_what_cannot_be_recorded():
    class Homemade(dpe.DpEvent):
        pass

    with pytest.raises(RecordError, match="Homemade cannot be recorded"):
        to_dict(Homemade())
    with pytest.raises(RecordError, match="type object"):
        to_dict(dpe.GaussianDpEvent(object()))
    with pytest.raises(RecordError, match="NaN"):
        to_dict(dpe.GaussianDpEvent(math.nan))


def test_a_partition_computed_from_several_records_is_refused():
    with pytest.raises(UnsupportedEventError, match="'cluster' is not proven"):
        ParallelDpEvent((ONE,), "cluster")


def test_events_are_frozen_and_checked():
    event = GroupwiseGaussianDpEvent([1, 2], [3, 4])
    assert event.noise_stddevs == (1.0, 2.0) and isinstance(event.noise_stddevs[0], float)
    with pytest.raises(AttributeError):
        event.noise_stddevs = (1.0,)
    for arguments, message in [
        (((1.0,), (1.0, 2.0)), "same number"),
        (((), ()), "same number"),
        (((-1.0,), (1.0,)), "noise_stddevs"),
        (((1.0,), (math.nan,)), "NaN"),
        (((1.0,), (1.0,), -2.0), "joint_norm_bound"),
    ]:
        with pytest.raises(ParameterError, match=message):
            GroupwiseGaussianDpEvent(*arguments)

import itertools
import math
import random
from fractions import Fraction

import dp_accounting.dp_event as dpe
import pytest

from privassay.accountant import reduce
from privassay.accountant.account import account
from privassay.accountant.errors import ParameterError, UnsupportedEventError
from privassay.accountant.events import GroupwiseGaussianDpEvent, ParallelDpEvent
from privassay.accountant.reduce import gaussian_mu

ONE = dpe.GaussianDpEvent(1.0)


def mu(event, adjacency="add-remove", **more):
    lower, upper = gaussian_mu(event, adjacency=adjacency, **more)
    assert lower <= upper <= lower * (1 + 2.0**-51)
    return lower if lower == upper else (lower + upper) / 2


def repeated(event, count):
    return dpe.SelfComposedDpEvent(event, count)


@pytest.mark.parametrize(
    "event, expected",
    [
        (dpe.NoOpDpEvent(), 0.0),
        (dpe.NonPrivateDpEvent(), math.inf),
        (dpe.GaussianDpEvent(4.0), 0.25),
        (dpe.GaussianDpEvent(0.0), math.inf),
        (dpe.GaussianDpEvent(math.inf), 0.0),
        (GroupwiseGaussianDpEvent((2.0, 4.0), (6.0, 16.0)), 5.0),
        (GroupwiseGaussianDpEvent((1.0, 2.0), (9.0, 9.0), 3.0), 3.0),
        (GroupwiseGaussianDpEvent((0.0, 1.0), (0.0, 1.0)), 1.0),
        (GroupwiseGaussianDpEvent((0.0, 1.0), (1.0, 1.0)), math.inf),
        (dpe.ComposedDpEvent([]), 0.0),
        (dpe.ComposedDpEvent([dpe.GaussianDpEvent(1 / 3.0), dpe.GaussianDpEvent(0.25)]), 5.0),
        (repeated(dpe.GaussianDpEvent(10.0), 100), 1.0),
        (repeated(ONE, 0), 0.0),
        (repeated(dpe.NonPrivateDpEvent(), 0), 0.0),
        (ParallelDpEvent((ONE, dpe.GaussianDpEvent(0.5)), "label"), 2.0),
        (ParallelDpEvent((), "client"), 0.0),
        (dpe.PoissonSampledDpEvent(1.0, ONE), 1.0),
        (dpe.PoissonSampledDpEvent(0, ONE), 0.0),
        (repeated(dpe.ComposedDpEvent([repeated(ONE, 3), dpe.NoOpDpEvent(), ONE]), 4), 4.0),
    ],
)
def test_the_table(event, expected):
    assert mu(event) == pytest.approx(expected, rel=1e-15)
    assert mu(event, "zero-out") == pytest.approx(expected, rel=1e-15)
    assert mu(event, "replace-one") == pytest.approx(2 * expected, rel=1e-15)
    assert mu(event, "replace-one", group_size=3) == pytest.approx(6 * expected, rel=1e-15)


def test_exact_values_stay_exact():
    assert gaussian_mu(repeated(dpe.GaussianDpEvent(10.0), 100), adjacency="add-remove") == (1, 1)
    lower, upper = gaussian_mu(repeated(ONE, 2), adjacency="add-remove")
    assert Fraction(lower) ** 2 < 2 < Fraction(upper) ** 2 and upper == math.nextafter(lower, 2)


def test_many_different_rounds_are_enclosed(monkeypatch):
    generator = random.Random(8)
    noises = [generator.uniform(0.5, 50) for _ in range(300)]
    event = dpe.ComposedDpEvent([dpe.GaussianDpEvent(z) for z in noises])
    exact = gaussian_mu(event, adjacency="add-remove")
    monkeypatch.setattr(reduce, "_MOST_BITS", 256)  # forces outward rounding
    rounded = gaussian_mu(event, adjacency="add-remove")
    assert rounded[0] <= exact[0] <= exact[1] <= rounded[1] <= rounded[0] * (1 + 1e-15)
    assert exact[1] == pytest.approx(math.sqrt(math.fsum(z**-2 for z in noises)), rel=1e-14)


@pytest.mark.parametrize(
    "event, name, where",
    [
        (dpe.LaplaceDpEvent(1.0), "LaplaceDpEvent", "at LaplaceDpEvent"),
        (
            dpe.ComposedDpEvent([ONE, repeated(dpe.LaplaceDpEvent(1.0), 2)]),
            "LaplaceDpEvent(noise_multiplier=1.0)",
            "at ComposedDpEvent.events[1] (SelfComposedDpEvent).event (LaplaceDpEvent)",
        ),
        (dpe.PoissonSampledDpEvent(0.5, ONE), "PoissonSampledDpEvent", "sampling_probability"),
        (
            ParallelDpEvent((ONE, dpe.ZCDpEvent(1.0)), "label"),
            "ZCDpEvent",
            "at ParallelDpEvent.events[1] (ZCDpEvent)",
        ),
        (dpe.SampledWithoutReplacementDpEvent(10, 10, ONE), "SampledWithout", "Supported"),
        (dpe.UnsupportedDpEvent(), "UnsupportedDpEvent", "engine made for it"),
    ],
)
def test_what_is_not_proven_is_named(event, name, where):
    with pytest.raises(UnsupportedEventError) as caught:
        gaussian_mu(event, adjacency="add-remove")
    assert name in str(caught.value) and where in str(caught.value)


@pytest.mark.parametrize(
    "event, message",
    [
        (dpe.GaussianDpEvent(math.nan), "noise_multiplier at GaussianDpEvent must be"),
        (dpe.GaussianDpEvent(-1.0), "noise_multiplier"),
        (repeated(ONE, -1), "count at SelfComposedDpEvent must be"),
        (repeated(ONE, 1.5), "1.5"),
        (repeated(ONE, True), "True"),
        (dpe.PoissonSampledDpEvent(1.5, ONE), "sampling_probability"),
        (dpe.PoissonSampledDpEvent(math.nan, ONE), "NaN"),
        (dpe.ComposedDpEvent([ONE, dpe.GaussianDpEvent(-2.0)]), r"events\[1\]"),
        (dpe.ComposedDpEvent(ONE), "list of events"),
    ],
)
def test_wrong_numbers(event, message):
    with pytest.raises(ParameterError, match=message):
        gaussian_mu(event, adjacency="add-remove")


def test_adjacency_and_group_size_are_checked():
    with pytest.raises(ParameterError, match="did you mean 'replace-one'"):
        gaussian_mu(ONE, adjacency="replace_one")
    with pytest.raises(ParameterError, match="group_size"):
        gaussian_mu(ONE, adjacency="add-remove", group_size=0)


def split(*noises):
    return ParallelDpEvent(tuple(map(dpe.GaussianDpEvent, noises)), "label")


def test_worst_parts_of_two_partitions_need_not_share_a_record():
    """Brute force: each partition's parts in every order; some alignment is the truth."""
    rng = random.Random(3)
    for _ in range(30):
        noises = [[rng.choice([0.5, 1.0, 2.0, 8.0]) for _ in range(3)] for _ in range(3)]
        event = dpe.ComposedDpEvent([dpe.ComposedDpEvent([split(*n), ONE]) for n in noises])
        lower, upper = gaussian_mu(event, adjacency="add-remove")
        truths = []
        for second in itertools.permutations(noises[1]):
            for third in itertools.permutations(noises[2]):
                parts = zip(noises[0], second, third, strict=True)
                truths.append(max(math.sqrt(3 + sum(1 / n**2 for n in part)) for part in parts))
        assert lower <= min(truths) * (1 + 1e-15) and max(truths) <= upper * (1 + 1e-15)


def test_one_partition_is_exact_wherever_it_stands():
    one = dpe.ComposedDpEvent([split(1.0, 4.0), ONE])
    assert mu(one) == pytest.approx(math.sqrt(2.0), rel=2.0**-52)
    assert mu(repeated(split(1.0, 4.0), 4)) == 2.0
    blocked = gaussian_mu(
        dpe.ComposedDpEvent([split(1.0, 0.0), split(1.0, 2.0)]), adjacency="add-remove"
    )
    assert blocked == (math.inf, math.inf)


def test_partitions_beside_a_sampled_part_keep_their_lower_end_safe():
    """No Gaussian tree: whether the partitions' worst parts share a record is not known."""
    sampled = dpe.PoissonSampledDpEvent(1e-9, ONE)
    event = dpe.ComposedDpEvent([split(1.0, 1e9), split(1e9, 1.0), sampled])
    found = account(event, adjacency="add-remove").epsilon(1e-5)
    apart = account(ONE, adjacency="add-remove").epsilon(1e-5)
    together = account(repeated(ONE, 2), adjacency="add-remove").epsilon(1e-5)
    assert found.lower <= apart.upper and together.lower <= found.upper * (1 + 1e-6)

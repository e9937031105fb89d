"""Events: what was released, with what noise. `dp_accounting`'s vocabulary plus ours.

Events are inert. An accountant is written against an event's docstring; the meaning of an event
never changes.
"""

from collections.abc import Iterable
from typing import Any

import attr
import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from . import check
from .adjacency import ADJACENCIES
from .errors import ParameterError, UnsupportedEventError


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


def _matrix(rows: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(map(_floats, rows))


def _events(values: Iterable[dpe.DpEvent]) -> tuple[dpe.DpEvent, ...]:
    return tuple(values)


def _event(value: Any) -> dpe.DpEvent:
    if not isinstance(value, dpe.DpEvent):
        raise ParameterError(
            f"event must be a DpEvent, but is {value!r}.\n"
            "  Give what is released as an event, such as GaussianDpEvent(noise_multiplier)."
        )
    return value


def _adjacencies(names: Any) -> tuple[str, ...]:
    # one order and no repeats, so that equal restrictions are equal events
    given = tuple(names) if isinstance(names, tuple | list | set | frozenset) else ()
    if not given:
        raise ParameterError(
            f"adjacencies must be a tuple that names one or more of {', '.join(ADJACENCIES)}, "
            f"but is {names!r}"
        )
    for name in given:
        check.one_of(ADJACENCIES, adjacencies=name)
    return tuple(name for name in ADJACENCIES if name in given)


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


@attr.s(frozen=True, slots=True, auto_attribs=True)
class CorrelatedGaussianDpEvent(dpe.DpEvent):
    """One release with Gaussian noise of covariance S, correlated over coordinates or rounds.

    A record's contribution has L2 norm at most `norm_bound`, all coordinates (and all rounds that
    the matrix spans) together. `covariance` is symmetric, in squared units of the norm.

    Raises:
        ParameterError: a negative or NaN bound; the matrix is checked where it is accounted.
    """

    covariance: tuple[tuple[float, ...], ...] = attr.ib(converter=_matrix)
    norm_bound: float

    def __attrs_post_init__(self) -> None:
        check.non_negative(norm_bound=self.norm_bound)


@attr.s(frozen=True, slots=True, auto_attribs=True)
class DiscreteGaussianDpEvent(dpe.DpEvent):
    """Discrete Gaussian noise on one integer, P(x) proportional to e^(-x^2/(2 sigma^2)).

    One record's contribution is an integer of at most `sensitivity` in absolute value. Source:
    Canonne, Kamath & Steinke, arXiv:2004.00010.

    Raises:
        ParameterError: sigma is not positive, or sensitivity is not a whole number >= 1.
    """

    sigma: float
    sensitivity: int = 1

    def __attrs_post_init__(self) -> None:
        check.positive(sigma=self.sigma)
        check.count(sensitivity=self.sensitivity)


@attr.s(frozen=True, slots=True, auto_attribs=True)
class PureDpEvent(dpe.DpEvent):
    """Any mechanism that is (epsilon, 0)-DP under the adjacency it is accounted for.

    For example the exponential mechanism, or report-noisy-max. Accounting takes the worst of all
    such mechanisms, which is binary randomised response (Kairouz, Oh & Viswanath,
    arXiv:1311.0776).

    Raises:
        ParameterError: epsilon is negative or NaN.
    """

    epsilon: float

    def __attrs_post_init__(self) -> None:
        check.non_negative(epsilon=self.epsilon)


@attr.s(frozen=True, slots=True, auto_attribs=True)
class RandomAllocationDpEvent(dpe.DpEvent):
    """`steps` runs of `event`; each record takes part in exactly `chosen` of them.

    Which ones is drawn uniformly, secretly and independently for each record. This is neither
    Poisson sampling nor a shuffle into fixed batches. Source: Feldman & Shenfeld, arXiv:2502.08202.

    Raises:
        ParameterError: steps or chosen is not a whole number >= 1, or chosen > steps.
    """

    steps: int
    event: dpe.DpEvent
    chosen: int = 1

    def __attrs_post_init__(self) -> None:
        check.count(steps=self.steps, chosen=self.chosen)
        if self.chosen > self.steps:
            raise ParameterError(f"chosen must be at most steps, but {self.chosen} > {self.steps}")


@attr.s(frozen=True, slots=True, auto_attribs=True)
class ShuffledBatchesDpEvent(dpe.DpEvent):
    """One epoch over a shuffled data set cut into `batches` fixed batches, `event` run on each.

    What a data loader with `shuffle=True` does. Each record is in exactly one batch. The batch
    sizes are public. This is not Poisson sampling.

    Raises:
        ParameterError: batches is not a whole number >= 1.
    """

    batches: int
    event: dpe.DpEvent

    def __attrs_post_init__(self) -> None:
        check.count(batches=self.batches)


@attr.s(frozen=True, slots=True, auto_attribs=True)
class ShuffledDpEvent(dpe.DpEvent):
    """Reports of `users` users, each randomised by `event` at the user, then shuffled.

    `event` is a local randomiser: `PureDpEvent` (any such randomiser) or
    `RandomizedResponseDpEvent`. The analyst sees the reports in random order, and nothing else.

    Raises:
        ParameterError: users is not a whole number >= 1.
    """

    users: int
    event: dpe.DpEvent

    def __attrs_post_init__(self) -> None:
        check.count(users=self.users)


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


@attr.s(frozen=True, slots=True, auto_attribs=True)
class RestrictedDpEvent(dpe.DpEvent):
    """A release that is what `event` says under `adjacencies`, and anything at all under others.

    For releases in which a record that comes or goes changes more than a sum (batches, counts,
    who uploads), and for noise that is made for one adjacency. Under the named ones it costs what
    `event` costs; accounting under any other is refused, also where a combinator around it needs
    another one inside (`restricted`). If both add-remove and zero-out are named, a contribution
    that is zero is as good as an absent one.

    Raises:
        ParameterError: no event, no adjacency, or one that does not exist.
    """

    event: dpe.DpEvent = attr.ib(converter=_event)
    adjacencies: tuple[str, ...] = attr.ib(converter=_adjacencies)

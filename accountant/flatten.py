"""An event tree as a flat list of releases, each with the pair of laws that dominates it.

Composition, also adaptive, is the product of the pairs (Zhu, Dong & Wang, arXiv:2106.08567). What
reduces to Gaussians is added up exactly as one mu^2 (`reduce`). An event for which nothing is
proven under the adjacency raises, and the message names it and where it is. Over 300 lines, because
every kind of event is a step of one walk, which goes on inside it.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from . import check, events
from .adjacency import Adjacency, contribution_factor
from .errors import ParameterError, UnsupportedEventError
from .geometry import root_interval
from .pairs import amplified, atoms, disclosed, laplace, mixtures, random_allocation, shuffle
from .pairs.base import Pair
from .pairs.with_replacement import with_replacement
from .rebuild import inside, shown
from .reduce import (
    NOTHING,
    Squared,
    is_gaussian,
    is_split,
    least_squared,
    repetitions,
    squared,
    times,
    trimmed,
)
from .renyi_terms import RenyiTerm, Selected, UpperOnly, ZCdp
from .restricted import unrestricted

_MOST_ALLOCATED = 9  # mu^2 that the pairs of random allocation are made for
_LEAST_ALLOCATED = 0.01  # mu that they are made for
_MOST_PURE, _LEAST_PURE = 690.0, 1e-150  # epsilons that a pair can hold
_MOST_LAPLACE = 1e4  # shift over scale: beyond it the engines' exponents are out of range
_MOST_RUNS = 10**15
_LARGEST_MEAN = 1e6  # of a mixture's component

Ends = tuple[Pair, Pair | None]  # dominating from above; dominated, None for nothing known


@dataclass
class Parts:
    """Everything that was released, flat.

    Attributes:
        squared_mu: lower and upper end of the Gaussians' mu^2.
        sampled: Poisson-sampled Gaussians under add-remove: (rate, lower and upper noise
            multiplier) to count.
        pairs: the other pairs (upper, lower) to count.
        renyi: terms of which only Renyi divergences are known, to count.
        lossy: names of sub-events whose upper and lower pair differ.
    """

    squared_mu: Squared = NOTHING
    sampled: dict[tuple[float, float, float], int] = field(default_factory=dict)
    pairs: dict[Ends, int] = field(default_factory=dict)
    renyi: dict[RenyiTerm, int] = field(default_factory=dict)
    lossy: set[str] = field(default_factory=set)

    @property
    def is_gaussian(self) -> bool:
        """Whether one mu says everything."""
        return not (self.sampled or self.pairs or self.renyi)


def flatten(event: dpe.DpEvent, *, adjacency: Adjacency, group_size: int = 1) -> Parts:
    """The flat list for one neighbour relation.

    Args:
        event: what was released; noise multipliers refer to one record's contribution.
        adjacency: what a neighbour is.
        group_size: how many records change together, >= 1.

    Raises:
        UnsupportedEventError: a part for which nothing is proven, or that does not hold under the
            adjacency; named.
        ParameterError: a number in the event outside its range.
    """
    check.count(group_size=group_size)
    plain = unrestricted(event, adjacency)
    walker = _Walker(adjacency, group_size)
    walker.walk(plain, 1, type(plain).__name__, whole=True)
    return walker.parts


def alternatives(
    event: dpe.DpEvent, adjacency: Adjacency, group_size: int = 1
) -> list[dpe.DpEvent]:
    """The distinct events of which one record enters one; [event] if it is not parallel.

    Gaussians in parallel are left alone: `reduce` handles them anywhere in the tree. Restrictions
    are checked against the adjacency, and gone in what is returned.

    Raises:
        UnsupportedEventError: parallel over labels under replace-one, or for groups, and not all
            Gaussian; or a part that does not hold under the adjacency.
    """
    event = unrestricted(event, adjacency)
    if not isinstance(event, events.ParallelDpEvent) or is_gaussian(event):
        return [event]
    if group_size > 1:
        raise UnsupportedEventError(
            f"parallel composition for groups of {group_size} is proven for unsampled Gaussians "
            "only: the group may be spread over the parts, which can leak more than any one of "
            "them.\n  Account with group_size 1, or compose the parts in sequence."
        )
    if adjacency == "replace-one" and event.partition == "label":
        raise UnsupportedEventError(
            "parallel composition over labels under replace-one is proven for unsampled Gaussians "
            "only: the record may change its label, and leave one part for another.\n"
            "  Account under add-remove or zero-out, or compose the parts in sequence."
        )
    found: list[dpe.DpEvent] = []
    for part in event.events:
        for one in alternatives(part, adjacency, group_size):
            if one not in found:
                found.append(one)
    return found


class _Walker:
    def __init__(self, adjacency: Adjacency, group_size: int) -> None:
        self.parts = Parts()
        self.adjacency, self.group_size = adjacency, group_size
        self.replace = adjacency == "replace-one"
        # contributions move by so many times the bound of one record
        self.factor = int(contribution_factor(adjacency)) * group_size

    def walk(self, event: dpe.DpEvent, count: int, where: str, *, whole: bool = False) -> None:
        """Add `count` runs of `event`, which may be the whole tree."""
        if count == 0:
            return
        if whole and is_gaussian(event):
            self._plain(event, count, where, whole=True)
            return
        if count > _MOST_RUNS:
            raise ParameterError(f"{where} runs more than {_MOST_RUNS:,} times, which is too many")
        match event:
            case dpe.ComposedDpEvent():
                if not isinstance(event.events, list | tuple):
                    raise ParameterError(f"events at {where} must be a list, but is {event.events}")
                for index, part in enumerate(event.events):
                    self.walk(part, count, inside(where, f"events[{index}]", part))
            case dpe.SelfComposedDpEvent():
                number = repetitions(event.count, where)
                self.walk(event.event, count * number, inside(where, "event", event.event))
            case events.ParallelDpEvent() if not is_gaussian(event):
                found = alternatives(event, self.adjacency, self.group_size)
                if len(found) > 1:
                    raise self._refused(
                        event, where, "parallel parts that differ, inside a composition"
                    )
                self.walk(found[0], count, inside(where, "events[0]", found[0]))
            case dpe.PoissonSampledDpEvent():
                self._poisson(event, count, where, whole=whole)
            case dpe.SampledWithoutReplacementDpEvent() | dpe.SampledWithReplacementDpEvent():
                self._fixed_size(event, count, where, whole=whole)
            case events.RandomAllocationDpEvent():
                self._allocated(event, count, where, whole=whole)
            case events.ShuffledBatchesDpEvent():
                # Inside an epoch the batches compose in parallel; no amplification is proven, and
                # none is a lower bound.
                if self.adjacency == "add-remove":
                    raise self._refused(
                        event,
                        where,
                        "shuffled batches under add-remove (a record that is gone moves others "
                        "into its batch; it is proven under replace-one and zero-out)",
                    )
                self._upper_only(event.event, count, inside(where, "event", event.event))
            case events.ShuffledDpEvent():
                self._shuffled(event, count, where)
            case dpe.SingleEpochTreeAggregationDpEvent():
                self._tree(event, count, where)
            case dpe.ZCDpEvent():
                check.non_negative(**{f"rho at {where}": event.rho, f"xi at {where}": event.xi})
                if self.group_size > 1 and event.xi > 0.0:
                    raise self._refused(event, where, "groups under zCDP with xi > 0")
                self._add(self.parts.renyi, ZCdp(event.rho * self.group_size**2, event.xi), count)
            case dpe.RepeatAndSelectDpEvent():
                self._selected(event, count, where)
            case _:
                self._plain(event, count, where)

    def _plain(self, event: dpe.DpEvent, count: int, where: str, *, whole: bool = False) -> None:
        # a single mechanism: a Gaussian or a pair of its own
        if isinstance(event, events.PureDpEvent) and event.epsilon == 0.0:
            return
        if isinstance(event, dpe.LaplaceDpEvent) and event.noise_multiplier == math.inf:
            return
        if isinstance(event, dpe.MixtureOfGaussiansDpEvent) and not any(event.sensitivities):
            return
        if isinstance(event, dpe.LaplaceDpEvent) and event.noise_multiplier == 0.0:
            self._gaussian(math.inf, math.inf)
            return
        if is_gaussian(event):
            low, high = self._squared(event, where, whole=whole)
            scale = Fraction(self.factor) ** 2 * count
            self._gaussian(times(scale, low), times(scale, high))
            return
        upper, lower = self._pair(event, where)
        self._add(self.parts.pairs, (upper, lower), count)

    def _squared(self, event: dpe.DpEvent, where: str, *, whole: bool) -> Squared:
        """Both ends of mu^2 of Gaussians; beside other events, the lower one is any record's."""
        low, high = squared(event, where)
        if is_split(event) and not whole:
            # the worst part may be that of another record than the rest of the tree is worst for
            least = least_squared(event, where)
            if least < low:
                self.parts.lossy.add("ParallelDpEvent")
            low = least
        return low, high

    def _pair(self, event: dpe.DpEvent, where: str) -> Ends:
        """Upper and lower pair of a single mechanism that is not Gaussian."""
        match event:
            case dpe.LaplaceDpEvent():
                _number(check.non_negative, where, "noise_multiplier", event.noise_multiplier)
                if event.noise_multiplier == 0.0:
                    return _both(atoms.PureDp(math.inf))
                low, high = _quotient(self.factor, event.noise_multiplier)
                if high > _MOST_LAPLACE:  # as good as disclosed
                    return atoms.Atoms((1.0, 0.0), (0.0, 1.0)), laplace.Laplace(_MOST_PURE)
                upper = laplace.Laplace(high)
                return upper, upper if low == high else laplace.Laplace(low)
            case dpe.DiscreteLaplaceDpEvent():
                _number(check.positive, where, "noise_parameter", event.noise_parameter)
                _number(check.count, where, "sensitivity", event.sensitivity)
                shift = event.sensitivity * self.factor
                return _both(laplace.DiscreteLaplace(event.noise_parameter, shift))
            case events.DiscreteGaussianDpEvent():
                shift = event.sensitivity * self.factor
                return _both(atoms.DiscreteGaussian(event.sigma, shift))
            case events.PureDpEvent():
                epsilon = event.epsilon * self.group_size
                if epsilon > _MOST_PURE:  # as good as disclosed
                    return atoms.Atoms((1.0, 0.0), (0.0, 1.0)), atoms.PureDp(_MOST_PURE)
                if epsilon < _LEAST_PURE:
                    return atoms.PureDp(_LEAST_PURE), None
                return _both(atoms.PureDp(epsilon))
            case dpe.RandomizedResponseDpEvent():
                _number(check.probability, where, "noise_parameter", event.noise_parameter)
                _number(check.count, where, "num_buckets", event.num_buckets)
                if not self.replace:
                    raise self._refused(
                        event,
                        where,
                        f"randomised response under {self.adjacency} (a missing record gives no "
                        "answer; it is proven under replace-one)",
                    )
                self._one_record(event, where)
                return _both(
                    atoms.RandomizedResponse(event.noise_parameter, int(event.num_buckets))
                )
            case dpe.MixtureOfGaussiansDpEvent():
                if self.replace:
                    raise self._refused(event, where, "a mixture of Gaussians under replace-one")
                self._one_record(event, where)
                return _mixture(event, where)
        raise self._refused(event, where, f"{shown(event)}")

    def _poisson(self, event: Any, count: int, where: str, *, whole: bool) -> None:
        rate = event.sampling_probability
        _number(check.probability, where, "sampling_probability", rate)
        inner, below = event.event, inside(where, "event", event.event)
        while isinstance(inner, dpe.PoissonSampledDpEvent):
            _number(check.probability, below, "sampling_probability", inner.sampling_probability)
            product = Fraction(rate) * Fraction(inner.sampling_probability)
            if Fraction(float(product)) != product:
                raise self._refused(
                    event, where, "nested sampling whose rates have no product as a double"
                )
            rate, inner = float(product), inner.event
        if rate == 0.0:
            # nothing is drawn, but what is inside must still be well formed
            flatten(inner, adjacency=self.adjacency, group_size=self.group_size)
            return
        if rate == 1.0:
            self.walk(inner, count, below, whole=whole)
            return
        if is_gaussian(inner):
            low, high = self._squared(inner, below, whole=whole)
            self._poisson_gaussian(rate, low, high, count)
            return
        if self.replace or self.group_size > 1:
            raise self._refused(
                event,
                where,
                "Poisson sampling of anything but Gaussians, under replace-one or for groups",
            )
        while isinstance(inner, dpe.SelfComposedDpEvent | dpe.ComposedDpEvent):
            # one release only: several share the coin of their sample, which is not a product
            single = _single(inner)
            if single is None:
                raise self._refused(event, where, "one sample used for several releases of a kind")
            inner = single
        upper, lower = self._pair(inner, below)
        self._add(
            self.parts.pairs,
            (
                amplified.PoissonAmplified(upper, rate),
                None if lower is None else amplified.PoissonAmplified(lower, rate),
            ),
            count,
        )

    def _poisson_gaussian(self, rate: float, low: Any, high: Any, count: int) -> None:
        # `contribution_factor` is not applied: replacing has its own pair, N(+mu) against N(-mu)
        if high == 0:
            return
        if low == math.inf:
            self._add(self.parts.pairs, _both(self._disclosed(rate)), count)
            return
        if high == math.inf:
            # not known to be singular: the upper end discloses, the lower has the noise it has
            up = self._disclosed(rate)
            if low == 0:
                self._add(self.parts.pairs, (up, None), count)
                return
            mu_low = min(root_interval(low)[0], _LARGEST_MEAN / self.group_size)
            down = (
                mixtures.poisson_replace(rate, mu_low, self.group_size)
                if self.replace
                else mixtures.poisson_group(rate, mu_low, self.group_size)
            )
            self._add(self.parts.pairs, (up, down), count)
            return
        if not self.replace and self.group_size == 1:
            noise_low = root_interval(1 / Fraction(high))[0]
            noise_high = root_interval(1 / Fraction(low))[1] if low else math.inf
            self._add(self.parts.sampled, (float(rate), noise_low, noise_high), count)
            return
        mu_low, mu_high = root_interval(low)[0], root_interval(high)[1]
        make: Callable[[float], Pair] = (
            (lambda mu: mixtures.poisson_replace(rate, mu, self.group_size))
            if self.replace
            else (lambda mu: mixtures.poisson_group(rate, mu, self.group_size))
        )
        upper = make(mu_high)
        lower: Pair | None = upper
        if mu_low < mu_high:
            lower = make(mu_low) if mu_low > 0.0 else None
        self._add(self.parts.pairs, (upper, lower), count)

    def _disclosed(self, rate: float) -> Pair:
        """Who is drawn is disclosed."""
        return disclosed.Disclosed(float(rate), self.group_size, self.replace)

    def _fixed_size(self, event: Any, count: int, where: str, *, whole: bool) -> None:
        """Samples of fixed size, of Gaussians.

        Draw j copies of the record. Coupled over the other draws, the means are sums of j
        differences v - w under D and v' - w under D', each of length at most d = 2 times the
        bound, v - v' too. By the comparison lemma for mixtures of Gaussians (docs/accountant.md)
        the worst case lies below N(j d) against N(-j d), and above N(j d) against N(0), which is
        attained where all other records equal the new one.
        """
        size, source = event.sample_size, event.source_dataset_size
        _number(check.count, where, "sample_size", size)
        _number(check.count, where, "source_dataset_size", source)
        replacing = isinstance(event, dpe.SampledWithReplacementDpEvent)
        if not replacing and size > source:
            raise ParameterError(f"sample_size at {where} is {size}, of {source} records")
        if self.adjacency == "add-remove":
            raise self._refused(
                event,
                where,
                "fixed-size sampling under add-remove (the sampling rate changes with the number "
                "of records; it is proven under replace-one and zero-out)",
            )
        self._one_record(event, where)
        below = inside(where, "event", event.event)
        if not is_gaussian(event.event):
            raise self._refused(event.event, below, "fixed-size sampling of anything but Gaussians")
        low, high = self._squared(event.event, below, whole=whole)
        if high == 0:
            return
        if high == math.inf:
            raise self._refused(event.event, below, "fixed-size sampling without noise")
        if not replacing and size == source:
            scale = 4 if self.replace else 1
            self._gaussian(times(count * scale, low), times(count * scale, high))
            return
        d_low, d_high = root_interval(4 * low)[0], root_interval(4 * high)[1]
        down: Pair | None = None
        known = self.replace and d_low > 0.0
        if replacing:
            up: Pair = with_replacement(size, source, d_high, upper=True)
            if known:
                down = with_replacement(size, source, d_low, upper=False)
        else:
            rate = size / source
            exact = Fraction(rate) == Fraction(size, source)
            up = mixtures.poisson_replace(rate if exact else math.nextafter(rate, 1.0), d_high)
            if known:
                down = mixtures.poisson(rate if exact else math.nextafter(rate, 0.0), d_low)
        self.parts.lossy.add(type(event).__name__)
        self._add(self.parts.pairs, (up, down), count)

    def _allocated(self, event: Any, count: int, where: str, *, whole: bool) -> None:
        below = inside(where, "event", event.event)
        if event.chosen == event.steps:
            self.walk(event.event, count * event.steps, below)
            return
        if event.steps % event.chosen:
            raise self._refused(event, where, "a number of steps that chosen does not divide")
        if self.replace:
            raise self._refused(event, where, "random allocation under replace-one")
        self._one_record(event, where)
        if not is_gaussian(event.event):
            raise self._refused(event.event, below, "random allocation of anything but Gaussians")
        low, high = self._squared(event.event, below, whole=whole)
        if high == 0:
            return
        if high == math.inf:
            raise self._refused(event.event, below, "random allocation without noise")
        if high > _MOST_ALLOCATED:
            # sharper than the engine takes; without amplification it is an upper bound
            self._gaussian(0, times(count * event.chosen, high))
            self.parts.lossy.add(type(event).__name__)
            return
        # k of t steps are a partition into k blocks at random with one step of each: by joint
        # convexity k uses of one of t/k steps dominate. Nothing is shown from below.
        steps = event.steps // event.chosen
        upper = random_allocation.random_allocation(root_interval(high)[1], steps)[0]
        mu_low = root_interval(low)[0]
        lower: Pair | None = None
        if event.chosen > 1:
            self.parts.lossy.add(type(event).__name__)
        elif mu_low >= _LEAST_ALLOCATED:
            lower = random_allocation.random_allocation(mu_low, steps)[1]
        ends = (upper, lower)
        self._add(self.parts.pairs, ends, count * event.chosen)

    def _shuffled(self, event: Any, count: int, where: str) -> None:
        if not self.replace:
            raise self._refused(event, where, f"the shuffle model under {self.adjacency}")
        self._one_record(event, where)
        inner, below = event.event, inside(where, "event", event.event)
        if isinstance(inner, events.PureDpEvent):
            epsilon = inner.epsilon
        elif isinstance(inner, dpe.RandomizedResponseDpEvent):
            pair = self._pair(inner, below)[0]
            epsilon = pair.highest if not pair.infinite else math.inf
        else:
            raise self._refused(inner, below, "shuffling anything but a pure local randomiser")
        if epsilon == math.inf:
            raise self._refused(inner, below, "shuffling reports without noise")
        self.parts.lossy.add(type(event).__name__)
        # attained by randomised response of which nobody else holds a one
        lower = shuffle.CountOfOnes(epsilon, event.users, 0, sure=True)
        binary = isinstance(inner, events.PureDpEvent) or inner.num_buckets == 2
        ends = (shuffle.shuffled(epsilon, event.users), lower if binary else None)
        self._add(self.parts.pairs, ends, count)

    def _tree(self, event: Any, count: int, where: str) -> None:
        _number(check.non_negative, where, "noise_multiplier", event.noise_multiplier)
        if self.adjacency == "add-remove":
            raise self._refused(
                event,
                where,
                "tree aggregation under add-remove (removing a record moves the others to other "
                "leaves; it is proven under zero-out and replace-one)",
            )
        self._one_record(event, where)
        steps = event.step_counts
        numbers = [repetitions(n, where) for n in (steps if _is_list(steps) else [steps])]
        # A record enters one leaf of one tree, hence at most as many nodes as the tree has levels:
        # ceil(log2(steps + 1)). Source: Kairouz et al., arXiv:2103.00039, appendix D.
        levels = max((n.bit_length() for n in numbers), default=0)
        if event.noise_multiplier == 0.0:
            one: Any = math.inf if levels else 0
        else:
            one = levels / Fraction(event.noise_multiplier) ** 2 if levels else Fraction(0)
        scale = Fraction(self.factor) ** 2 * count
        self._gaussian(times(scale, one), times(scale, one))

    def _selected(self, event: Any, count: int, where: str) -> None:
        inner = flatten(event.event, adjacency=self.adjacency, group_size=self.group_size)
        if inner.squared_mu[1] == math.inf:
            raise self._refused(event, where, "selection among runs without noise")
        _number(check.positive, where, "mean", event.mean)
        _number(check.non_negative, where, "shape", event.shape)
        self._add(self.parts.renyi, Selected.of(inner, event.mean, event.shape), count)

    def _upper_only(self, event: dpe.DpEvent, count: int, where: str) -> None:
        inner = _Walker(self.adjacency, self.group_size)
        inner.walk(event, count, where)
        self._gaussian(Fraction(0), inner.parts.squared_mu[1])
        for (rate, low, _), number in inner.parts.sampled.items():
            self._add(self.parts.sampled, (rate, low, math.inf), number)
        for (upper, _), number in inner.parts.pairs.items():
            self._add(self.parts.pairs, (upper, None), number)
        for term, number in inner.parts.renyi.items():
            self._add(self.parts.renyi, UpperOnly(term), number)
        self.parts.lossy.add("ShuffledBatchesDpEvent")

    def _gaussian(self, low: Any, high: Any) -> None:
        mine = self.parts.squared_mu
        self.parts.squared_mu = trimmed(mine[0] + low, mine[1] + high)

    def _add(self, where: dict[Any, int], key: Any, count: int) -> None:
        where[key] = where.get(key, 0) + count

    def _one_record(self, event: dpe.DpEvent, where: str) -> None:
        if self.group_size > 1:
            raise self._refused(event, where, f"groups of records with {type(event).__name__}")

    def _refused(self, event: dpe.DpEvent, where: str, what: str) -> UnsupportedEventError:
        return UnsupportedEventError(
            f"nothing is proven here about {what}.\n  It is {type(event).__name__}, at {where}, "
            f"under {self.adjacency}"
            + (f" for groups of {self.group_size}" if self.group_size > 1 else "")
            + ".\n  The events that are accounted, and under which adjacency, are listed in "
            "docs/accountant.md. Declare the part differently, or leave it out of the claim and "
            "say so in the claim's `covers`."
        )


def _mixture(event: Any, where: str) -> Ends:
    _number(check.positive, where, "standard_deviation", event.standard_deviation)
    check.same_length(sensitivities=event.sensitivities, sampling_probs=event.sampling_probs)
    for shift, weight in zip(event.sensitivities, event.sampling_probs, strict=True):
        _number(check.non_negative, where, "sensitivities", shift)
        _number(check.probability, where, "sampling_probs", weight)
    if not math.isclose(math.fsum(event.sampling_probs), 1.0, rel_tol=1e-9):
        raise ParameterError(f"sampling_probs at {where} must sum to 1: {event.sampling_probs}")
    kept = [
        (float(w), _quotient(s, event.standard_deviation))
        for s, w in zip(event.sensitivities, event.sampling_probs, strict=True)
        if w > 0.0
    ]
    weights = tuple(w for w, _ in kept)
    ends = [
        mixtures.GaussianMixture(weights, tuple(m[end] for _, m in kept), (1.0,), (0.0,))
        for end in (0, 1)
    ]
    return ends[1], ends[0]


def _single(event: Any) -> dpe.DpEvent | None:
    """The one event inside a trivial composition."""
    if isinstance(event, dpe.SelfComposedDpEvent):
        return event.event if event.count == 1 else None
    return event.events[0] if len(event.events) == 1 else None


def _quotient(above: float, below: float) -> tuple[float, float]:
    """The tightest doubles around above/below."""
    if below == math.inf:
        return 0.0, 0.0
    exact = Fraction(above) / Fraction(below)
    if exact > sys.float_info.max:
        return sys.float_info.max, math.inf
    near = float(exact)
    low = near if Fraction(near) <= exact else math.nextafter(near, 0.0)
    high = near if Fraction(near) >= exact else math.nextafter(near, math.inf)
    return low, high


def _both(pair: Pair) -> Ends:
    return pair, pair


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _number(validator: Callable[..., None], where: str, name: str, value: object) -> None:
    validator(**{f"{name} at {where}": value})

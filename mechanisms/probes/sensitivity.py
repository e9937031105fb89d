"""Sensitivity probe: how far does the value before noise move between neighbouring data sets?

A lower bound on the true sensitivity. It finds a missing or misplaced clip at once, and it says
nothing about neighbours that were not tried.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...accountant import check, gaussian
from ...accountant.adjacency import ADJACENCIES, Adjacency
from ...accountant.errors import ParameterError
from .finding import Finding
from .inputs import named_tensors, noise_scale

Value = Tensor | Mapping[str, Tensor]
BOUND_IT = "clip what one unit adds, and scale the noise to how far the whole release can move"
SLACK = 1e-6  # relative; sums of doubles are not exact


class Pair(NamedTuple):
    """Two neighbouring data sets and how they differ."""

    name: str
    one: Any
    other: Any


def neighbours(
    records: Tensor, adjacency: Adjacency, *, huge: float = 1e4, limit: int = 64
) -> Iterator[Pair]:
    """Neighbours of float[n, ...]: each record dropped, zeroed or replaced, and strange ones added.

    The strange records: the sum of all others made huge, its opposite, a huge record of ones, one
    of NaN. At most `limit` of the own records are tried.
    """
    check.one_of(ADJACENCIES, adjacency=adjacency)
    check.positive(huge=huge)
    n = len(records)
    strange = list(_strange(records, huge))
    for i in range(min(n, limit)):
        if adjacency == "add-remove":
            rest = torch.arange(n) != i
            yield Pair(f"record {i} dropped", records, records[rest])
        elif adjacency == "zero-out":
            yield Pair(f"record {i} zeroed", records, _put(records, i, 0.0))
        else:
            yield Pair(f"record {i} by its opposite", records, _put(records, i, -records[i]))
            yield Pair(f"record {i} by the next", records, _put(records, i, records[(i + 1) % n]))
    for name, record in strange:
        if adjacency == "add-remove":
            yield Pair(f"{name} added", records, torch.cat([records, record.unsqueeze(0)]))
        elif n and adjacency == "zero-out":
            yield Pair(f"{name} zeroed", _put(records, 0, record), _put(records, 0, 0.0))
        elif n:
            for other, second in strange:
                if other != name:
                    first = _put(records, 0, record)
                    yield Pair(f"{name} by {other}", first, _put(records, 0, second))
            yield Pair(f"{name} for record 0", records, _put(records, 0, record))


def distance(
    f: Callable[[Any], Value], pair: Pair, *, stddevs: Any = None, order: int = 2
) -> float:
    """Norm of f(one) - f(other), each tensor divided by its noise if `stddevs` is given.

    Infinite where the outputs differ in shape, in names, or in what is not finite.

    Args:
        f: the program without noise: data set -> tensor or {name: tensor}.
        pair: what it is run on.
        stddevs: a number, a tensor that broadcasts, or {name: such}; 0 makes a change infinite.
        order: 1 or 2, which norm, over everything together.
    """
    one, other = _named(f(pair.one)), _named(f(pair.other))
    if one.keys() != other.keys():
        return math.inf
    parts = []
    for name, left in one.items():
        right = other[name]
        if left.shape != right.shape:
            return math.inf
        change = (left.double() - right.double()).abs()
        same = (left == right) | (torch.isnan(left) & torch.isnan(right))
        change = torch.where(same, 0.0, torch.where(torch.isnan(change), math.inf, change))
        if stddevs is not None:
            if isinstance(stddevs, Mapping) and name not in stddevs:
                raise ParameterError(
                    f"stddevs has no {name!r}, which leaves; it has {sorted(stddevs)}.\n  Give its "
                    "noise, or 0 for a public value."
                )
            scale = stddevs[name] if isinstance(stddevs, Mapping) else stddevs
            divisor = noise_scale(name or "what leaves", scale)
            change = torch.where(change > 0.0, change / divisor, 0.0)
        parts.append(change.flatten())
    return float(torch.linalg.vector_norm(torch.cat(parts), ord=order))


def sensitivity(
    f: Callable[[Any], Value],
    pairs: Iterable[Pair],
    *,
    declared: float,
    stddevs: Any = None,
    order: int = 2,
    what: str = "sensitivity",
) -> Finding:
    """Fires where a pair of neighbours moves f by more than is declared.

    With `stddevs` the distance is the mu of that pair, `declared` the mu of the account.

    >>> data = torch.tensor([[3.0], [0.5]])
    >>> pairs = list(neighbours(data, "add-remove"))
    >>> sensitivity(lambda x: x.clamp(-1, 1).sum(0), pairs, declared=1.0).fired
    True
    >>> sensitivity(lambda x: x.nan_to_num(0).clamp(-1, 1).sum(0), pairs, declared=1.0).fired
    False
    """
    check.non_negative(declared=declared)
    largest, where = _farthest(f, pairs, stddevs, order)
    fired = largest > declared * (1.0 + SLACK)
    ratio = largest / declared if declared else math.inf if largest else 0.0
    return Finding(
        probe="sensitivity",
        fired=fired,
        text=f"measured {what} {largest:.6g} ({where}) against declared {declared:.6g}: "
        f"ratio {ratio:.4g}" + ("" if largest else "; nothing differed: the probe proves nothing"),
        fix=BOUND_IT if fired else "",
        measured=largest,
        declared=declared,
    )


def quoted(
    f: Callable[[Any], Value], pairs: Iterable[Pair], *, stddevs: Any, epsilon: float, delta: float
) -> Finding:
    """Fires where a pair of neighbours already costs more epsilon than is quoted.

    Exact for independent Gaussian noise: everything that f gives moves by mu noises, and no
    mechanism that does so is (epsilon, delta)-DP for less (Dong, Roth & Su, arXiv:1905.02383).

    Args:
        f: the program without noise: data set -> {name: tensor}, all of its releases together.
        pairs: neighbours.
        stddevs: of the noise; a number, a tensor that broadcasts, or {name: such}.
        epsilon: quoted for all releases together.
        delta: at which it is quoted.
    """
    check.positive(epsilon=epsilon)
    check.open_probability(delta=delta)
    mu, where = _farthest(f, pairs, stddevs, 2)
    exact = gaussian.epsilon_interval(delta, mu=mu)[0] if mu < math.inf else math.inf
    fired = exact > epsilon * (1.0 + SLACK)
    return Finding(
        probe="sensitivity",
        fired=fired,
        text=f"{where} moves all releases by mu {mu:.6g}: epsilon {exact:.6g} at delta {delta:g}, "
        f"and {epsilon:.6g} is quoted",
        fix="account for all releases of one unit together, exactly" if fired else "",
        measured=exact,
        declared=epsilon,
    )


def _farthest(
    f: Callable[[Any], Value], pairs: Iterable[Pair], stddevs: Any, order: int
) -> tuple[float, str]:
    found = [(distance(f, pair, stddevs=stddevs, order=order), pair.name) for pair in pairs]
    if not found:
        raise ParameterError("no pair of neighbours was given; `neighbours` makes some")
    return max(found, key=lambda one: one[0])


def _named(value: Value) -> dict[str, Tensor]:
    return {"": value} if isinstance(value, Tensor) else named_tensors(value, "the program")


def _put(records: Tensor, i: int, value: Tensor | float) -> Tensor:
    changed = records.clone()
    changed[i] = value
    return changed


def _strange(records: Tensor, huge: float) -> Iterator[tuple[str, Tensor]]:
    shape = records.shape[1:]
    total = torch.nan_to_num(records).sum(dim=0) if len(records) else torch.zeros(shape)
    norm = torch.linalg.vector_norm(total.double())
    along = (total / norm if norm > 0 else torch.ones(shape)).to(records)
    yield "a huge record", huge * along
    yield "its opposite", -huge * along
    yield "a huge record of ones", huge * torch.ones(shape).to(records)
    yield "a record of NaN", torch.full(shape, math.nan).to(records)

"""The search for the worst neighbouring data sets, on a budget.

Every pair of neighbours is audited with a few outputs, the more telling half with twice as many,
and so on (successive halving, arXiv:1502.07943). The winner is fixed before the bound is computed,
and the bound rests on fresh outputs: nothing that was chosen by looking is tested on what was seen.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..accountant import check
from ..accountant.adjacency import Adjacency
from ..accountant.claim import PrivacyClaim, as_claim
from ..accountant.errors import DesignError
from .blackbox import audit_mechanism
from .record import AuditRecord
from .sampler import Sampler, seed_of

Mechanism = Callable[[Any, int, int], Any]
_FEWEST = 60  # outputs in each world in the first round


@dataclass(frozen=True)
class Pair:
    """Two neighbouring data sets; world 1 is the one named second.

    Attributes:
        name: how they differ, in words.
        without, with_it: the data sets.
    """

    name: str
    without: Any
    with_it: Any


@dataclass(frozen=True, kw_only=True)
class WorstPair:
    """What a search found.

    Attributes:
        pair: the winner.
        record: its audit, on fresh outputs.
        table: (name, outputs in each world, what its attack seemed to show) of every pair, in the
            order of elimination, the winner last; no bounds.
    """

    pair: Pair
    record: AuditRecord
    table: tuple[tuple[str, int, float], ...]


def search_neighbours(
    mechanism: Mechanism,
    pairs: Iterable[Pair],
    claim: PrivacyClaim | Mapping[str, Any],
    *,
    budget: int = 20_000,
    trials: int = 10_000,
    seed: int = 0,
    **options: Any,
) -> WorstPair:
    """The pair of neighbours that a mechanism separates best, and its audit.

    Args:
        mechanism: mechanism(data, n, seed) gives n independent outputs on a data set.
        pairs: candidates; `adversarial_pairs` makes some from an array.
        claim: what is to be refuted.
        budget: outputs that the search may draw, over all pairs and both worlds.
        trials: outputs in each world for the final audit.
        seed: of everything random, >= 0.
        options: further arguments of `audit_mechanism`.

    Raises:
        DesignError: no pair, or a budget that gives each pair fewer than 60 outputs a world.

    >>> def mean(data, n, seed):     # replacing by an outlier moves it most
    ...     return np.random.default_rng(seed).normal(data.mean(), 0.2, size=(n, 1))
    >>> data = np.zeros((10, 1))
    >>> pairs = adversarial_pairs(data, adjacency="replace-one", low=-1.0, high=5.0, count=6)
    >>> claim = {"mu": 1.0, "adjacency": "replace-one", "unit": "example"}
    >>> search_neighbours(mean, pairs, claim, budget=4000, trials=2000).record.verdict.word
    'REFUTED'
    """
    from ..attacks.black_box import learn
    from ..attacks.black_box.ranking import Goal, worth

    claim, left = as_claim(claim), list(pairs)
    check.count(budget=budget, trials=trials)
    if not left:
        raise DesignError("there is no pair of neighbours to search among")
    rounds = max(1, int(np.ceil(np.log2(len(left)))))
    table: list[tuple[str, int, float]] = []
    for turn in range(rounds):
        each = budget // rounds // (2 * len(left))
        if each < _FEWEST:
            raise DesignError(
                f"a budget of {budget} outputs gives each of {len(left)} pairs {each} in each "
                f"world, fewer than {_FEWEST}; raise budget or give fewer pairs"
            )
        seemed = []
        for number, pair in enumerate(left):
            sampler = Sampler(
                as_sample(mechanism, pair), seed=seed_of(seed, "search", turn, number)
            )
            drawn = [sampler.draw("search", world, each) for world in (1, 0)]
            rng = np.random.default_rng(seed_of(seed, "attack", turn, number))
            attack = learn(*(x[: each // 2] for x in drawn), rng=rng)
            scores = [attack.score(x[each // 2 :]) for x in drawn]
            seemed.append(worth(scores[0], scores[1], Goal(criterion="mu", delta=0.0)))
        order = np.argsort(seemed, kind="stable")
        keep = sorted(order[len(left) // 2 :]) if len(left) > 1 else [0]
        table += [(left[i].name, each, seemed[i]) for i in order if i not in keep]
        if turn == rounds - 1:
            last = int(order[-1])
            table += [(left[i].name, each, seemed[i]) for i in keep if i != last]
            table.append((left[last].name, each, seemed[last]))
            left = [left[last]]
        else:
            left = [left[i] for i in keep]
    record = audit_mechanism(
        as_sample(mechanism, left[0]),
        claim,
        trials=trials,
        seed=seed_of(seed, "final"),
        name=f"worst of {len(table)} pairs: {left[0].name}",
        **options,
    )
    return WorstPair(pair=left[0], record=record, table=tuple(table))


def as_sample(mechanism: Mechanism, pair: Pair) -> Callable[[int, int, int], Any]:
    """The sampler of one pair, for `audit_mechanism`."""

    def sample(world: int, n: int, seed: int) -> Any:
        return mechanism(pair.with_it if world else pair.without, n, seed)

    return sample


def adversarial_pairs(
    data: NDArray[Any],
    *,
    adjacency: Adjacency,
    low: float,
    high: float,
    count: int = 12,
    seed: int = 0,
) -> Iterator[Pair]:
    """Neighbours of an array that a mechanism is likely to tell apart.

    The record that changes is one of the farthest from the mean; what it becomes, or what is added,
    is a corner of the allowed box, away from the mean, along a coordinate, or random.

    Args:
        data: float[n, ...], one record a row.
        adjacency: "add-remove", "replace-one" or "zero-out".
        low: smallest value that an entry of a record may have.
        high: largest one.
        count: how many pairs, >= 1.
        seed: of the random corners, >= 0.

    Raises:
        ParameterError: a number outside its range.

    >>> pairs = list(adversarial_pairs(np.zeros((4, 2)), adjacency="zero-out", low=-1, high=1))
    >>> len(pairs), len(pairs[0].with_it) == len(pairs[0].without)
    (12, True)
    """
    check.one_of(("add-remove", "replace-one", "zero-out"), adjacency=adjacency)
    check.count(count=count)
    check.whole(seed=seed)
    records = np.asarray(data, dtype=np.float64)
    if records.ndim < 2 or not len(records) or not low < high:
        raise DesignError(
            "data must be float[n, ...] with a record a row, and low must be below high; given "
            f"shape {records.shape}, low {low}, high {high}"
        )
    generator = np.random.default_rng(seed)
    centre = records.mean(axis=0)
    far = np.argsort(-np.abs(records - centre).reshape(len(records), -1).sum(axis=1))
    for number in range(count):
        name, extreme = _extreme(number, centre, low, high, generator)
        which = int(far[number % min(3, len(far))])
        if adjacency == "add-remove":
            added = np.concatenate([records, extreme[None]])
            yield Pair(f"a record is added: {name}", records, added)
            continue
        changed, other = records.copy(), records.copy()
        changed[which] = extreme
        other[which] = 0.0 if adjacency == "zero-out" else low + high - extreme
        against = "zero" if adjacency == "zero-out" else "its mirror image"
        yield Pair(f"record {which} is {against} or {name}", other, changed)


def _extreme(
    number: int,
    centre: NDArray[np.float64],
    low: float,
    high: float,
    generator: np.random.Generator,
) -> tuple[str, NDArray[np.float64]]:
    shape = centre.shape
    if number == 0:
        return "all entries at the top", np.full(shape, high)
    if number == 1:
        return "all entries at the bottom", np.full(shape, low)
    if number == 2:
        away = np.where(centre > 0.5 * (low + high), low, high)
        return "the corner farthest from the mean", away.astype(np.float64)
    if number % 2:
        record = np.full(shape, min(max(0.0, low), high))
        place = (number // 2) % max(1, record.size)
        record.reshape(-1)[place] = high
        return f"entry {place} alone at the top", record
    return f"random corner {number}", generator.choice([low, high], size=shape)

"""`Partition`: which client holds which record of a pool; and the ways to draw one.

- `iid`: everybody holds a random share;
- `dirichlet`: each class is shared out in Dirichlet proportions (Yurochkin et al.,
  arXiv:1905.12022; Li et al., arXiv:2102.02079): unequal sizes and labels;
- `by_group`: a domain, an author or any other group is a client;
- `mixtures.dirichlet_mixture`: each client draws from its own mixture of classes;
- `pathological.shards`, `pathological.few_classes`: a few classes per client.
"""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...accountant import check
from ...accountant.errors import ConfigError
from .streams import Seed, stream

Indices = NDArray[np.int64]

_WORK = 10_000_000  # numbers that redrawing may cost in all: about a second
_CALLS = 1000  # numbers that cost as much as the calls for one class


@dataclass(frozen=True, kw_only=True, eq=False)
class Partition:
    """The records of each client.

    Attributes:
        records: int64[held], client after client.
        sizes: int64[clients].
        labels: int64[pool], the label of every record, held or not.
        recipe: how it was made, in words.
        names: one per client, where clients are groups; else empty.
        virtual: "virtual clients": records were drawn with replacement, so one may be held by
            many clients, or twice by one. Such a federation has no guarantee per example.
        sha256: of the records and sizes, hex; computed here.

    Raises:
        ConfigError: a record is outside the pool, or is held twice by clients that are not
            virtual.
    """

    records: Indices
    sizes: Indices
    labels: Indices
    recipe: str
    names: tuple[str, ...] = ()
    virtual: bool = False
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        held = self.records
        if int(self.sizes.sum()) != len(held) or (len(self.sizes) and self.sizes.min() < 0):
            raise ConfigError(f"sizes sum to {self.sizes.sum()}, but {len(held)} records are held")
        if len(held) and not 0 <= held.min() <= held.max() < len(self.labels):
            raise ConfigError(f"a client holds a record outside the pool of {len(self.labels)}")
        if not self.virtual and len(held) and np.bincount(held).max() > 1:
            raise ConfigError("a record is held twice; only virtual clients may share records")
        if self.names and len(self.names) != len(self.sizes):
            raise ConfigError(f"{len(self.names)} names for {len(self.sizes)} clients")
        digest = hashlib.sha256(json.dumps([len(self.labels), self.virtual]).encode())
        for numbers in (self.sizes, held):
            digest.update(numbers.astype("<i8").tobytes())
        object.__setattr__(self, "sha256", digest.hexdigest())

    def __len__(self) -> int:
        return len(self.sizes)

    @cached_property
    def owners(self) -> Indices:
        """int64[held]: the client of each entry of `records`."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.sizes)

    @property
    def parts(self) -> list[Indices]:
        """The records of each client."""
        return np.split(self.records, np.cumsum(self.sizes)[:-1]) if len(self) else []

    def histogram(self) -> Indices:
        """int64[clients, classes]: how many records of each label each client holds."""
        classes = int(self.labels.max()) + 1 if len(self.labels) else 0
        places = self.owners * classes + self.labels[self.records]
        return np.bincount(places, minlength=len(self) * classes).reshape(len(self), classes)

    def _classes_held(self) -> Indices:
        """int64[clients]; without the whole histogram, which may be large."""
        classes = int(self.labels.max()) + 1 if len(self.labels) else 1
        pairs = np.unique(self.owners * classes + self.labels[self.records])
        return np.bincount(pairs // classes, minlength=len(self))

    def summary(self) -> dict[str, Any]:
        """What a report says about it."""
        some = len(self) > 0
        return {
            "recipe": self.recipe,
            "clients": len(self),
            "virtual": self.virtual,
            "records_held": len(self.records),
            "records_unused": len(self.labels) - len(np.unique(self.records)),
            "smallest": int(self.sizes.min()) if some else 0,
            "median": float(np.median(self.sizes)) if some else 0.0,
            "largest": int(self.sizes.max()) if some else 0,
            "median_classes": float(np.median(self._classes_held())) if some else 0.0,
            "sha256": self.sha256,
        }


def iid(labels: Indices, clients: int, *, seed: Seed, min_size: int = 1) -> Partition:
    """Random shares of nearly equal size; all records are used.

    Args:
        labels: int64[pool].
        clients: >= 1.
        seed: >= 0, or a generator.
        min_size: fewest records of a client, >= 0.

    Raises:
        ConfigError: there are too few records.

    >>> iid(np.zeros(10, dtype=np.int64), 3, seed=0).sizes.tolist()
    [4, 3, 3]
    """
    check_request(labels, clients, min_size)
    order = stream("partition iid", seed).permutation(len(labels)).astype(np.int64)
    sizes = np.full(clients, len(labels) // clients, dtype=np.int64)
    sizes[: len(labels) % clients] += 1
    return Partition(records=order, sizes=sizes, labels=labels, recipe=f"IID, {said(seed)}")


def dirichlet(
    labels: Indices, clients: int, *, alpha: float, seed: Seed, min_size: int = 1
) -> Partition:
    """Each class is shared out in proportions drawn from Dirichlet(alpha, ..., alpha).

    Redrawn until nobody holds fewer than `min_size` records: the law is the one conditional on
    that. All records are used.

    Args:
        labels: int64[pool].
        clients: >= 1.
        alpha: > 0; the smaller, the more unequal.
        seed: >= 0, or a generator.
        min_size: fewest records of a client, >= 0.

    Raises:
        ConfigError: no draw that was tried gave everybody `min_size` records.
    """
    check_request(labels, clients, min_size)
    check.positive(alpha=alpha)
    rng = stream("partition dirichlet", seed)
    by_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    tries = max(1, _WORK // ((clients + _CALLS) * len(by_class) + len(labels)))
    best = 0
    for _ in range(tries):
        mixed, owners = [rows.copy() for rows in by_class], []
        for rows in mixed:
            rng.shuffle(rows)
            share = rng.dirichlet(np.full(clients, alpha))
            if not abs(share.sum() - 1.0) < 1e-6:
                raise ConfigError(f"alpha = {alpha} is too small to draw shares with; raise it")
            ends = np.minimum((np.cumsum(share) * len(rows)).astype(np.int64), len(rows))
            ends[-1] = len(rows)
            owners.append(np.repeat(np.arange(clients), np.diff(ends, prepend=0)))
        recipe = f"Dirichlet({alpha}) shares of each class, {said(seed)}"
        found = dealt(labels, mixed, owners, clients, recipe)
        smallest = int(found.sizes.min())
        if smallest >= min_size:
            return found
        best = max(best, smallest)
    raise ConfigError(
        f"{tries} draws of Dirichlet({alpha}) shares of {len(labels)} records for {clients} "
        f"clients gave the smallest client {best} records at most, but min_size is {min_size}. "
        "Raise alpha, ask for fewer clients or a lower min_size, or use dirichlet_mixture, whose "
        "clients are of equal size."
    )


def by_group(
    groups: NDArray[Any],
    labels: Indices,
    *,
    seed: Seed,
    clients_per_group: int = 1,
    min_size: int = 1,
    drop_small: bool = False,
) -> Partition:
    """Each group (a domain, an author, a hospital) is a client, or is shared out among several.

    Args:
        groups: int or str[pool], the group of each record.
        labels: int64[pool].
        seed: >= 0, or a generator; used if groups are shared out.
        clients_per_group: >= 1; each takes a random share of its group.
        min_size: fewest records of a client, >= 0.
        drop_small: leave out groups that are too small, instead of refusing them.

    Raises:
        ConfigError: `groups` does not fit, or a group is too small.

    >>> by_group(np.array(["b", "a", "b"]), np.array([0, 0, 1]), seed=0).names
    ('a', 'b')
    """
    if groups.dtype.kind not in "iuU" or groups.shape != labels.shape:
        raise ConfigError(
            f"groups must be whole numbers or text, one for each of {len(labels)} records, "
            f"but are {groups.dtype}{list(groups.shape)}"
        )
    check.count(clients_per_group=clients_per_group)
    check_request(labels, 1, min_size)
    names, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    large = counts >= max(min_size, 1) * clients_per_group
    if not large.all() and not drop_small:
        small = int(np.argmin(counts))
        raise ConfigError(
            f"group {str(names[small])!r} has {counts[small]} records, too few for "
            f"{clients_per_group} clients of at least {max(min_size, 1)}; lower min_size, or set "
            "drop_small to leave such groups out"
        )
    if not large.any():
        raise ConfigError(f"no group has {min_size} records for {clients_per_group} clients")
    mixed = stream("partition groups", seed).permutation(len(labels))
    mixed = mixed[large[inverse[mixed]]]
    order = mixed[np.argsort(inverse[mixed], kind="stable")]
    kept = counts[large]
    place = np.arange(len(order)) - np.repeat(np.cumsum(kept) - kept, kept)
    owner = np.repeat(np.arange(len(kept)) * clients_per_group, kept) + place % clients_per_group
    each = range(clients_per_group)
    titles = [
        str(name) if clients_per_group == 1 else f"{name}-{i}"
        for name in names[large]
        for i in each
    ]
    found = dealt(
        labels, [order], [owner], len(titles), f"one group per {clients_per_group} clients"
    )
    return Partition(
        records=found.records,
        sizes=found.sizes,
        labels=labels,
        recipe=found.recipe,
        names=tuple(titles),
    )


def dealt(
    labels: Indices,
    rows: list[NDArray[Any]],
    owners: list[NDArray[Any]],
    clients: int,
    recipe: str,
    *,
    virtual: bool = False,
) -> Partition:
    """The partition in which `owners` hold `rows`; each client keeps the order of its rows."""
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return Partition(
        records=np.concatenate(rows)[order].astype(np.int64),
        sizes=np.bincount(owner, minlength=clients).astype(np.int64),
        labels=labels,
        recipe=recipe,
        virtual=virtual,
    )


def check_request(labels: Indices, clients: int, min_size: int) -> None:
    """Raise `ConfigError` if so many clients cannot have so many records each."""
    check.count(clients=clients)
    check.whole(min_size=min_size)
    if labels.dtype != np.int64 or labels.ndim != 1 or (len(labels) and labels.min() < 0):
        raise ConfigError(
            f"labels must be int64[n], >= 0, but are {labels.dtype}{list(labels.shape)}"
        )
    if len(labels) == 0:
        raise ConfigError("the pool has no records")
    if clients * min_size > len(labels):
        raise ConfigError(
            f"{clients} clients with at least {min_size} records need {clients * min_size}, but "
            f"the pool has {len(labels)}. Ask for fewer clients, or draw virtual clients with "
            "dirichlet_mixture(..., with_replacement=True)."
        )


def said(seed: Seed) -> str:
    """The seed in words."""
    return f"seed {seed}" if isinstance(seed, int) else "a generator of the caller"

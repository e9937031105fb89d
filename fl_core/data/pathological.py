"""The "pathological" partitions: a few classes per client (McMahan et al., arXiv:1602.05629)."""

import numpy as np

from ...accountant import check
from ...accountant.errors import ConfigError
from .mixtures import draw_with_replacement
from .partition import Indices, Partition, check_request, dealt, said
from .streams import Seed, stream

_TRIES = 1000


def shards(
    labels: Indices, clients: int, *, per_client: int, seed: Seed, min_size: int = 1
) -> Partition:
    """Sort by label, cut into equal shards, deal `per_client` to each; all records are used.

    A client holds about `per_client` classes: fewer if two shards have the same label, more if a
    shard spans a border. `few_classes` gives the exact number.

    Args:
        labels: int64[pool].
        clients: >= 1.
        per_client: shards of each client, >= 1; 2 is the usual.
        seed: >= 0, or a generator.
        min_size: fewest records of a client, >= 0.

    Raises:
        ConfigError: there are too few records.
    """
    check_request(labels, clients, min_size)
    check.count(per_client=per_client)
    count = clients * per_client
    if count > len(labels):
        raise ConfigError(
            f"{clients} clients with {per_client} shards need at least {count} records, "
            f"but the pool has {len(labels)}"
        )
    rng = stream("partition shards", seed)
    mixed = rng.permutation(len(labels))
    order = mixed[np.argsort(labels[mixed], kind="stable")]
    shard = np.arange(len(labels)) * count // len(labels)
    owner = (rng.permutation(count) // per_client)[shard]
    found = dealt(labels, [order], [owner], clients, f"{per_client} shards each, {said(seed)}")
    return _large_enough(found, min_size)


def few_classes(
    labels: Indices,
    clients: int,
    *,
    classes_each: int,
    seed: Seed,
    min_size: int = 1,
    size: int | None = None,
    with_replacement: bool = False,
) -> Partition:
    """Exactly `classes_each` classes per client, chosen at random but evenly.

    The records of a class are shared out evenly among its holders; all records are used. With
    replacement, each client draws `size` records from its classes instead, as equally as can be.

    Args:
        labels: int64[pool].
        clients: >= 1.
        classes_each: >= 1, at most the number of classes that occur.
        seed: >= 0, or a generator.
        min_size: fewest records of a client, >= 0.
        size: records of each client, >= classes_each; with replacement only.
        with_replacement: make "virtual clients", see `Partition.virtual`.

    Raises:
        ConfigError: there are too few records or classes, or a class would have no holder.
    """
    check_request(labels, clients, 0 if with_replacement else min_size)
    check.count(classes_each=classes_each)
    if with_replacement != (size is not None):
        raise ConfigError("size goes with with_replacement = True, and only with it")
    present = np.unique(labels)
    if classes_each > len(present):
        raise ConfigError(
            f"classes_each is {classes_each}, but the pool has {len(present)} classes"
        )
    rng = stream("partition few classes", seed)
    kind = "records drawn with replacement" if with_replacement else "all records shared out"
    recipe = f"{classes_each} classes each, {kind}, {said(seed)}"
    if size is not None:
        check.count(size=size)
        if size < classes_each:
            raise ConfigError(f"size is {size}, but each client holds {classes_each} classes")
        counts = np.zeros((clients, len(present)), dtype=np.int64)
        portions = np.full(classes_each, size // classes_each, dtype=np.int64)
        portions[: size % classes_each] += 1
        chosen = _choices(rng, clients, len(present), classes_each)
        np.put_along_axis(counts, chosen, portions[None], axis=1)
        return draw_with_replacement(labels, counts, rng, recipe)
    if clients * classes_each < len(present):
        raise ConfigError(
            f"{clients} clients with {classes_each} classes leave some of {len(present)} classes "
            "without a holder; ask for more clients or more classes each"
        )
    for _ in range(_TRIES):
        chosen = _choices(rng, clients, len(present), classes_each)
        if len(np.unique(chosen)) == len(present):
            break
    else:
        raise ConfigError(
            f"{_TRIES} draws left a class without a holder; ask for more clients or classes each"
        )
    holder, which = np.repeat(np.arange(clients), classes_each), chosen.ravel()
    rows, owners = [], []
    for number, label in enumerate(present):
        mixed = rng.permutation(np.flatnonzero(labels == label))
        holders = rng.permutation(holder[which == number])
        if len(mixed) < len(holders):
            raise ConfigError(
                f"class {label} has {len(mixed)} records for {len(holders)} holders; ask for "
                "fewer clients or classes each, or draw virtual clients (with_replacement = True)"
            )
        rows.append(mixed)
        owners.append(holders[np.arange(len(mixed)) * len(holders) // len(mixed)])
    return _large_enough(dealt(labels, rows, owners, clients, recipe), min_size)


def _large_enough(found: Partition, min_size: int) -> Partition:
    if int(found.sizes.min()) < min_size:
        raise ConfigError(
            f"the smallest client holds {found.sizes.min()} records, but min_size is {min_size}; "
            "ask for fewer clients"
        )
    return found


def _choices(rng: np.random.Generator, clients: int, classes: int, each: int) -> Indices:
    """int64[clients, each]: distinct classes of each client, every class about equally often.

    Random orders of all classes, each cut into as many clients as it serves.
    """
    served = classes // each
    rounds = -(-clients // served)
    orders = rng.permuted(np.tile(np.arange(classes), (rounds, 1)), axis=1)
    return orders[:, : served * each].reshape(-1, each)[:clients].astype(np.int64)

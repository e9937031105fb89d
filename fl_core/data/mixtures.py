"""Clients that draw from their own mixture of classes (Hsu et al., arXiv:1909.06335)."""

import numpy as np
from numpy.typing import NDArray

from ...accountant import check
from ...accountant.errors import ConfigError
from .partition import Indices, Partition, check_request, dealt, said
from .streams import Seed, stream

_BLOCK = 4096  # clients drawn at once; part of the meaning of a seed


def dirichlet_mixture(
    labels: Indices,
    clients: int,
    *,
    alpha: float,
    size: int,
    seed: Seed,
    with_replacement: bool = False,
) -> Partition:
    """Each client draws `size` records from its own mixture q ~ Dirichlet(alpha p) of classes.

    p is the share of each class in the pool. Without replacement the clients draw in turn; a class
    that is used up leaves the mixtures of those who come later, as in the paper's code, so the
    last clients are less skewed.

    Args:
        labels: int64[pool].
        clients: >= 1.
        alpha: > 0, sum of the Dirichlet parameters; the smaller, the fewer classes per client.
        size: records of each client, >= 1.
        seed: >= 0, or a generator.
        with_replacement: make "virtual clients", see `Partition.virtual`.

    Raises:
        ConfigError: there are too few records, or alpha is too small to compute with.

    >>> labels = np.arange(1000, dtype=np.int64) % 10
    >>> few = dirichlet_mixture(labels, 5, alpha=0.5, size=30, seed=0)
    >>> few.sizes.tolist(), bool((few.histogram() == 0).any())
    ([30, 30, 30, 30, 30], True)
    """
    check.count(size=size)
    check.positive(alpha=alpha)
    check_request(labels, clients, 0 if with_replacement else size)
    rng = stream("partition mixture", seed)
    _, supply = np.unique(labels, return_counts=True)
    mixtures = rng.dirichlet(alpha * supply / supply.sum(), size=clients)
    if not np.abs(mixtures.sum(axis=1) - 1.0).max() < 1e-6:
        raise ConfigError(f"alpha = {alpha} is too small to draw mixtures with; raise it")
    mixtures /= mixtures.sum(axis=1, keepdims=True)
    kind = "with" if with_replacement else "without"
    recipe = f"{size} records each of Dirichlet({alpha} p) mixtures, {kind} replacement"
    recipe = f"{recipe}, {said(seed)}"
    if with_replacement:
        return draw_with_replacement(labels, rng.multinomial(size, mixtures), rng, recipe)
    counts = _within_supply(mixtures, size, supply, rng)
    rows, owners = [], []
    for number, label in enumerate(np.unique(labels)):
        mixed = rng.permutation(np.flatnonzero(labels == label))
        rows.append(mixed[: counts[:, number].sum()])
        owners.append(np.repeat(np.arange(clients), counts[:, number]))
    return dealt(labels, rows, owners, clients, recipe)


def draw_with_replacement(
    labels: Indices, counts: Indices, rng: np.random.Generator, recipe: str
) -> Partition:
    """Virtual clients with `counts`, int64[clients, classes that occur], records of each class."""
    rows, owners = [], []
    for number, label in enumerate(np.unique(labels)):
        of_class = np.flatnonzero(labels == label)
        wanted = counts[:, number]
        rows.append(of_class[rng.integers(len(of_class), size=wanted.sum())])
        owners.append(np.repeat(np.arange(len(counts)), wanted))
    return dealt(labels, rows, owners, len(counts), f"virtual clients: {recipe}", virtual=True)


def _within_supply(
    mixtures: NDArray[np.float64], size: int, supply: Indices, rng: np.random.Generator
) -> Indices:
    """int64[clients, classes]: what each client draws if they draw in turn, `supply` in all.

    Many clients are drawn at once; the first that would use up a class is finished by itself, and
    those after it are drawn again. Whether they are does not depend on their own draws.
    """
    left = supply.astype(np.int64)
    counts = np.zeros(mixtures.shape, dtype=np.int64)
    first = 0
    while first < len(mixtures):
        block = _open_only(mixtures[first : first + _BLOCK], left)
        wanted = rng.multinomial(size, block)
        short = (np.cumsum(wanted, axis=0) > left).any(axis=1)
        fitting = int(short.argmax()) if short.any() else len(block)
        counts[first : first + fitting] = wanted[:fitting]
        left -= wanted[:fitting].sum(axis=0)
        first += fitting
        if fitting < len(block):
            taken = np.minimum(wanted[fitting], left)
            while (missing := size - int(taken.sum())) > 0:
                again = rng.multinomial(missing, _open_only(mixtures[first], left - taken))
                taken += np.minimum(again, left - taken)
            counts[first] = taken
            left -= taken
            first += 1
    return counts


def _open_only(mixtures: NDArray[np.float64], left: Indices) -> NDArray[np.float64]:
    """The mixtures without the classes that are used up, renormalised."""
    weights = np.where(left > 0, mixtures, 0.0)
    total = weights.sum(axis=-1, keepdims=True)
    # A client of used-up classes alone takes from what is left.
    rest = left / left.sum()
    return np.where(total > 0, weights / np.where(total > 0, total, 1.0), rest)

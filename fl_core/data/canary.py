"""Canaries: records that an audit plants, appended to a pool and marked there.

A canary's client and membership are chosen like those of any candidate (`membership.py`). None is
equal to another record with the same label, so that a non-member is really absent.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...accountant import check
from ...accountant.errors import ConfigError
from .pool import Pool
from .streams import Seed, stream

_CELLS = (1, 2, 4, 7, 8)  # pixels a side of a cell of a board


def mislabelled(pool: Pool, count: int, *, seed: Seed) -> Pool:
    """The pool and `count` copies of random records of it, each with another class.

    Args:
        pool: with at least two classes.
        count: >= 1, at most the number of records that are no canaries.
        seed: >= 0, or a generator.

    Raises:
        ConfigError: there are too few records or classes.
    """
    check.count(count=count)
    rng = stream("canary mislabelled", seed)
    natural = np.flatnonzero(~pool.is_canary)
    if count > len(natural) or len(pool.classes) < 2:
        raise ConfigError(
            f"{count} mislabelled canaries need as many records and two classes, but "
            f"{pool.name!r} has {len(natural)} and {len(pool.classes)}"
        )
    rows = rng.choice(natural, count, replace=False)
    shift = rng.integers(1, len(pool.classes), count)
    labels = (pool.y[rows] + shift) % len(pool.classes)
    return append(pool, pool.x[rows], labels, pool.domain[rows], what=f"{count} mislabelled copies")


def blank(pool: Pool, count: int, *, seed: Seed) -> Pool:
    """The pool of pictures and `count` pictures of one colour each, with random labels.

    Raises:
        ConfigError: the pool does not hold pictures.
    """
    rng = stream("canary blank", seed)
    colours = _colours(pool, count, rng)
    pictures = np.broadcast_to(colours[:, None, None, :], (count, *pool.x.shape[1:]))
    return _made_up(pool, pictures, rng, f"{count} blank pictures")


def checkerboard(pool: Pool, count: int, *, seed: Seed) -> Pool:
    """The pool of pictures and `count` two-coloured boards, with random labels.

    Raises:
        ConfigError: the pool does not hold pictures.
    """
    rng = stream("canary checkerboard", seed)
    light, dark = _colours(pool, count, rng), _colours(pool, count, rng)
    cells = rng.choice(_CELLS, count)[:, None, None]
    height, width = pool.x.shape[1:3]
    rows, columns = np.arange(height)[:, None] // cells, np.arange(width) // cells
    odd = ((rows + columns) % 2 == 1)[..., None]
    pictures = np.where(odd, dark[:, None, None, :], light[:, None, None, :])
    return _made_up(pool, pictures, rng, f"{count} checkerboards")


def gradient(pool: Pool, count: int, *, seed: Seed, norm: float | None = None) -> Pool:
    """The pool of vectors and `count` canaries for a linear head, in the quietest directions.

    The gradient of a softmax head W x + b is (p - e_y) times (x, 1), so its weight part is
    orthogonal to that of every record whose x is orthogonal. The canaries are orthogonal to each
    other and lie along the directions in which the pool's second moment is smallest: training
    moves the weights there as little as it can for any other reason.

    Args:
        pool: of vectors.
        count: >= 1, at most the dimension.
        seed: >= 0, or a generator; draws labels, signs and domains.
        norm: length of each canary, > 0; None is that of the longest record, which reaches the
            clip norm if any record does.

    Raises:
        ConfigError: the pool holds pictures, is all zeros, or has too few dimensions.
    """
    check.count(count=count)
    if pool.pictures:
        raise ConfigError(
            f"gradient canaries are vectors, but {pool.name!r} holds pictures; encode it first"
        )
    if count > pool.x.shape[1]:
        raise ConfigError(
            f"{count} orthogonal canaries need as many dimensions, but {pool.name!r} has "
            f"{pool.x.shape[1]}"
        )
    rng = stream("canary gradient", seed)
    natural = pool.x[~pool.is_canary].astype(np.float64)
    length = np.linalg.norm(natural, axis=1).max(initial=0.0) if norm is None else norm
    check.positive(norm=float(length))
    _, directions = np.linalg.eigh(natural.T @ natural)  # smallest eigenvalues first
    signs = rng.choice((-1.0, 1.0), count)
    vectors = (directions[:, :count] * signs * length).T.astype(np.float32)
    return _made_up(pool, vectors, rng, f"{count} gradient canaries of norm {length:.4g}")


def append(
    pool: Pool, x: NDArray[Any], y: NDArray[np.int64], domain: NDArray[np.int64], *, what: str
) -> Pool:
    """The pool and these records, marked as canaries.

    Args:
        pool: what comes first; its record numbers stay.
        x: like `pool.x`.
        y: int64[n].
        domain: int64[n].
        what: what they are, for the provenance.

    Raises:
        ConfigError: one is equal to another record with the same label, or of another kind.
    """
    if x.dtype != pool.x.dtype or x.shape[1:] != pool.x.shape[1:]:
        raise ConfigError(
            f"canaries must be {pool.x.dtype}{list(pool.x.shape[1:])} like the records of "
            f"{pool.name!r}, but are {x.dtype}{list(x.shape[1:])}"
        )
    made = {_content(each, label) for each, label in zip(x, y, strict=True)}
    natural = (_content(each, label) for each, label in zip(pool.x, pool.y, strict=True))
    if len(made) < len(x) or any(content in made for content in natural):
        raise ConfigError(
            f"a canary ({what}) is equal to another record with the same label, so a non-member "
            "would not be absent. Use another seed, or fewer canaries"
        )
    return replace(
        pool,
        x=np.concatenate([pool.x, x]),
        y=np.concatenate([pool.y, y]),
        domain=np.concatenate([pool.domain, domain]),
        is_canary=np.concatenate([pool.is_canary, np.ones(len(x), dtype=bool)]),
        provenance=f"{pool.provenance}; and {what}",
    )


def _content(record: NDArray[Any], label: np.int64) -> tuple[bytes, int]:
    return np.ascontiguousarray(record).tobytes(), int(label)


def _made_up(pool: Pool, x: NDArray[Any], rng: np.random.Generator, what: str) -> Pool:
    labels = rng.integers(len(pool.classes), size=len(x))
    domain = rng.integers(len(pool.domains), size=len(x))
    return append(pool, x, labels, domain, what=what)


def _colours(pool: Pool, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """uint8[count, 3], all different."""
    check.count(count=count)
    if not pool.pictures:
        raise ConfigError(f"this canary is a picture, but {pool.name!r} holds vectors")
    numbers = rng.choice(2**24, count, replace=False)
    return np.stack([numbers >> 16, numbers >> 8 & 255, numbers & 255], axis=1).astype(np.uint8)

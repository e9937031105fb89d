"""Disjoint parts of an `ImageSet`: train and test, and clients."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...accountant import check
from ...accountant.errors import ConfigError
from .digits import load_domain
from .images import ImageSet

OPTDIGITS_RAREST = 174
"""Pictures of digit 8, the rarest of scikit-learn's digits."""


class TrainTest(NamedTuple):
    """Two parts that share no row."""

    train: ImageSet
    test: ImageSet


def train_test(
    image_set: ImageSet, *, train_per_class: int, test_per_class: int, seed: int
) -> TrainTest:
    """Disjoint train and test parts with equal numbers of each class that occurs.

    Args:
        image_set: the rows to choose from.
        train_per_class: >= 1.
        test_per_class: >= 0; 0 gives an empty test part.
        seed: >= 0.

    Raises:
        ConfigError: a class has too few pictures; the message gives the numbers.

    >>> from .digits import load_domain
    >>> parts = train_test(load_domain("synth", per_class=3, seed=0), train_per_class=2,
    ...                    test_per_class=1, seed=0)
    >>> len(parts.train), len(parts.test)
    (20, 10)
    """
    check.count(train_per_class=train_per_class)
    check.non_negative(test_per_class=test_per_class, seed=seed)
    rng = np.random.default_rng(seed)
    needed = train_per_class + test_per_class
    train, test = [], []
    for label, rows in _by_class(image_set):
        if len(rows) < needed:
            raise ConfigError(
                f"class {image_set.classes[label]!r} of {image_set.name!r} has {len(rows)} "
                f"pictures, but {train_per_class} to train and {test_per_class} to test need "
                f"{needed}. Ask for fewer."
            )
        mixed = rng.permutation(rows)
        train.append(mixed[:train_per_class])
        test.append(mixed[train_per_class:needed])
    if not train:
        raise ConfigError(f"{image_set.name!r} has no pictures to split")
    return TrainTest(image_set.take(np.concatenate(train)), image_set.take(np.concatenate(test)))


def optdigits_clients(count: int, *, per_class: int | None = None, seed: int) -> list[ImageSet]:
    """Scikit-learn's digits dealt out to `count` clients, `per_class` of each class to each.

    Needs no asset. Clients share no row; `train_test` splits each further.

    Args:
        count: number of clients, >= 1; client i is named "optdigits-i".
        per_class: digits of each class for each client, >= 1; None is as many as there are.
        seed: >= 0.

    Raises:
        ConfigError: there are too few digits; the message gives the numbers.

    >>> clients = optdigits_clients(3, per_class=5, seed=0)
    >>> [(client.name, len(client)) for client in clients]
    [('optdigits-0', 50), ('optdigits-1', 50), ('optdigits-2', 50)]
    """
    check.count(count=count)
    each = max(1, OPTDIGITS_RAREST // count) if per_class is None else per_class
    check.count(per_class=each)
    if count * each > OPTDIGITS_RAREST:
        raise ConfigError(
            f"{count} clients with {each} digits of each class need {count * each} of each, but "
            f"optdigits has {OPTDIGITS_RAREST} of its rarest. "
            "Ask for fewer clients or fewer digits."
        )
    # load_domain gives each class in random order, so a client may take a run of it.
    everything = load_domain("optdigits", per_class=each * count, seed=seed)
    by_class = [rows for _, rows in _by_class(everything)]
    return [
        everything.take(
            np.concatenate([rows[client * each : (client + 1) * each] for rows in by_class]),
            name=f"optdigits-{client}",
        )
        for client in range(count)
    ]


def _by_class(image_set: ImageSet) -> list[tuple[int, NDArray[np.int64]]]:
    labels = image_set.labels
    return [(int(label), np.flatnonzero(labels == label)) for label in np.unique(labels)]

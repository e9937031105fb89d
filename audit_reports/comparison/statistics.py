"""Means over seeds with Student t intervals, and differences taken seed by seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import stdtrit

from ...accountant.bounds import Interval
from ...fl_core.comparison import (
    BASELINE,
    DISTILLED,
    FEDAVG,
    LOCAL_ONLY,
    NEAREST,
    RANDOM_GROUPS,
    RANDOM_ONCE,
    RANDOM_PROTOTYPES,
)

CONFIDENCE = 0.95  # of each interval by itself


@dataclass(frozen=True)
class Mean:
    """A mean over seeds, and its 95 % Student t interval."""

    value: float
    lower: float
    upper: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.lower > 0.0 or self.upper < 0.0


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Accuracy of one variant less that of another, seed by seed, mean over clients.

    Attributes:
        method, name, asked: the variant; against: what is taken off, of the same method and
            epsilon where that has one.
        difference: mean over seeds.
    """

    method: str
    name: str
    asked: float | None
    against: str
    difference: Mean


class Measured(Protocol):
    """What a contrast needs of a row."""

    @property
    def method(self) -> str: ...  # noqa: D102

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def asked(self) -> float | None: ...  # noqa: D102

    @property
    def proven(self) -> Interval: ...  # noqa: D102

    @property
    def accuracy(self) -> tuple[tuple[float, ...], ...]: ...  # noqa: D102


def mean(values: Sequence[float]) -> Mean:
    """Mean and 95 % Student t interval of at least two values.

    >>> found = mean([0.25, 0.5, 0.75])
    >>> found.value, round(found.lower, 6), round(found.upper, 6)
    (0.5, -0.121034, 1.121034)
    """
    given, count = np.asarray(values, dtype=np.float64), len(values)
    quantile = float(stdtrit(count - 1, (1.0 + CONFIDENCE) / 2.0))
    value, half = float(given.mean()), quantile * float(given.std(ddof=1)) / math.sqrt(count)
    return Mean(value, value - half, value + half)


def by_seed(accuracy: Sequence[Sequence[float]]) -> list[float]:
    """Of each seed, the mean over clients."""
    return [math.fsum(row) / len(row) for row in accuracy]


def at_budget(row: Measured) -> bool:
    """Whether the proven epsilon is no more than the one that was asked for."""
    return row.asked is not None and row.proven.upper <= row.asked


def contrasts(rows: Sequence[Measured], *, distillation: bool) -> tuple[Contrast, ...]:
    """Every difference that a reader asks for; a mechanism over its budget has none to IGPP.

    Args:
        rows: of a comparison.
        distillation: whether the methods were run with DCR, and so is what they are compared with.
    """
    known = {(r.method, r.name, r.asked): by_seed(r.accuracy) for r in rows}
    alone = (LOCAL_ONLY, DISTILLED if distillation else LOCAL_ONLY, None)
    found = []
    for row in rows:
        key = (row.method, row.name, row.asked)
        against: list[tuple[str, tuple[str, str, float | None]]] = []
        if key == (LOCAL_ONLY, DISTILLED, None):
            against.append((LOCAL_ONLY, (LOCAL_ONLY, LOCAL_ONLY, None)))
        if row.method == FEDAVG:
            against.append((LOCAL_ONLY, (LOCAL_ONLY, LOCAL_ONLY, None)))
        elif row.method not in (LOCAL_ONLY, NEAREST):
            against.append((alone[1], alone))
        if row.method not in (LOCAL_ONLY, FEDAVG) and row.name != RANDOM_PROTOTYPES:
            against.append((RANDOM_PROTOTYPES, (row.method, RANDOM_PROTOTYPES, None)))
            if row.name != RANDOM_ONCE:
                against.append((RANDOM_ONCE, (row.method, RANDOM_ONCE, None)))
        if row.name not in (BASELINE, RANDOM_GROUPS) and at_budget(row):
            against.append((BASELINE, (row.method, BASELINE, row.asked)))
        if row.name == RANDOM_GROUPS:
            against.append(("vpp", (row.method, "vpp", row.asked)))
        for name, other in against:
            pairs = zip(known[key], known[other], strict=True)
            difference = mean([a - b for a, b in pairs])
            found.append(
                Contrast(
                    method=row.method,
                    name=row.name,
                    asked=row.asked,
                    against=name,
                    difference=difference,
                )
            )
    return tuple(found)

"""The pair of a sampled release without noise: who was drawn is disclosed."""

import math
from dataclasses import dataclass

import numpy as np

from .. import check
from ..mills import UNIT
from .atom_table import AtomPair, AtomTable, build


@dataclass(frozen=True)
class Disclosed(AtomPair):
    """Seen with probability d = 1 - (1 - rate)^group_size, else nothing is released.

    Under replace-one both data sets disclose their own record; else one discloses nothing.
    1 - rate would lose d where the rate is tiny; expm1 and log1p keep all its digits.

    Attributes:
        rate: in (0, 1), that a record is drawn.
        group_size: how many records change together, >= 1.
        replace: whether both data sets hold the record.

    >>> Disclosed(1e-17).infinite  # doctest: +ELLIPSIS
    1.00000000000000...e-17
    """

    rate: float
    group_size: int = 1
    replace: bool = False

    def __post_init__(self) -> None:
        check.open_probability(rate=self.rate)
        check.count(group_size=self.group_size)

    @property
    def table(self) -> AtomTable:  # noqa: D102
        log = self.group_size * math.log1p(-self.rate)  # of the mass that both laws share
        seen = min(1.0, -math.expm1(log) * (1.0 + 8.0 * UNIT))
        missed = math.exp(log)
        if missed == 0.0:  # below the range of doubles
            none = np.zeros(0)
            return build(none, none, none, infinite=1.0, missing=1.0 if self.replace else 0.0)
        return build(
            np.array([0.0 if self.replace else log]),
            np.array([missed]),
            np.array([missed if self.replace else 1.0]),
            infinite=seen,
            missing=seen if self.replace else 0.0,
            loss_error=0.0 if self.replace else 4.0 * UNIT * abs(log),
            # exp magnifies the error of its argument
            relative=UNIT * (2.0 + 4.0 * abs(log)),
        )

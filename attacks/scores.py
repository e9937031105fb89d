"""`Scores`: what an attack gives to an estimator, together with the design of the experiment."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..accountant import check
from ..accountant.adjacency import ADJACENCIES, UNITS, Adjacency, Unit
from ..accountant.errors import DesignError

Design = Literal["many_runs", "one_run", "per_round", "sequential"]
DESIGNS: tuple[str, ...] = get_args(Design)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of trials with the record (`values_in`) and without it (`values_out`).

    Larger means more likely a member. The design says what the trials are:

    - ``many_runs``: each trial is its own run of the mechanism; trials are independent;
    - ``one_run``: one training, many canaries; the scores depend on each other;
    - ``per_round``: a fresh canary each round of one run;
    - ``sequential``: as many_runs, but looked at after every trial.

    Attributes:
        values_in: float[n_in], the n_in trials with the record.
        values_out: float[n_out], the n_out trials without it.
        design: see above.
        adversary: who made the scores.
        attack: by which attack.
        adjacency: how the two worlds differ.
        unit: whose data differs.
        tuned_on: what the attack was tuned on; "nothing" or the name of other data.
        seed: root seed of the trials.
        order: int[n_in + n_out], when each trial was made, the in-trials first; distinct numbers
            of any origin. None where it is not known or means nothing.

    Raises:
        DesignError: empty, NaN or infinite scores, an unknown design, or an order that is none.
    """

    values_in: NDArray[np.float64]
    values_out: NDArray[np.float64]
    design: Design
    adversary: str
    attack: str
    adjacency: Adjacency
    unit: Unit = "example"
    tuned_on: str = "nothing"
    seed: int | None = None
    order: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.design not in DESIGNS:
            raise DesignError(f"design must be {check.suggest(self.design, DESIGNS)}")
        check.one_of(ADJACENCIES, adjacency=self.adjacency)
        check.one_of(UNITS, unit=self.unit)
        for name in ("values_in", "values_out"):
            values = np.ascontiguousarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, values)
            if values.ndim != 1 or values.size == 0:
                raise DesignError(f"{name} must be float[n] with n >= 1, but has {values.shape}")
            bad = int(np.count_nonzero(~np.isfinite(values)))
            if bad:
                raise DesignError(
                    f"{bad} of the {values.size} {name} are NaN or infinite.\n"
                    "  A score that is dropped silently biases the bound: mend the attack, or map "
                    "such outcomes to a fixed finite score before estimating."
                )
        if self.tuned_on == "these scores":
            raise DesignError(
                "the attack was tuned on the scores that are to give the bound; tune it on others"
            )
        if self.order is not None:
            order = np.asarray(self.order)
            total = self.values_in.size + self.values_out.size
            if (
                order.shape != (total,)
                or not np.issubdtype(order.dtype, np.integer)
                or np.unique(order).size != total
            ):
                raise DesignError(
                    f"order must be {total} distinct whole numbers, one for each in-score and then "
                    f"one for each out-score, but is {self.order!r}"
                )
            object.__setattr__(self, "order", order.astype(np.int64))

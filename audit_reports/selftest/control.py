"""Controls of one attack: it must succeed where nothing protects, and be at chance on noise."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...accountant.errors import DesignError
from ..estimators.tradeoff import TradeOff


@dataclass(frozen=True, kw_only=True, eq=False)
class Separated:
    """Scores of trials with and without the record in question.

    Attributes:
        values_in: float64[n_in], with it. values_out: float64[n_out], without it.
        independent: every trial is a run of its own. Otherwise one run has many candidates, of
            which a fair coin (or a fixed number at random) decided who is a member.
        mu: of a correct release whose trade-off curve is proven to be mu-GDP; None if there is no
            such bound. No attack may be above it.
        curve: the proven trade-off curve where it is another one, instead of mu.

    Raises:
        DesignError: scores are no float[n] with n >= 1, or one is NaN or infinite.
    """

    values_in: NDArray[np.float64]
    values_out: NDArray[np.float64]
    independent: bool
    mu: float | None = None
    curve: TradeOff | None = None

    def __post_init__(self) -> None:
        for name in ("values_in", "values_out"):
            values = np.asarray(getattr(self, name))
            if values.ndim != 1 or values.size == 0 or not np.all(np.isfinite(values)):
                raise DesignError(
                    f"{name} must be finite float[n] with n >= 1; a control whose scores are not "
                    "says nothing"
                )
        if self.mu is not None and self.curve is not None:
            raise DesignError("give mu or curve, not both")


@dataclass(frozen=True, kw_only=True)
class Found:
    """Attempts that either hit or not: identification, exact recovery, theft of a stated share.

    Attributes:
        hits: successful attempts of `trials` independent ones.
        chance: success probability of the best guess that has seen nothing.
        mu: as in `Separated`.

    Raises:
        DesignError: the numbers contradict each other.
    """

    hits: int
    trials: int
    chance: float
    mu: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.trials or self.trials < 1 or not 0.0 <= self.chance < 1.0:
            raise DesignError(f"hits, trials and chance contradict each other: {self}")


Outcome = Separated | Found


@dataclass(frozen=True, kw_only=True)
class Control:
    """One attack in one setting.

    Attributes:
        attack: its name in `attacks/catalog.py`.
        adversary: who runs it.
        setting: data and system, in one line.
        positive: seed -> outcome where nothing protects; it must succeed.
        noise: seed -> outcome where what is seen holds no data; it must be at chance.
        bounded: seed -> outcome of a correct private run with `mu`; it must not be above it. None
            where no such bound exists (shares, functional theft).
        at_least: what the positive control must reach: AUC for `Separated`, share of hits for
            `Found`. From a measurement, with room for the seed.
        reaches: share of mu (of the curve's advantage, of the largest share of hits) that the
            bounded run's attack must reach; 0 if it is not optimal.
        assets: names for `privassay assets fetch` that it needs.
    """

    attack: str
    adversary: str
    setting: str
    positive: Callable[[int], Outcome]
    noise: Callable[[int], Outcome]
    bounded: Callable[[int], Outcome] | None = None
    at_least: float = 0.9
    reaches: float = 0.0
    assets: tuple[str, ...] = ()

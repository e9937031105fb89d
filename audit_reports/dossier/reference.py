"""`RefTable`: reference numbers of a system, computed when asked, and the few functions behind."""

import math
from dataclasses import dataclass

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from ...accountant.account import account
from ...accountant.calibrate import calibrate_gaussian
from ...accountant.events import GroupwiseGaussianDpEvent
from ...accountant.gaussian import advantage_interval, epsilon_interval, mu_interval, tpr_interval
from ...accountant.mills import normal_cdf

DELTA = 1e-5


@dataclass(frozen=True, kw_only=True)
class RefTable:
    """Numbers that a reader can check.

    Attributes:
        key: short name, unique within a dossier.
        caption: what they are.
        header: of the columns; the first one names the rows.
        rows: text or numbers, one entry a column.
        reading: what follows from it, one sentence.
    """

    key: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]
    reading: str = ""


def epsilon(mu: float, delta: float = DELTA) -> float:
    """Exact epsilon of mu-GDP, rounded up.

    >>> round(epsilon(0.11788, 1e-5), 4)
    0.4075
    """
    return epsilon_interval(delta, mu=mu)[1]


def mu_of(target: float, delta: float = DELTA) -> float:
    """Largest mu within (target, delta), rounded down."""
    return mu_interval(target, delta)[0]


def sigma_exact(target: float, releases: int = 1, *, replace: bool = False) -> float:
    """Noise multiplier of `releases` Gaussian releases within (target, 1e-5), rounded up."""
    return calibrate_gaussian(
        mu=mu_of(target),
        rounds=releases,
        adjacency="replace-one" if replace else "zero-out",
    )


def groups_mu(
    stddevs: tuple[float, ...], norms: tuple[float, ...], joint: float | None = None
) -> float:
    """Mu of groupwise noise on a clipped contribution (add-remove), by the accountant."""
    event = GroupwiseGaussianDpEvent(stddevs, norms, joint)
    return account(event, adjacency="add-remove").mu.upper


def composed_mu(noise_multiplier: float, releases: int) -> float:
    """Mu of so many Gaussian releases of the same records, by the accountant."""
    event = dpe.SelfComposedDpEvent(dpe.GaussianDpEvent(noise_multiplier), releases)
    return account(event, adjacency="zero-out").mu.upper


def ceilings(mu: float) -> tuple[float, float, float]:
    """Largest advantage, AUC, and TPR at FPR 0.01 of any attack on a mu-GDP release.

    >>> [round(value, 3) for value in ceilings(0.26805)]
    [0.107, 0.575, 0.02]
    """
    return (
        advantage_interval(mu=mu)[1],
        normal_cdf(mu / math.sqrt(2.0)),
        tpr_interval(0.01, mu=mu)[1],
    )

"""`RefTable`: reference numbers of a system, computed when asked, and the few functions behind."""

import math
from dataclasses import dataclass

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from ...accountant.account import account
from ...accountant.adjacency import Adjacency
from ...accountant.calibrate import calibrate_gaussian
from ...accountant.events import GroupwiseGaussianDpEvent
from ...accountant.gaussian import advantage_interval, epsilon_interval, mu_interval, tpr_interval
from ...accountant.mills import normal_cdf
from ..estimators.clopper_pearson import risk, upper_limit

Cell = str | float


@dataclass(frozen=True, kw_only=True)
class RefTable:
    """Numbers that a reader can check, printed to six digits, rounded to nearest.

    Attributes:
        key: short name, unique within a dossier.
        caption: what they are, with the parameters that they were computed for.
        header: of the columns, with units; the first one names the rows.
        rows: text or numbers, one entry a column.
        reading: what follows from it, computed from the rows.
        quoted: where the numbers are taken from, if they are somebody else's; empty if computed.
    """

    key: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    reading: str = ""
    quoted: str = ""


def epsilon(mu: float, delta: float) -> float:
    """Exact epsilon of mu-GDP, rounded up.

    >>> round(epsilon(0.11788, 1e-5), 4)
    0.4075
    """
    return epsilon_interval(delta, mu=mu)[1]


def mu_of(target: float, delta: float) -> float:
    """Largest mu within (target, delta), rounded down."""
    return mu_interval(target, delta)[0]


def sigma_exact(
    target: float, releases: int = 1, *, delta: float, adjacency: Adjacency = "zero-out"
) -> float:
    """Noise multiplier of `releases` Gaussian releases within (target, delta), rounded up."""
    return calibrate_gaussian(mu=mu_of(target, delta), rounds=releases, adjacency=adjacency)


def event_mu(event: dpe.DpEvent, adjacency: Adjacency) -> float:
    """Mu of an event, rounded up; infinite where nothing is proven."""
    return account(event, adjacency=adjacency).mu.upper


def groups_mu(
    stddevs: tuple[float, ...], norms: tuple[float, ...], joint: float | None = None
) -> float:
    """Mu of groupwise noise on a clipped contribution (add-remove), by the accountant."""
    return event_mu(GroupwiseGaussianDpEvent(stddevs, norms, joint), "add-remove")


def composed_mu(noise_multiplier: float, releases: int) -> float:
    """Mu of so many Gaussian releases of the same records, by the accountant."""
    one = dpe.GaussianDpEvent(noise_multiplier)
    return event_mu(dpe.SelfComposedDpEvent(one, releases), "zero-out")


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


def errorless_rate(runs: int, confidence: float = 0.95) -> float:
    """Upper limit of an error rate after no error in `runs` runs, half of the risk spent."""
    return float(upper_limit(0, runs, risk(confidence) / 2.0))


def errorless_epsilon(runs: int, delta: float) -> float:
    """Largest epsilon that `runs` runs in each world refute at 95 % if no guess is wrong.

    >>> round(errorless_epsilon(500, 1e-5), 2)
    4.91
    """
    rate = errorless_rate(runs)
    return math.log((1.0 - rate - delta) / rate)


def percent(*shares: float) -> str:
    """Whole percents, to nearest; of several numbers the range.

    >>> percent(0.384), percent(0.1, 0.384, 0.2), percent(0.221, 0.224)
    ('38 %', '10 to 38 %', '22 %')
    """
    low, high = f"{100.0 * min(shares):.0f}", f"{100.0 * max(shares):.0f}"
    return f"{high} %" if low == high else f"{low} to {high} %"

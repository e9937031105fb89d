"""What other accountants say: comparisons, never bounds. Libraries are imported when asked.

Gaussians: each adapter is asked about one release with noise multiplier 1/mu, which is equivalent
to anything that is exactly mu-GDP. Other events go to `peers_raw`, as a user would ask them.
"""

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from . import check
from .bounds import CurveBound, Interval, ProvenBound
from .errors import ParameterError

# Below this the peers work at the rounding level of their probability tables.
FLOOR = 1e-12
_LOOSE = 0.05

# Above this PLD drops the factor e^-loss, which underflows, and answers too much (at mu = 50,
# delta = 1e-5: 1463.2 where 1462.285 is exact).
PLD_CEILING = 700.0

# What prv-accountant raises where its grid does not fit the question.
_PRV_ERRORS = (ValueError, RuntimeError, AssertionError)


@dataclass(frozen=True)
class PeerResult:
    """One peer's answer.

    Attributes:
        peer: library and method.
        epsilon_lower: 0 where the peer gives none.
        epsilon_upper: infinite where the peer was not asked or gave up.
        note: "agrees", "contradicts our interval", "loose by x %", or why there is no answer.
        seconds: wall time.
    """

    peer: str
    epsilon_lower: float
    epsilon_upper: float
    note: str
    seconds: float


def rdp_epsilon(mu: float, delta: float) -> tuple[float, float]:
    """(0, upper) by Renyi orders, dp-accounting; loose by nature.

    >>> rdp_epsilon(1.0, 1e-5)[1] > 4.377
    True
    """
    check.positive(mu=mu)
    check.open_probability(delta=delta)
    import dp_accounting.dp_event as dpe
    from dp_accounting.rdp.rdp_privacy_accountant import RdpAccountant

    accountant = RdpAccountant()
    accountant.compose(dpe.GaussianDpEvent(1.0 / mu))
    return 0.0, float(accountant.get_epsilon(delta))


def pld_epsilon(mu: float, delta: float) -> tuple[float, float]:
    """(lower, upper) by the privacy loss distribution, dp-accounting.

    The grid is mu/1000: the loss has standard deviation mu. The lower value is its optimistic one.

    >>> lower, upper = pld_epsilon(1.0, 1e-5)
    >>> 4.376 < lower < upper < 4.378
    True
    """
    check.positive(mu=mu)
    check.open_probability(delta=delta)
    from dp_accounting.pld import privacy_loss_distribution as pld

    def ask(pessimistic: bool) -> float:
        # the optimistic variant exists only with the older rounding ("privacy buckets")
        table = pld.from_gaussian_mechanism(
            1.0 / mu,
            pessimistic_estimate=pessimistic,
            value_discretization_interval=mu / 1000.0,
            use_connect_dots=pessimistic,
        )
        return float(table.get_epsilon_for_delta(delta))

    return max(0.0, ask(False)), ask(True)


def prv_epsilon(mu: float, delta: float) -> tuple[float, float]:
    """(lower, upper) by privacy random variables, prv-accountant.

    Errors asked for: mu/100, but at least 1e-4, in epsilon, and delta/1000 in delta. Its grid
    always reaches beyond 3, so a finer one would not fit into memory.

    Raises:
        ValueError, RuntimeError, AssertionError: as the library does where its grid does not fit.

    >>> lower, upper = prv_epsilon(1.0, 1e-5)
    >>> 4.36 < lower < 4.3772 < upper < 4.39
    True
    """
    check.positive(mu=mu)
    check.open_probability(delta=delta)
    from prv_accountant import PRVAccountant
    from prv_accountant.privacy_random_variables import GaussianMechanism

    with warnings.catch_warnings():
        # log(0) and 0 * inf at the far ends of its own grid, where the mass is 0
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="prv_accountant")
        accountant = PRVAccountant(
            prvs=[GaussianMechanism(1.0 / mu)],
            eps_error=max(mu / 100.0, 1e-4),
            delta_error=delta / 1000.0,
            max_self_compositions=[1],
        )
        lower, _, upper = accountant.compute_epsilon(delta, [1])
    return max(0.0, float(lower)), max(0.0, float(upper))


_PEERS: dict[str, tuple[Callable[[float, float], tuple[float, float]], tuple[type[Exception], ...]]]
_PEERS = {
    "dp-accounting RDP": (rdp_epsilon, ()),
    "dp-accounting PLD": (pld_epsilon, ()),
    "prv-accountant": (prv_epsilon, _PRV_ERRORS),
}


def cross_check(
    bound: ProvenBound, delta: float, event: dpe.DpEvent | None = None
) -> list[PeerResult]:
    """Ask every peer for epsilon at `delta` and compare.

    A peer contradicts if its upper value is below our lower one, or its lower above our upper; it
    is called loose from 5 % on. Nothing is asked where mu is 0 or infinite, or delta below the
    peers' floor of 1e-12; PLD not above epsilon = 700 either, where it is wrong.

    Args:
        bound: ours.
        delta: in (0, 1).
        event: what `bound` is of; needed for anything but Gaussians.

    Raises:
        ParameterError: delta outside (0, 1), or the event is missing.
    """
    if isinstance(bound, CurveBound):
        from .peers_raw import ask_all

        if event is None:
            raise ParameterError("the event is needed to ask peers about anything but Gaussians")
        check.open_probability(delta=delta)
        return ask_all(bound, delta, event)
    check.open_probability(delta=delta)
    ours = bound.epsilon(delta)
    reason = None
    if delta < FLOOR:
        reason = f"not asked: below its floor (delta >= {FLOOR:g})"
    elif not 0.0 < bound.mu.upper < math.inf:
        reason = f"not asked: mu = {bound.mu.upper:g}"
    results = []
    for peer, (ask, errors) in _PEERS.items():
        no_answer = reason
        if no_answer is None and ask is pld_epsilon and ours.upper > PLD_CEILING:
            no_answer = f"not asked: above its range (epsilon <= {PLD_CEILING:g})"
        if no_answer is not None:
            results.append(PeerResult(peer, 0.0, math.inf, no_answer, 0.0))
            continue
        start = time.perf_counter()
        try:
            lower, upper = ask(bound.mu.upper, delta)
        except errors as error:
            lower, upper = 0.0, math.inf
            note = f"gave no answer: {type(error).__name__}: {error}"
        else:
            note = compare(ours, lower, upper)
        results.append(PeerResult(peer, lower, upper, note, time.perf_counter() - start))
    return results


def compare(ours: Interval, lower: float, upper: float) -> str:
    """The note for a peer's interval.

    >>> compare(Interval(1.0, 1.0), 0.0, 1.2), compare(Interval(1.0, 1.0), 0.0, 0.9)
    ('loose by 20 %', 'contradicts our interval')
    """
    if upper < ours.lower or lower > ours.upper:
        return "contradicts our interval"
    if ours.upper > 0.0 and upper > (1.0 + _LOOSE) * ours.upper:
        return f"loose by {100.0 * (upper / ours.upper - 1.0):.3g} %"
    return "agrees"

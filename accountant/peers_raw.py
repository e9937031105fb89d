"""The peers asked about any event, by the calls that a user would make.

Their defaults are part of what is compared: a default that is far too coarse is the peer's answer
too. Each answer is set beside our enclosure and flagged where it contradicts it or is loose.
"""

import math
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from .bounds import ProvenBound
from .errors import UnsupportedEventError
from .flatten import Parts, flatten
from .geometry import root_interval
from .pairs import atoms, laplace
from .peers import FLOOR, PeerResult, compare
from .restricted import unrestricted

_FAILS = (ValueError, RuntimeError, AssertionError, OverflowError, NotImplementedError, MemoryError)
_RELATIONS = {
    "add-remove": "ADD_OR_REMOVE_ONE",
    "replace-one": "REPLACE_ONE",
    "zero-out": "REPLACE_SPECIAL",
}


class _NotAskedError(Exception):
    """A peer has no way to be asked; the text says why."""


def ask_all(bound: ProvenBound, delta: float, event: dpe.DpEvent) -> list[PeerResult]:
    """Every peer's epsilon at `delta`, with a note on how it compares to ours."""
    ours = bound.epsilon(delta)
    event = unrestricted(event, bound.adjacency)
    peers: dict[str, Callable[[], tuple[float, float]]] = {
        "dp-accounting RDP": lambda: _dp_accounting("rdp", bound, delta, event),
        "dp-accounting PLD": lambda: _dp_accounting("pld", bound, delta, event),
        "prv-accountant": lambda: _prv(bound, delta, event, ours.upper),
    }
    if find_spec("opacus") is not None:
        peers["Opacus GDP (CLT approximation)"] = lambda: _opacus(bound, delta, event)
    results = []
    for name, ask in peers.items():
        start = time.perf_counter()
        lower, upper = 0.0, math.inf
        try:
            if delta < FLOOR:
                raise _NotAskedError(f"below its floor (delta >= {FLOOR:g})")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the peers divide by zero on their own grids
                lower, upper = ask()
            note = compare(ours, lower, upper)
        except _NotAskedError as reason:
            note = f"not asked: {reason}"
        except _FAILS as error:
            note = f"gave no answer: {type(error).__name__}: {str(error)[:120]}"
        results.append(PeerResult(name, lower, upper, note, time.perf_counter() - start))
    return results


def _dp_accounting(
    kind: str, bound: ProvenBound, delta: float, event: dpe.DpEvent
) -> tuple[float, float]:
    from dp_accounting.pld.pld_privacy_accountant import PLDAccountant
    from dp_accounting.privacy_accountant import NeighboringRelation
    from dp_accounting.rdp.rdp_privacy_accountant import RdpAccountant

    if bound.group_size > 1:
        raise _NotAskedError("it knows no groups")
    relation = NeighboringRelation[_RELATIONS[bound.adjacency]]
    accountant: Any = (
        RdpAccountant(neighboring_relation=relation)
        if kind == "rdp"
        else PLDAccountant(neighboring_relation=relation)
    )
    asked = event
    if not accountant.supports(asked):
        asked = _standard(event, bound)
        if not accountant.supports(asked):
            raise _NotAskedError(f"it does not support this event under {bound.adjacency}")
    accountant.compose(asked)
    return 0.0, float(accountant.get_epsilon(delta))


def _standard(event: dpe.DpEvent, bound: ProvenBound) -> dpe.DpEvent:
    """The event in the peers' vocabulary, if sampled and plain Gaussians are all there is."""
    parts = _gaussians(event, bound)
    steps: list[dpe.DpEvent] = [
        dpe.SelfComposedDpEvent(dpe.PoissonSampledDpEvent(rate, dpe.GaussianDpEvent(noise)), count)
        for (rate, _, noise), count in parts.sampled.items()
    ]
    if parts.squared_mu[0] > 0:
        steps.append(dpe.GaussianDpEvent(1.0 / root_interval(parts.squared_mu[0])[0]))
    return dpe.ComposedDpEvent(steps)


def _gaussians(event: dpe.DpEvent, bound: ProvenBound) -> Parts:
    try:
        parts = flatten(event, adjacency=bound.adjacency, group_size=bound.group_size)
    except UnsupportedEventError:
        raise _NotAskedError("the event has no form that it knows") from None
    if parts.pairs or parts.renyi:
        raise _NotAskedError(f"it does not support this event under {bound.adjacency}")
    return parts


def _prv(
    bound: ProvenBound, delta: float, event: dpe.DpEvent, epsilon: float
) -> tuple[float, float]:
    """It models removal only. Errors asked for: 3 % of epsilon, at least .05, and delta/1000."""
    from prv_accountant import PRVAccountant
    from prv_accountant import privacy_random_variables as known

    try:
        parts = flatten(event, adjacency=bound.adjacency, group_size=bound.group_size)
    except UnsupportedEventError:
        raise _NotAskedError("the event has no form that it knows") from None
    prvs, counts = [], []
    for (rate, _, noise), count in parts.sampled.items():
        prvs.append(known.PoissonSubsampledGaussianMechanism(rate, noise))
        counts.append(count)
    if parts.squared_mu[0] > 0:
        prvs.append(known.GaussianMechanism(1.0 / root_interval(parts.squared_mu[0])[0]))
        counts.append(1)
    for (upper, _), count in parts.pairs.items():
        if isinstance(upper, laplace.Laplace):
            prvs.append(known.LaplaceMechanism(upper.shift))
        elif isinstance(upper, atoms.PureDp):
            prvs.append(known.PureDPMechanism(upper.epsilon))
        elif isinstance(upper, atoms.RandomizedResponse) and upper.num_buckets == 2:
            prvs.append(known.PureDPMechanism(upper.highest))
        else:
            raise _NotAskedError("it does not know this event")
        counts.append(count)
    if parts.renyi or not prvs:
        raise _NotAskedError("it does not know this event")
    accountant = PRVAccountant(
        prvs=prvs,
        eps_error=max(0.05, min(0.1, 0.03 * epsilon)),
        delta_error=delta / 1000.0,
        max_self_compositions=counts,
    )
    lower, _, upper_value = accountant.compute_epsilon(delta, counts)
    return max(0.0, float(lower)), max(0.0, float(upper_value))


def _opacus(bound: ProvenBound, delta: float, event: dpe.DpEvent) -> tuple[float, float]:
    from opacus.accountants.analysis import gdp  # type: ignore[import-not-found, import-untyped, unused-ignore]

    parts = _gaussians(event, bound)
    if len(parts.sampled) != 1 or parts.squared_mu[0] > 0 or bound.adjacency == "replace-one":
        raise _NotAskedError("it knows one kind of sampled Gaussian")
    ((rate, _, noise), count), *_ = parts.sampled.items()
    found = gdp.compute_eps_poisson(
        steps=count, noise_multiplier=noise, sample_rate=rate, delta=delta
    )
    return 0.0, float(found)

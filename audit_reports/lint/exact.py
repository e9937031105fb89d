"""Exact accounting of a declaration: which facts are counted is an argument.

A declaration holds two accounts: what really happens, and what the system's own accounting assumed.
`Facts` says, point by point, which of the two is counted, so that the effect of each single defect
is a number of its own.
"""

import json
import math
from functools import lru_cache
from typing import NamedTuple

import dp_accounting.dp_event as dpe  # mypy cannot see the package's own re-exports

from ...accountant.account import account
from ...accountant.adjacency import Adjacency, Unit
from ...accountant.bounds import Interval
from ...accountant.errors import ParameterError, UnsupportedEventError
from ...accountant.event_json import from_dict, to_dict
from .declaration import Declaration
from .facts import ACCOUNTED as ACCOUNTED
from .facts import DECLARED as DECLARED
from .facts import NOISED as NOISED
from .facts import Facts as Facts
from .facts import adjacencies as adjacencies
from .facts import claimed_epsilon as claimed_epsilon
from .facts import delta as delta
from .facts import is_silent as is_silent
from .facts import private_inputs as private_inputs
from .facts import private_sources as private_sources
from .facts import unit as unit
from .facts import views as views
from .findings import Exact
from .made import event as event
from .made import excess as excess
from .made import noise_stddevs as noise_stddevs
from .made import pure_excess
from .release import Release


def account_all(declaration: Declaration, facts: Facts, words: str) -> tuple[Exact, ...]:
    """One number for each relation in question: the worst of the claim's views.

    Args:
        declaration: the system.
        facts: what is counted.
        words: the same, in words.
    """
    found = []
    for adjacency in adjacencies(declaration):
        each = [account_view(declaration, v, adjacency, facts, words) for v in views(declaration)]
        if each:
            found.append(max(each, key=lambda e: (e.epsilon.upper, e.epsilon.lower)))
    return tuple(found)


def account_each(declaration: Declaration, facts: Facts, words: str) -> tuple[Exact, ...]:
    """One number for each relation in question and each view of the claim."""
    return tuple(
        account_view(declaration, view, adjacency, facts, words)
        for adjacency in adjacencies(declaration)
        for view in views(declaration)
    )


def account_view(
    declaration: Declaration, view: str, adjacency: Adjacency, facts: Facts, words: str
) -> Exact:
    """What one adversary can learn."""
    mu, epsilon = _account_view(declaration, view, adjacency, facts)
    return Exact(
        facts=words,
        adjacency=adjacency,
        unit=unit(declaration),
        view=view,
        delta=delta(declaration),
        mu_upper=mu,
        epsilon=epsilon,
    )


def _account_view(
    declaration: Declaration, view: str, adjacency: Adjacency, facts: Facts
) -> tuple[float, Interval]:
    listed = declaration.claim.unprotected
    seen = [
        r
        for r in declaration.release
        if view in r.views
        and not is_silent(declaration, r)
        # what is noised was meant to be accounted, whatever else is listed
        and not (r.name in listed and r.kind == "none")
    ]
    if not facts.unnoised:
        seen = [r for r in seen if r.kind != "none"]
    if not facts.uncharged:
        seen = [r for r in seen if r.charged]
    together = [r for r in seen if facts.siblings or r.joint]
    alone = [[r] for r in seen if not (facts.siblings or r.joint)]
    low, high, mu = 0.0, 0.0, 0.0
    for group in [together, *alone] if together else alone:
        numbers, is_attained = _numbers(declaration, group, adjacency, facts)
        low = max(low, numbers.epsilon.lower if is_attained else 0.0)
        high = max(high, numbers.epsilon.upper)
        mu = max(mu, numbers.mu_upper)
    return mu, Interval(low, high)


class _Numbers(NamedTuple):
    mu_upper: float
    epsilon: Interval


def _numbers(
    declaration: Declaration, releases: list[Release], adjacency: Adjacency, facts: Facts
) -> tuple[_Numbers, bool]:
    """What is proven, and whether neighbours attain it (else its lower end says nothing)."""
    terms = (adjacency, unit(declaration), delta(declaration))
    sampled = any(r.sampled for r in releases)
    attained = all(_is_attained(declaration, r, adjacency, facts) for r in releases)
    kind = declaration.sampling.used if facts.sampling else declaration.sampling.accounted
    if sampled and kind == "poisson":
        try:
            made = event(declaration, releases, adjacency, facts)
            return _account(_text(made), *terms), attained
        except UnsupportedEventError:  # an upper bound still holds without amplification
            pass
    plain = not sampled or kind == "all"  # otherwise fewer releases may hold one record
    try:
        made = event(declaration, releases, adjacency, facts, amplified=False)
        return _account(_text(made), *terms), attained and plain
    except ParameterError:  # noise so small that no engine goes there: nothing is proven
        return _Numbers(math.inf, Interval(0.0, math.inf)), False


def _text(made: dpe.DpEvent) -> str:
    return json.dumps(to_dict(made))


@lru_cache(maxsize=512)  # rules and views ask for the same events, and an engine may take a second
def _account(text: str, adjacency: Adjacency, who: Unit, at: float) -> _Numbers:
    bound = account(from_dict(json.loads(text)), adjacency=adjacency, unit=who)
    return _Numbers(bound.mu.upper, bound.epsilon(at))


def _is_attained(
    declaration: Declaration, release: Release, adjacency: Adjacency, facts: Facts
) -> bool:
    if not facts.sensitivity or release.kind == "none":
        return True
    if release.kind == "pure":  # as declared, it stands for the worst of all pure mechanisms
        return pure_excess(declaration, release, adjacency, facts) == 1.0
    if facts.inputs and private_inputs(declaration, release):
        return False
    if release.clip == "upload":
        return unit(declaration) == "client"
    return release.divisor_source == "public"

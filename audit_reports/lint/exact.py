"""Exact accounting of a declaration: which facts are counted is an argument.

A declaration holds two accounts: what really happens, and what the system's own accounting assumed.
`Facts` says, point by point, which of the two is counted, so that the effect of each single defect
is a number of its own.
"""

import math
from functools import lru_cache

from ...accountant.account import account
from ...accountant.adjacency import Adjacency
from ...accountant.bounds import Interval, ProvenBound
from ...accountant.errors import ParameterError, UnsupportedEventError
from .declaration import Declaration, Release
from .facts import ACCOUNTED as ACCOUNTED
from .facts import DECLARED as DECLARED
from .facts import NOISED as NOISED
from .facts import Facts as Facts
from .facts import adjacencies as adjacencies
from .facts import claimed_epsilon as claimed_epsilon
from .facts import delta as delta
from .facts import unit as unit
from .facts import views as views
from .findings import Exact
from .made import event as event
from .made import excess as excess
from .made import noise_stddevs as noise_stddevs
from .made import private_inputs


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


@lru_cache(maxsize=512)  # several rules ask for the same numbers, and an engine may take a second
def _account_view(
    declaration: Declaration, view: str, adjacency: Adjacency, facts: Facts
) -> tuple[float, Interval]:
    listed = declaration.claim.unprotected
    seen = [
        r
        for r in declaration.release
        if view in r.views
        and not (r.public_content and r.kind == "none")
        # what is noised was meant to be accounted, whatever else is listed
        and not (r.name in listed and r.kind == "none")
    ]
    if not facts.unnoised:
        seen = [r for r in seen if r.kind != "none"]
    if not facts.uncharged:
        seen = [r for r in seen if r.charged]
    together = [r for r in seen if facts.siblings or r.joint]
    alone = [[r] for r in seen if not (facts.siblings or r.joint)]
    at, low, high, mu = delta(declaration), 0.0, 0.0, 0.0
    for group in [together, *alone] if together else alone:
        bound, is_attained = _bound(declaration, group, adjacency, facts)
        epsilon = bound.epsilon(at)
        low = max(low, epsilon.lower if is_attained else 0.0)
        high = max(high, epsilon.upper)
        mu = max(mu, bound.mu.upper)
    return mu, Interval(low, high)


def _bound(
    declaration: Declaration, releases: list[Release], adjacency: Adjacency, facts: Facts
) -> tuple[ProvenBound, bool]:
    """What is proven, and whether neighbours attain it (else its lower end says nothing)."""
    terms = {"adjacency": adjacency, "unit": unit(declaration)}
    sampled = any(r.sampled for r in releases)
    attained = all(_is_attained(declaration, r, adjacency, facts) for r in releases)
    kind = declaration.sampling.used if facts.sampling else declaration.sampling.accounted
    if sampled and kind == "poisson":
        try:
            made = event(declaration, releases, adjacency, facts)
            return account(made, **terms), attained  # type: ignore[arg-type]
        except UnsupportedEventError:  # an upper bound still holds without amplification
            pass
    plain = not sampled or kind == "all"  # otherwise fewer releases may hold one record
    try:
        made = event(declaration, releases, adjacency, facts, amplified=False)
        return account(made, **terms), attained and plain  # type: ignore[arg-type]
    except ParameterError:  # noise so small that no engine goes there: nothing is proven
        return ProvenBound(mu=Interval(0.0, math.inf), **terms), False  # type: ignore[arg-type]


def _is_attained(
    declaration: Declaration, release: Release, adjacency: Adjacency, facts: Facts
) -> bool:
    if not facts.sensitivity or release.kind != "gaussian":
        return True
    if facts.inputs and private_inputs(declaration, release):
        return False
    if release.clip == "upload":
        return unit(declaration) == "client"
    return release.divisor_source in ("public", "accounted")

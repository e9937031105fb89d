"""`PrivacyClaim`: a claim written so that it can be checked."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from . import check, gaussian
from .adjacency import ADJACENCIES, UNITS, Adjacency, Unit
from .bounds import Interval, ProvenBound
from .errors import ClaimError, ParameterError

Curve = Literal["point", "gaussian"]
AdversaryName = Literal["server", "peer", "outsider", "querier"]
ADVERSARIES: tuple[str, ...] = ("server", "peer", "outsider", "querier")
NOT_STATED = "not stated"


@dataclass(frozen=True, kw_only=True)
class PrivacyClaim:
    """Someone asserts that a system has this guarantee.

    Give exactly one guarantee: `mu` (the whole Gaussian trade-off curve), `epsilon` with `delta`,
    `profile`, `rho` or `event`. `epsilon` with `delta` is that one point, unless `curve` is
    "gaussian": then the claim is the Gaussian curve through that point, that is mu-GDP with the
    largest such mu.

    Attributes:
        epsilon: >= 0, nats.
        delta: in [0, 1); > 0 where `curve` is "gaussian" (a Gaussian curve never reaches 0). With
            the other guarantees, the delta at which epsilon is printed.
        mu: > 0, no unit.
        rho: > 0, zero-concentrated differential privacy. Source: Bun & Steinke, arXiv:1605.02658.
        profile: (epsilon, delta) pairs, all of them claimed.
        event: the mechanism claims to be one that leaks no more than this DpEvent, under
            `adjacency`; kept as the dictionary of `event_json`.
        curve: "point" or "gaussian".
        adjacency: "add-remove", "replace-one" or "zero-out".
        unit: "example", "user" or "client".
        adversaries: who the claim holds against.
        covers: which releases and data accesses the claim covers, in words.
        unprotected: quantities treated as public, in words; empty means not stated.
        source: who claims it, where.

    Raises:
        ClaimError: no guarantee or two, or an adjacency, unit or adversary that does not exist.
        ParameterError: a number outside its range.

    >>> PrivacyClaim(epsilon=1.0, delta=1e-5, curve="gaussian", adjacency="add-remove",
    ...              unit="example").gaussian_mu().lower  # doctest: +ELLIPSIS
    0.26805112...
    """

    adjacency: Adjacency
    unit: Unit
    epsilon: float | None = None
    delta: float | None = None
    mu: float | None = None
    rho: float | None = None
    profile: tuple[tuple[float, float], ...] = ()
    event: Any = None
    curve: Curve = "point"
    adversaries: tuple[AdversaryName, ...] = ("server", "peer", "outsider")
    covers: str = NOT_STATED
    unprotected: tuple[str, ...] = ()
    source: str = NOT_STATED

    def __post_init__(self) -> None:
        for name in ("epsilon", "delta", "mu", "rho"):
            value = getattr(self, name)
            if isinstance(value, np.integer | np.floating):
                object.__setattr__(self, name, float(value))  # a record holds plain numbers
        try:
            check.one_of(ADJACENCIES, adjacency=self.adjacency)
            check.one_of(UNITS, unit=self.unit)
            check.one_of(("point", "gaussian"), curve=self.curve)
            for name in self.adversaries:
                check.one_of(ADVERSARIES, adversaries=name)
        except ParameterError as error:
            raise ClaimError(f"in the claim, {error}") from None
        if not self.adversaries:
            raise ClaimError("the claim names no adversary; give at least one, such as 'server'")
        given = [
            name
            for name in ("epsilon", "mu", "rho", "profile", "event")
            if getattr(self, name) is not None and not _is_empty(getattr(self, name))
        ]
        if len(given) != 1:
            raise ClaimError(
                "a claim has exactly one of epsilon (with delta), mu, rho, profile and event, but "
                f"{' and '.join(given) or 'none'} is given"
            )
        if self.curve == "gaussian" and given != ["epsilon"]:
            raise ClaimError('curve = "gaussian" goes with epsilon and delta only')
        if given != ["epsilon"]:
            if self.delta is not None:
                check.open_probability(delta=self.delta)
            self._check_curve(given[0])
            return
        check.non_negative(epsilon=self.epsilon)
        if self.epsilon == math.inf:
            raise ClaimError("epsilon = inf claims nothing; give a finite number")
        if self.delta is None:
            raise ClaimError("a claim of epsilon needs delta (0 for pure differential privacy)")
        if self.curve == "gaussian":
            check.open_probability(delta=self.delta)
        else:
            check.probability(delta=self.delta)

    def _check_curve(self, name: str) -> None:
        from .event_json import from_dict, to_dict

        if name in ("mu", "rho"):
            check.positive(**{name: getattr(self, name)})
        elif name == "profile":
            pairs = tuple((float(e), float(d)) for e, d in self.profile)
            for epsilon, delta in pairs:
                check.non_negative(epsilon=epsilon)
                check.probability(delta=delta)
            object.__setattr__(self, "profile", pairs)
        else:
            event = self.event if isinstance(self.event, Mapping) else to_dict(self.event)
            object.__setattr__(self, "event", dict(event))
            from_dict(event)  # a broken event is noticed here, not in the audit

    def proven(self) -> ProvenBound:
        """What accounting proves about the claimed event.

        Raises:
            ClaimError: the claim is not one of an event.
            UnsupportedEventError: nothing is proven about it.
        """
        from .account import account
        from .event_json import from_dict

        if self.event is None:
            raise ClaimError("the claim names no event, so nothing about it can be proven")
        return account(from_dict(self.event), adjacency=self.adjacency, unit=self.unit)

    def gaussian_mu(self) -> Interval:
        """The mu of the claimed Gaussian curve.

        Raises:
            ClaimError: the claim is a single point, which is not a curve.
        """
        if self.mu is not None:
            return Interval(self.mu, self.mu)
        if self.curve != "gaussian" or self.epsilon is None or self.delta is None:
            raise ClaimError(
                f"the claim is the single point ({self.epsilon}, {self.delta}), not a curve.\n"
                '  Set curve = "gaussian" in [claim] if the mechanism is claimed to be Gaussian.'
            )
        return Interval(*gaussian.mu_interval(self.epsilon, self.delta))

    @property
    def is_curve(self) -> bool:
        """Whether the claim is a whole Gaussian curve."""
        return self.mu is not None or self.curve == "gaussian"

    def is_proven_by(self, bound: ProvenBound) -> bool:
        """Whether `bound` proves the claim; upper ends against lower ends.

        Raises:
            ClaimError: another adjacency or unit.
        """
        from .adjacency import same_terms

        same_terms(self, bound, "the proven bound")
        if self.is_curve:
            return bound.mu.upper <= self.gaussian_mu().lower
        if self.rho is not None:
            from .conversions import zcdp

            return zcdp(bound).upper <= self.rho
        if self.profile:
            return all(bound.delta(e).upper <= delta for e, delta in self.profile)
        if self.epsilon is None or self.delta is None:
            raise ClaimError(
                "whether a bound proves the claim of an event cannot be decided from the bound; "
                "claim mu, epsilon with delta, rho or a profile"
            )
        return bound.epsilon(self.delta).upper <= self.epsilon

    def text(self) -> str:
        """The claim in one line of symbols.

        >>> PrivacyClaim(epsilon=2.0, delta=1e-5, adjacency="add-remove", unit="client").text()
        '(2, 1e-05)-DP, one client, add-remove'
        """
        if self.mu is not None:
            what = f"{self.mu:g}-GDP"
        elif self.rho is not None:
            what = f"{self.rho:g}-zCDP"
        elif self.profile:
            shown = ", ".join(f"({e:g}, {d:g})" for e, d in self.profile[:3])
            more = f" and {len(self.profile) - 3} more" if len(self.profile) > 3 else ""
            what = f"{shown}{more}-DP"
        elif self.event is not None:
            what = f"as private as {self.event['class']}"
        else:
            what = f"({self.epsilon:g}, {self.delta:g})-DP"
            if self.curve == "gaussian":
                what += f" by the Gaussian curve (mu = {self.gaussian_mu().lower:.6g})"
        return f"{what}, one {self.unit}, {self.adjacency}"


def as_claim(given: "PrivacyClaim | Mapping[str, Any]") -> PrivacyClaim:
    """The claim itself, or the one whose fields a dictionary holds.

    Raises:
        ClaimError: an unknown key, or not a claim.

    >>> as_claim({"mu": 1.0, "adjacency": "add-remove", "unit": "example"}).text()
    '1-GDP, one example, add-remove'
    """
    if isinstance(given, PrivacyClaim):
        return given
    if not isinstance(given, Mapping):
        raise ClaimError(
            f"claim must be a PrivacyClaim or a dictionary of its fields, but is {given!r}"
        )
    known = [field.name for field in fields(PrivacyClaim)]
    for key in given:
        if key not in known:
            raise ClaimError(f"in the claim, the key must be {check.suggest(str(key), known)}")
    missing = [name for name in ("adjacency", "unit") if name not in given]
    if missing:
        raise ClaimError(
            f"the claim needs {' and '.join(missing)}: adjacency is one of "
            f"{', '.join(ADJACENCIES)}; unit one of {', '.join(UNITS)}"
        )
    arguments: dict[str, Any] = dict(given)
    if "profile" in arguments:
        arguments["profile"] = tuple(tuple(pair) for pair in arguments["profile"])
    return PrivacyClaim(**arguments)


def _is_empty(value: object) -> bool:
    return isinstance(value, tuple | list) and not value

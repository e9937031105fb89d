"""`PrivacyClaim`: a claim written so that it can be checked."""

import math
from dataclasses import dataclass
from typing import Literal

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

    Give exactly one guarantee: `mu` (the whole Gaussian trade-off curve), or `epsilon` with
    `delta`. The latter is the one point (epsilon, delta), unless `curve` is "gaussian": then the
    claim is the Gaussian curve through that point, that is mu-GDP with the largest such mu.

    Attributes:
        epsilon: >= 0, nats.
        delta: in [0, 1); > 0 where `curve` is "gaussian" (a Gaussian curve never reaches 0). With
            `mu`, the delta at which epsilon is printed.
        mu: > 0, no unit.
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
    curve: Curve = "point"
    adversaries: tuple[AdversaryName, ...] = ("server", "peer", "outsider")
    covers: str = NOT_STATED
    unprotected: tuple[str, ...] = ()
    source: str = NOT_STATED

    def __post_init__(self) -> None:
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
        if (self.epsilon is None) == (self.mu is None):
            given = "neither" if self.mu is None else "both"
            raise ClaimError(f"a claim has either epsilon (with delta) or mu, but {given} is given")
        if self.mu is not None:
            check.positive(mu=self.mu)
            if self.delta is not None:
                check.open_probability(delta=self.delta)
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
        if self.epsilon is None or self.delta is None:
            raise ClaimError("the claim has no guarantee")
        return bound.epsilon(self.delta).upper <= self.epsilon

    def text(self) -> str:
        """The claim in one line of symbols.

        >>> PrivacyClaim(epsilon=2.0, delta=1e-5, adjacency="add-remove", unit="client").text()
        '(2, 1e-05)-DP, one client, add-remove'
        """
        if self.mu is not None:
            what = f"{self.mu:g}-GDP"
        else:
            what = f"({self.epsilon:g}, {self.delta:g})-DP"
            if self.curve == "gaussian":
                what += f" by the Gaussian curve (mu = {self.gaussian_mu().lower:.6g})"
        return f"{what}, one {self.unit}, {self.adjacency}"

"""The sections of a declaration that are not about releases: claim, sampler, parts, conduct.

Together with `release`, `sharing` and `declaration` this is the reference of what may be written.
A declaration states facts (what is clipped, what is noised, who sees it) and, beside them, what the
system's own accounting assumed. The lint compares the two. What is not stated stays "not stated":
nothing is assumed in its place.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from ...accountant import check
from ...accountant.adjacency import Adjacency, Unit
from ...accountant.errors import ParameterError

NOT_STATED = "not stated"

View = Literal["server", "peer", "outsider", "querier"]
Trust = Literal["not stated", "local-noise", "secure-sum", "trusted-server"]
Schedule = Literal["not stated", "fixed", "noised", "private"]
Sampler = Literal["not stated", "all", "poisson", "shuffled", "fixed-size", "public-schedule"]
Source = Literal["not stated", "public", "noised", "accounted", "private"]
NoiseFrom = Literal["not stated", "clients", "server"]
Generator = Literal["not stated", "system", "seeded", "reused"]

VIEWS: tuple[str, ...] = get_args(View)


def _check_paid(where: str, source: str, paid_by: tuple[str, ...]) -> None:
    if paid_by and source == "public":
        raise ParameterError(
            f"{where}: what is public needs no release that pays for it; drop paid_by, or write "
            '"noised" or "accounted"'
        )


@dataclass(frozen=True, kw_only=True)
class Claim:
    """[claim]: what is asserted. `kind` "none" means: no differential privacy is claimed.

    Attributes:
        trust: "local-noise": nobody; each client adds its noise before anything leaves it.
            "secure-sum": the server sees only what a secure computation opens to it.
            "trusted-server": the server sees data without noise, and is no adversary.
        views: the adversaries that the claim covers. A "querier" sees less than an "outsider", who
            holds the released model.
        covers: which releases, in words.
        unprotected: what is published although it depends on the data.
        noise_from: with trust "secure-sum" and without [mpc]: who adds the noise to the sum.
            Whoever adds it can subtract it.
    """

    kind: Literal["dp", "none"] = "dp"
    epsilon: float | None = None
    delta: float | None = None
    mu: float | None = None
    unit: Unit | None = None
    adjacency: Adjacency | None = None
    trust: Trust = "not stated"
    views: tuple[View, ...] = ()
    covers: str = NOT_STATED
    unprotected: tuple[str, ...] = ()
    noise_from: NoiseFrom = "not stated"
    source: str = NOT_STATED
    refs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value in (("epsilon", self.epsilon), ("mu", self.mu)):
            if value is not None:
                check.positive(**{f"claim.{name}": value})
        if self.delta is not None and self.delta != 0.0:  # 0: pure differential privacy
            check.open_probability(**{"claim.delta": self.delta})
        if self.delta == 0.0 and self.mu is not None:
            raise ParameterError(
                "claim.mu is Gaussian differential privacy, which has no epsilon at claim.delta = "
                "0; drop one of them"
            )
        if self.noise_from != "not stated" and self.trust != "secure-sum":
            raise ParameterError(
                f'claim.noise_from is "{self.noise_from}", which goes with trust = "secure-sum", '
                f'not with "{self.trust}"; drop one of them'
            )
        if self.kind == "none" and (self.epsilon is not None or self.mu is not None):
            raise ParameterError(
                'claim.kind is "none", so that claim.epsilon and mu must be absent'
            )


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """[sampling]: how records (or clients) get into a release, and when there is one.

    Attributes:
        used: the sampler that runs; `accounted`: the one that the accounting assumes.
        rate: share of the records in one sample; likewise accounted_rate.
        schedule: who decides on rounds, participants and the end: "fixed" beforehand and public;
            "noised": read off noised releases; "private": it depends on records or clients, such
            as stopping at the best accuracy, or iterating until clusters stand still.
        rounds: how many there are, at most.
        participations: with used = "public-schedule", rounds of the most used unit.
    """

    used: Sampler = "not stated"
    accounted: Sampler = "all"
    rate: float | None = None
    accounted_rate: float | None = None
    schedule: Schedule = "not stated"
    rounds: int | None = None
    participations: int | None = None
    note: str = ""
    refs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field, sampler, name, rate in (
            ("used", self.used, "rate", self.rate),
            ("accounted", self.accounted, "accounted_rate", self.accounted_rate),
        ):
            if rate is not None:
                check.positive(**{f"sampling.{name}": rate})
                check.probability(**{f"sampling.{name}": rate})
            if sampler == "poisson" and rate is None:
                raise ParameterError(
                    f'sampling.{field} = "poisson" needs a rate; give sampling.{name}'
                )
            if sampler == "all" and rate is not None and rate < 1.0:
                raise ParameterError(
                    f'sampling.{field} = "all" takes every record, so that sampling.{name} = '
                    f"{rate:g} says nothing; drop it, or name the sampler"
                )
        for name, count in (("rounds", self.rounds), ("participations", self.participations)):
            if count is not None:
                check.count(**{f"sampling.{name}": count})
        if self.participations is not None and self.used != "public-schedule":
            raise ParameterError(
                'sampling.participations goes with used = "public-schedule"; with any other '
                "sampler one unit may be in every round"
            )
        if (self.participations or 0) > (self.rounds or math.inf):
            raise ParameterError(
                f"sampling.participations is {self.participations}, but there are only "
                f"{self.rounds} rounds"
            )


@dataclass(frozen=True, kw_only=True)
class Component:
    """[[component]]: a model part or buffer that a release is computed with.

    Attributes:
        trained_on: "public" data, "noised" outputs of accounted releases, a mechanism that is
            itself "accounted", or "private" records without noise.
        paid_by: names of the [[release]]s whose noise or budget that is. What is "noised" is
            computed from these; what is "accounted" has releases of its own, outside the rounds
            (`rounds = 0` there).
    """

    name: str
    trained_on: Source
    paid_by: tuple[str, ...] = ()
    note: str = ""
    refs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_paid(f"component {self.name!r}", self.trained_on, self.paid_by)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """[[parameter]]: a number or set that shapes a release.

    Attributes:
        source: as trained_on of a component; likewise paid_by.
        noise_count: the noise is scaled by 1/count, so that the noise shows the count.
        dimension: coordinates in which it shows.
    """

    name: str
    source: Source
    paid_by: tuple[str, ...] = ()
    note: str = ""
    noise_count: int | None = None
    dimension: int | None = None
    refs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_paid(f"parameter {self.name!r}", self.source, self.paid_by)
        if self.noise_count is not None:
            check.count(**{f"parameter {self.name!r}: noise_count": self.noise_count})
        if self.dimension is not None:
            check.count(**{f"parameter {self.name!r}: dimension": self.dimension})


@dataclass(frozen=True, kw_only=True)
class Randomness:
    """[randomness]: where noise comes from.

    `generator`: the operating "system"'s, "seeded" with a number that others know or can guess, or
    "reused": the same stream more than once. `arithmetic`: "float", or "exact" (integers).
    """

    generator: Generator = "not stated"
    arithmetic: Literal["not stated", "float", "exact"] = "not stated"
    note: str = ""
    refs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """[tuning]: on what parameters and the reported model were chosen.

    Attributes:
        charged: runs on private data are accounted for, by the releases in `paid_by`; those of the
            reported run pay for that run alone, so that the others need their own (`rounds = 0`).
        reported: the result of a run "fixed" beforehand, or the "best" of several.
    """

    tuned_on: Literal["not stated", "nothing", "public", "private"] = "not stated"
    charged: bool = False
    paid_by: tuple[str, ...] = ()
    reported: Literal["not stated", "fixed", "best"] = "not stated"
    note: str = ""
    refs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Conduct:
    """[conduct]: how the code treats odd contributions, and whether records influence each other.

    Attributes:
        nonfinite: what a NaN or an empty cohort does: "zero" contribution, or "changes-path".
        across_records: operations that mix records before clipping; [] if there are none.
    """

    nonfinite: Literal["not stated", "zero", "changes-path"] = "not stated"
    across_records: tuple[str, ...] | None = None
    refs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class State:
    """[[state]]: something a client keeps; `held` "shared" lets one client's data reach another."""

    name: str
    held: Literal["per-client", "shared"]
    note: str = ""
    refs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """[[evidence]]: an evaluation or attack that supports the claim, and whether it is valid."""

    name: str
    members_trained: bool | None = None
    nonmembers_untrained: bool | None = None
    same_mix: bool | None = None
    note: str = ""
    refs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Statement:
    """[[statement]]: what the text, theorem or switch says, and what the code does."""

    about: str
    says: str
    does: str
    protects: bool = False
    refs: tuple[str, ...] = ()

"""What a system says about itself, as far as privacy depends on it.

Frozen dataclasses, one a section of the TOML file; this module is the reference of what may be
written. A declaration states facts (what is clipped, what is noised, who sees it) and, beside
them, what the system's own accounting assumed. The lint compares the two. What is not stated stays
"not stated": nothing is assumed in its place.

One file in spite of its length: whoever writes a declaration reads it from top to bottom.
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
Sampler = Literal["not stated", "all", "poisson", "shuffled", "fixed-size", "public-schedule"]
Kind = Literal["gaussian", "pure", "none"]
Clip = Literal["record", "batch", "upload", "none"]
ClipSet = Literal["ball", "groups", "both", "ellipsoid"]
Formula = Literal["given", "classical", "moments", "rdp", "exact"]
Source = Literal["not stated", "public", "noised", "accounted", "private"]
Generator = Literal["not stated", "system", "seeded", "reused"]

VIEWS: tuple[str, ...] = get_args(View)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """[claim]: what is asserted. `kind` "none" means: no differential privacy is claimed.

    Attributes:
        views: the adversaries that the claim covers.
        unprotected: what is published although it depends on the data.
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
    source: str = NOT_STATED
    refs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value in (("epsilon", self.epsilon), ("mu", self.mu)):
            if value is not None:
                check.positive(**{f"claim.{name}": value})
        if self.delta is not None:
            check.open_probability(**{"claim.delta": self.delta})
        if self.kind == "none" and (self.epsilon is not None or self.mu is not None):
            raise ParameterError(
                'claim.kind is "none", so that claim.epsilon and mu must be absent'
            )


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """[sampling]: how records (or clients) get into a release, and what the accounting assumed."""

    used: Sampler = "not stated"
    accounted: Sampler = "all"
    rate: float | None = None
    accounted_rate: float | None = None
    note: str = ""
    refs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value in (("rate", self.rate), ("accounted_rate", self.accounted_rate)):
            if value is not None:
                check.positive(**{f"sampling.{name}": value})
                check.probability(**{f"sampling.{name}": value})
        for field, sampler, rate in (
            ("used", self.used, self.rate),
            ("accounted", self.accounted, self.accounted_rate),
        ):
            if sampler == "poisson" and rate is None:
                raise ParameterError(
                    f'sampling.{field} = "poisson" needs a rate; give sampling.'
                    f"{'rate' if field == 'used' else 'accounted_rate'}"
                )


@dataclass(frozen=True, kw_only=True)
class Release:
    """[[release]]: something that leaves a client, or is computed from what leaves it.

    Attributes:
        data: the records that it reads, by a name; releases with the same name read the same.
        views: who sees it.
        kind: "gaussian" noise, "pure" (an (epsilon, 0)-DP mechanism), or "none": no noise.
        clip: what is clipped before it is summed: each "record", the mean of a "batch", the whole
            "upload" of a client, or nothing.
        clip_norm: L2 bound of the clip.
        clips_weights: weights are clipped, not their change.
        clip_set: "ball" of `clip_norm`; "groups", each of `group_norms` by itself; "both"; or the
            "ellipsoid" sum (norm of group g)^2/r_g^2 <= 1 with radii `group_norms`.
        budget_shares: of each group; its noise is sigma times its sensitivity over their root.
        divisor: what the sum is divided by; `divisor_source` says where that number comes from.
        records_per_unit: how many records of one unit enter a release; needed for a client.
        assumed_sensitivity: what the noise is scaled to: stddev = sigma * assumed_sensitivity.
        formula: where sigma comes from, with `formula_epsilon`, `formula_releases`; or "given".
        pure_epsilon: of one release of kind "pure".
        tensors: releases of this form from the same records at the same time.
        releases: at most so many times does one unit take part; with Poisson samples, the number
            of samples drawn.
        accounted_tensors: what the system's own accounting counts; likewise accounted_releases.
        joint: the accounting composes it with the other releases of the same data.
        charged: the accounting counts it at all.
        sampled: it sees the sample of [sampling] only, not all records.
        public_content: it holds nothing private; it may go without noise.
        inputs: names of [[component]] that it is computed with.
        score_range: for a choice by noisy scores: the range of the scores, with `chosen` out of
            `dimension`.
        signal_norm: largest norm of what is released, without noise, in `dimension` coordinates.
    """

    name: str
    data: str
    views: tuple[View, ...]
    kind: Kind = "gaussian"
    clip: Clip = "record"
    clip_norm: float | None = None
    clip_set: ClipSet = "ball"
    clips_weights: bool = False
    group_norms: tuple[float, ...] = ()
    budget_shares: tuple[float, ...] = ()
    divisor: float = 1.0
    divisor_source: Source = "public"
    records_per_unit: int | None = None
    assumed_sensitivity: float | None = None
    formula: Formula = "given"
    sigma: float | None = None
    formula_epsilon: float | None = None
    formula_releases: int = 1
    pure_epsilon: float | None = None
    tensors: int = 1
    releases: int = 1
    accounted_tensors: int | None = None
    accounted_releases: int | None = None
    joint: bool = True
    charged: bool = True
    sampled: bool = False
    inputs: tuple[str, ...] = ()
    public_content: bool = False
    score_range: float | None = None
    chosen: int | None = None
    dimension: int | None = None
    signal_norm: float | None = None
    note: str = ""
    refs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = f"release {self.name!r}: "
        numbers = {
            "clip_norm": self.clip_norm,
            "divisor": self.divisor,
            "assumed_sensitivity": self.assumed_sensitivity,
            "sigma": self.sigma,
            "formula_epsilon": self.formula_epsilon,
            "pure_epsilon": self.pure_epsilon,
            "score_range": self.score_range,
            "signal_norm": self.signal_norm,
        }
        for name, value in numbers.items():
            if value is not None:
                check.positive(**{where + name: value})
        counts = {
            "tensors": self.tensors,
            "releases": self.releases,
            "formula_releases": self.formula_releases,
            "accounted_tensors": self.accounted_tensors,
            "accounted_releases": self.accounted_releases,
            "records_per_unit": self.records_per_unit,
            "chosen": self.chosen,
            "dimension": self.dimension,
        }
        for name, count in counts.items():
            if count is not None:
                check.count(**{where + name: count})
        for name, values in (("group_norms", self.group_norms), ("shares", self.budget_shares)):
            for value in values:
                check.positive(**{where + name: value})
        self._check_needs(where)

    def _check_needs(self, where: str) -> None:
        needs: list[str] = []
        if self.kind == "gaussian":
            needs += ["assumed_sensitivity"]
            needs += ["sigma"] if self.formula == "given" else ["formula_epsilon"]
            needs += ["clip_norm"] if self.clip != "none" and not self.group_norms else []
        if self.kind == "pure":
            needs += ["pure_epsilon"]
        missing = [name for name in needs if getattr(self, name) is None]
        if missing:
            raise ParameterError(f'{where}kind = "{self.kind}" needs {", ".join(missing)}')
        if self.kind == "gaussian" and self.clip_set != "ball" and not self.group_norms:
            raise ParameterError(f'{where}clip_set = "{self.clip_set}" needs group_norms')
        if self.budget_shares:
            check.same_length(
                **{where + "group_norms": self.group_norms, "budget_shares": self.budget_shares}
            )
            if math.fsum(self.budget_shares) <= 0.0:
                raise ParameterError(f"{where}budget_shares must add up to more than 0")
        if not self.views:
            raise ParameterError(f"{where}views is empty; say who sees it, of {', '.join(VIEWS)}")


@dataclass(frozen=True, kw_only=True)
class Component:
    """[[component]]: a model part or buffer that a release is computed with.

    `trained_on`: "public" data, "noised" outputs of accounted releases, a mechanism that is itself
    "accounted", or "private" records without noise.
    """

    name: str
    trained_on: Source
    note: str = ""
    refs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """[[parameter]]: a number or set that shapes a release; `source` as for a component.

    Attributes:
        noise_count: the noise is scaled by 1/count, so that the noise shows the count.
        dimension: coordinates in which it shows.
    """

    name: str
    source: Source
    note: str = ""
    noise_count: int | None = None
    dimension: int | None = None
    refs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
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
    """[tuning]: on what parameters and the reported model were chosen."""

    tuned_on: Literal["not stated", "nothing", "public", "private"] = "not stated"
    charged: bool = False
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


@dataclass(frozen=True, kw_only=True)
class Opening:
    """[[mpc.opened]]: a value that is opened.

    Attributes:
        to: "client": the one whose input it is about; "members" of its cluster; "server"; "all".
        per_client: how many such values about one client the reader gets in all.
        per_slice: the reader sees one value a slice, or the whole product polynomial.
        protected: a noised [[release]] stands between it and the inputs.
    """

    value: str
    kind: Literal["distance", "assignment", "size", "centre", "aggregate", "served", "schedule"]
    to: Literal["client", "members", "server", "all"]
    per_client: int = 0
    per_slice: bool = False
    protected: bool = False
    refs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Mpc:
    """[mpc]: a computation on secret shares (polynomial sharing, degree slices + colluders - 1)."""

    clients: int
    slices: int
    colluders: int
    dropouts: int
    prime: int
    fraction_bits: int
    coordinate_bound: float
    dimension: int
    bound_source: Source = "not stated"
    masks: Literal["not stated", "field", "real", "reused"] = "not stated"
    basis: Literal["not stated", "public", "pooled", "per-client"] = "not stated"
    min_cluster: int = 1
    zero_sharing: bool = False
    headroom_checked: bool = False
    membership_changes: bool = False
    byzantine: Literal["not stated", "out-of-model", "checked"] = "not stated"
    compared_with_dp: bool = False
    opened: tuple[Opening, ...] = ()
    refs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check.count(
            **{
                "mpc.clients": self.clients,
                "mpc.slices": self.slices,
                "mpc.colluders": self.colluders,
                "mpc.dimension": self.dimension,
                "mpc.min_cluster": self.min_cluster,
                "mpc.prime": self.prime,
            }
        )
        check.whole(**{"mpc.dropouts": self.dropouts, "mpc.fraction_bits": self.fraction_bits})
        check.positive(**{"mpc.coordinate_bound": self.coordinate_bound})
        if self.fraction_bits > 256:
            raise ParameterError(f"mpc.fraction_bits must be at most 256, not {self.fraction_bits}")


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """The whole file."""

    title: str
    system: str = NOT_STATED
    mode: str = NOT_STATED
    source: str = NOT_STATED
    claim: Claim
    sampling: Sampling = Sampling()
    randomness: Randomness = Randomness()
    tuning: Tuning = Tuning()
    conduct: Conduct = Conduct()
    release: tuple[Release, ...] = ()
    component: tuple[Component, ...] = ()
    parameter: tuple[Parameter, ...] = ()
    state: tuple[State, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    statement: tuple[Statement, ...] = ()
    mpc: Mpc | None = None

    def __post_init__(self) -> None:
        names = [r.name for r in self.release]
        doubled = sorted({n for n in names if names.count(n) > 1})
        if doubled:
            raise ParameterError(f"two releases are named {doubled[0]!r}; names must differ")
        known = [c.name for c in self.component]
        for release in self.release:
            for name in release.inputs:
                if name not in known:
                    raise ParameterError(
                        f"release {release.name!r}: inputs must be "
                        f"{check.suggest(name, known) if known else 'declared as [[component]]'}"
                    )
        if self.claim.kind == "dp" and not self.release:
            raise ParameterError("a claim of differential privacy needs at least one [[release]]")

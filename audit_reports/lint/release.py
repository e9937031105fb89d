"""`Release`: what leaves a client, how it is clipped and noised, and what its accounting counts."""

import math
from dataclasses import dataclass
from typing import Literal

from ...accountant import check
from ...accountant.errors import ParameterError
from .sections import VIEWS, View

PUBLIC = "public"  # the data of a release that reads no private record

Kind = Literal["gaussian", "pure", "none"]
Clip = Literal["record", "batch", "upload", "none"]
ClipSet = Literal["ball", "groups", "both", "ellipsoid"]
Formula = Literal["given", "classical", "moments", "rdp", "exact"]
NoiseShape = Literal["isotropic", "radii"]
Divisor = Literal["not stated", "public", "noised", "private"]

# What only another kind has.
_GAUSSIAN_ONLY = ("sigma", "formula_epsilon", "group_norms", "budget_shares", "signal_norm")
_PURE_ONLY = ("pure_epsilon", "score_range", "chosen", "answers", "keep_probability")
_OTHERS = {
    "gaussian": _PURE_ONLY,
    "pure": _GAUSSIAN_ONLY,
    "none": (*_GAUSSIAN_ONLY, *_PURE_ONLY, "assumed_sensitivity"),
}
_OF_A_SUM = {
    "clip": "record",
    "clip_norm": None,
    "clips_weights": False,
    "divisor": 1.0,
    "divisor_source": "public",
}


@dataclass(frozen=True, kw_only=True)
class Release:
    """[[release]]: something that leaves a client, or is computed from what leaves it.

    Attributes:
        data: the records that it reads, by a name; releases with the same name read the same.
            "public" if it reads none.
        views: who sees it.
        kind: "gaussian" noise, "pure" (an (epsilon, 0)-DP mechanism), or "none": no noise.
        clip: what is clipped before it is summed: each "record", the mean of a "batch", the whole
            "upload" of a client, or nothing.
        clip_norm: bound of the clip: in L2 for kind "gaussian", in L1 for kind "pure".
        clips_weights: weights are clipped, not their change.
        clip_set: "ball" of `clip_norm`; "groups", each of `group_norms` by itself; "both"; or the
            "ellipsoid" sum (norm of group g)^2/r_g^2 <= 1 with radii `group_norms`. Groups without
            `budget_shares` and ellipsoids have no `clip_norm`.
        budget_shares: of each group; its noise is sigma times its sensitivity over their root.
        noise_shape: of the noise on an ellipsoid: "isotropic", or "radii": group g has stddev
            sigma * assumed_sensitivity * r_g, so that assumed_sensitivity counts radii.
        divisor: what the sum is divided by after the clip, the smallest if it varies;
            `divisor_source` says where that number comes from. For uploads with noise of their own
            (trust "local-noise") and for clipped batches only a divisor below 1 counts.
        records_per_unit: how many records of one unit enter a release (for clip "upload": how many
            uploads of one user); needed for a client or user.
        assumed_sensitivity: what the noise is scaled to: stddev = sigma * assumed_sensitivity, or
            for kind "pure" Laplace noise of scale assumed_sensitivity / pure_epsilon.
        formula: where sigma comes from, with `formula_epsilon`, `formula_releases`; or "given".
        pure_epsilon: of one release of kind "pure", as its accounting has it. What bounds it is one
            of: a clip, with `assumed_sensitivity`; a choice, with `score_range` and `chosen`; kept
            answers, with `answers` and `keep_probability`.
        score_range: of the scores of a choice, a clamp; Laplace noise of scale
            2 * chosen * score_range / pure_epsilon is added, unless `assumed_sensitivity` says
            otherwise, and the `chosen` best of `dimension` are named.
        answers: how many different answers randomised response knows; the true one is kept with
            `keep_probability`, else each other one is as likely.
        tensors: releases of this form from the same records at the same time.
        releases: at most so many times does one unit take part; with Poisson samples, the number
            of samples drawn.
        rounds: rounds of [sampling] in which it is made; all of them if left out. 0: outside of
            them, to pay for tuning or for what is "accounted" (see `paid_by` there).
        per_round: how often one unit takes part in it within such a round.
        accounted_tensors: what the system's own accounting counts; likewise accounted_releases.
        joint: the accounting composes it with the other releases of the same data.
        charged: the accounting counts it at all.
        sampled: it sees the sample of [sampling] only, not all records.
        public_content: it holds nothing private and may go without noise; its data is "public".
        inputs: names of [[component]] that it is computed with.
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
    noise_shape: NoiseShape = "isotropic"
    divisor: float = 1.0
    divisor_source: Divisor = "public"
    records_per_unit: int | None = None
    assumed_sensitivity: float | None = None
    formula: Formula = "given"
    sigma: float | None = None
    formula_epsilon: float | None = None
    formula_releases: int = 1
    pure_epsilon: float | None = None
    score_range: float | None = None
    chosen: int | None = None
    answers: int | None = None
    keep_probability: float | None = None
    tensors: int = 1
    releases: int = 1
    rounds: int | None = None
    per_round: int = 1
    accounted_tensors: int | None = None
    accounted_releases: int | None = None
    joint: bool = True
    charged: bool = True
    sampled: bool = False
    inputs: tuple[str, ...] = ()
    public_content: bool = False
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
            "answers": self.answers,
            "per_round": self.per_round,
            "dimension": self.dimension,
        }
        for name, count in counts.items():
            if count is not None:
                check.count(**{where + name: count})
        if self.rounds is not None:
            check.whole(**{where + "rounds": self.rounds})
        for name, values in (("group_norms", self.group_norms), ("shares", self.budget_shares)):
            for value in values:
                check.positive(**{where + name: value})
        if self.keep_probability is not None:
            check.open_probability(**{where + "keep_probability": self.keep_probability})
        if not self.views:
            raise ParameterError(f"{where}views is empty; say who sees it, of {', '.join(VIEWS)}")
        self._check_kind(where)
        self._check_sets(where)

    @property
    def bound(self) -> Literal["clip", "choice", "answers", "nothing"]:
        """What limits how far one unit can move it."""
        if self.kind == "none":
            return "nothing"
        if self.score_range is not None:
            return "choice"
        if self.answers is not None:
            return "answers"
        is_clipped = self.kind == "gaussian" or self.assumed_sensitivity is not None
        return "clip" if is_clipped else "nothing"

    def _check_kind(self, where: str) -> None:
        """Ask for what the kind needs, and refuse what it would pass over in silence."""
        surplus = [name for name in _OTHERS[self.kind] if getattr(self, name) not in (None, ())]
        missing = [name for name in self._needs() if getattr(self, name) is None]
        wrong = [f"needs {', '.join(missing)}"] if missing else []
        if self.formula == "given" and self.formula_releases != 1:
            surplus.append('formula_releases (formula = "given" computes nothing)')
        wrong += [f"does not go with {', '.join(surplus)}"] if surplus else []
        if wrong:
            raise ParameterError(f'{where}kind = "{self.kind}" {", and ".join(wrong)}')
        if self.kind == "gaussian":
            unused = "sigma" if self.formula != "given" else "formula_epsilon"
            if getattr(self, unused) is not None:
                raise ParameterError(
                    f'{where}formula = "{self.formula}" does not go with {unused}: sigma is either '
                    'given, with formula = "given", or computed from formula_epsilon'
                )

    def _needs(self) -> list[str]:
        needs: list[str] = []
        if self.kind == "gaussian":
            needs += ["assumed_sensitivity"]
            needs += ["sigma"] if self.formula == "given" else ["formula_epsilon"]
        if self.kind == "pure":
            needs += ["pure_epsilon"]
            needs += ["chosen"] if self.score_range is not None else []
            needs += ["score_range"] if self.chosen is not None else []
            needs += ["keep_probability"] if self.answers is not None else []
            needs += ["answers"] if self.keep_probability is not None else []
        if self.bound == "clip" and self.clip != "none" and not self.group_norms:
            needs += ["clip_norm"]
        return needs

    def _check_sets(self, where: str) -> None:
        """What the clip set, the choice and the answers ask of each other."""
        if self.kind == "pure":
            self._check_pure(where)
        if self.kind == "gaussian" and self.clip_set != "ball" and not self.group_norms:
            raise ParameterError(f'{where}clip_set = "{self.clip_set}" needs group_norms')
        if self.bound in ("choice", "answers"):
            unused = [name for name, default in _OF_A_SUM.items() if getattr(self, name) != default]
            if unused:
                raise ParameterError(
                    f"{where}{', '.join(unused)}: of a clipped sum, and this is no sum; drop them"
                )
        if self.group_norms and self.clip_set == "ball" and not self.budget_shares:
            raise ParameterError(
                f'{where}group_norms are not used; they go with clip_set "groups", "both" or '
                '"ellipsoid", or with budget_shares'
            )
        if self.budget_shares and self.clip_set == "ellipsoid":
            raise ParameterError(
                f"{where}budget_shares do not go with an ellipsoid; its noise is isotropic, or "
                'follows the radii with noise_shape = "radii"'
            )
        if self.noise_shape == "radii" and self.clip_set != "ellipsoid":
            raise ParameterError(
                f'{where}noise_shape = "radii" goes with clip_set = "ellipsoid", not with '
                f'"{self.clip_set}"; the noise of groups follows budget_shares'
            )
        bare_groups = self.clip_set == "groups" and not self.budget_shares
        if self.clip_norm is not None and (bare_groups or self.clip_set == "ellipsoid"):
            raise ParameterError(
                f'{where}clip_norm is {self.clip_norm:g}, but with clip_set = "{self.clip_set}" '
                "group_norms alone bound the clip; drop clip_norm"
                + (', or write clip_set = "both"' if bare_groups else "")
            )
        if self.budget_shares:
            check.same_length(
                **{where + "group_norms": self.group_norms, "budget_shares": self.budget_shares}
            )
            if math.fsum(self.budget_shares) <= 0.0:
                raise ParameterError(f"{where}budget_shares must add up to more than 0")

    def _check_pure(self, where: str) -> None:
        if self.formula != "given" or self.clip_set != "ball":
            raise ParameterError(
                f'{where}formula and clip_set go with kind = "gaussian"; a pure release is clipped '
                "to one bound in L1"
            )
        if self.score_range is not None and self.answers is not None:
            raise ParameterError(
                f"{where}give a choice (score_range, chosen) or kept answers (answers, "
                "keep_probability), not both"
            )
        if self.answers is not None and self.assumed_sensitivity is not None:
            raise ParameterError(
                f"{where}kept answers have no noise; drop assumed_sensitivity, or answers"
            )
        if self.answers is not None and self.answers < 2:
            raise ParameterError(f"{where}answers must be at least 2, but is {self.answers}")
        if self.chosen is not None and self.dimension is not None and self.chosen > self.dimension:
            raise ParameterError(
                f"{where}{self.chosen} are chosen out of dimension = {self.dimension}; chosen must "
                "not be larger"
            )

"""LiRA: how likely is the target's answer under models with the record, and under models without?

For each record the log odds phi of the references are taken as Gaussian, apart for those that were
trained on it and those that were not; the score is the log likelihood ratio. Source: Carlini et
al., arXiv:2112.03570, sections V and VI.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError
from .outputs import Answers, References
from .signals import Moments, against_references, chosen, margin

Mode = Literal["online", "offline"]
MODES: tuple[Mode, ...] = ("online", "offline")
FLOOR = 1e-6  # added to each variance: references may agree to the last bit


@dataclass(frozen=True, kw_only=True, eq=False)
class Lira:
    """Likelihood ratio of two Gaussians (online), or distance from one of them (offline).

    Online: ln N(phi; in) - ln N(phi; out). Offline: (phi - mean_out) / sd_out, by references that
    were trained without the record; the others are not looked at.

    Spread: with fewer than `per_record_from` references the variance about each record's own mean,
    pooled over all records; otherwise each record's own. Both are unbiased, plus 1e-6.

    A record for which one side is missing among the references (with 4 of them and fair coins: one
    record in 8) still gets a score. Online, the missing mean is the other side's, shifted by the
    records' mean difference; offline, it is the mean over the other records. Both ways the variance
    grows by how much records differ in that. A side with one reference takes the pooled variance.

    One answer a record. The paper's best numbers on images ask about several augmented copies of
    each and take the signals as one Gaussian vector; that is not done here.

    Attributes:
        references: models of the adversary's own.
        mode: "online" needs references with the record too, hence trainings after the candidates
            are known.
        per_record_from: number of references from which each record has its own variance.

    Raises:
        ParameterError: an unknown mode, or per_record_from is not a whole number >= 1.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("querier", "outsider", "peer", "server")
    needs: ClassVar[tuple[str, ...]] = (
        "the record and its label",
        "logits or probabilities",
        "data of the same kind",
        "the training recipe",
    )
    cost: ClassVar[str] = "64 to 256 trainings online, 16 to 128 offline; 1 query a record"
    source: ClassVar[str] = "Carlini et al., arXiv:2112.03570, sections V and VI"
    references: References
    mode: Mode = "online"
    per_record_from: int = 64

    def __post_init__(self) -> None:
        check.one_of(MODES, mode=self.mode)
        check.count(per_record_from=self.per_record_from)

    def score(self, view: Answers, candidates: Tensor | None = None) -> Tensor:
        """float64[targets, m] for records int64[m], or all; larger means more likely a member.

        Raises:
            DesignError: the references do not fit the view, or are too few to know any spread.
        """
        rule = self._online if self.mode == "online" else self._offline
        return chosen(against_references(view, self.references, margin, rule), candidates)

    def _online(self, own: Tensor, others: Tensor, member: Tensor) -> Tensor:
        inside, outside = Moments.of(others, member), Moments.of(others, ~member)
        gap, differ = mean_gap(inside, outside)
        with_it = _log_density(
            own,
            torch.where(inside.known, inside.mean, outside.mean + gap),
            self._variance(inside, len(others), differ),
        )
        without = _log_density(
            own,
            torch.where(outside.known, outside.mean, inside.mean - gap),
            self._variance(outside, len(others), differ),
        )
        return with_it - without

    def _offline(self, own: Tensor, others: Tensor, member: Tensor) -> Tensor:
        outside = Moments.of(others, ~member)
        typical, differ = outside.between()
        mean = torch.where(outside.known, outside.mean, typical)
        return (own - mean) / self._variance(outside, len(others), differ).sqrt()

    def _variance(self, side: Moments, references: int, if_missing: Tensor) -> Tensor:
        """float64[records]: of a target's signal."""
        variance = side.within().expand(len(side.seen))
        if references >= self.per_record_from:
            own = side.squares / (side.seen - 1).clamp(min=1)
            variance = torch.where(side.seen > 1, own, variance)
        return variance + FLOOR + torch.where(side.known, 0.0, if_missing)


def mean_gap(inside: Moments, outside: Moments) -> tuple[Tensor, Tensor]:
    """float64[] twice: mean and variance of (mean in - mean out), over records with both.

    Raises:
        DesignError: no record has both.
    """
    gaps = (inside.mean - outside.mean)[inside.known & outside.known]
    if len(gaps) == 0:
        raise DesignError(
            "no record has references both with and without it. Train more of them, each on its "
            "own random half of the records, or attack offline."
        )
    return gaps.mean(), gaps.var(correction=0)


def _log_density(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return -0.5 * ((x - mean).square() / variance + variance.log() + math.log(2.0 * math.pi))

"""RMIA: does the target favour this record more than it favours other people's records?

How much likelier the target makes a record than the references do is compared with the same ratio
of records from the population: the score is the share of them that the record dominates. Source:
Zarifzadeh et al., arXiv:2312.03262.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError
from .lira import MODES, Mode
from .outputs import Answers, References
from .population import count_at_most, population_of, sizes_of
from .signals import against_references, chosen, log_probability

NEAR_ONE = -0.5  # ln p from which 1 - p is what is added up: a sum of p would round it away


@dataclass(frozen=True, kw_only=True, eq=False)
class Rmia:
    """Share of population records z with ratio_x >= gamma ratio_z; ratio_x = p(x) / p_mean(x).

    p_mean = (mean_in + mean_out) / 2, of references with the record and without: an equal share of
    both however many there are of each, since p_mean stands for models that had a fair coin for the
    record. Of a kind that is missing the line mean_in = a mean_out + 1 - a says what it would be:
    for all records offline, and online for those with references of one kind only, mean_out not
    below 0. Offline, a record that no reference was trained without takes the mean of mean_out over
    the other records.

    Ratios are kept as logarithms, so that p = 1 - 1e-20 is not 1. A score is a multiple of
    1 / population: to tell records apart at a false-positive rate f, give several / f of them. A
    population record that is scored dominates itself. One answer a record: the paper's best numbers
    on images take a vote of several augmented copies, which is not done here.

    Attributes:
        references: models of the adversary's own; one is enough.
        population: known non-members of each target: int64[z], or bool[targets, records].
        mode: "online" or "offline".
        gamma: > 0; by how much a record must dominate another.
        a: in [0, 1]: 1 if training on a record changes nothing. Not used online for records with
            references of both kinds.
        may_score_population: let candidates be in the population. Mildly optimistic: then the
            adversary is told the membership of some whom it scores.

    Raises:
        ParameterError: one of the last four is outside its range.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("querier", "outsider", "peer", "server")
    needs: ClassVar[tuple[str, ...]] = (
        "the record and its label",
        "logits or probabilities",
        "records of the same kind that were not used",
        "the training recipe",
    )
    cost: ClassVar[str] = "1 to 16 trainings; 1 query a record and one a member of the population"
    source: ClassVar[str] = "Zarifzadeh et al., arXiv:2312.03262, section 3 and appendix B.2"
    references: References
    population: Tensor
    mode: Mode = "online"
    gamma: float = 1.0
    a: float = 0.3
    may_score_population: bool = False

    def __post_init__(self) -> None:
        check.one_of(MODES, mode=self.mode)
        check.positive(gamma=self.gamma)
        check.probability(a=self.a)

    def score(self, view: Answers, candidates: Tensor | None = None) -> Tensor:
        """float64[targets, m] for records int64[m], or all; larger means more likely a member.

        Raises:
            DesignError: references or population do not fit the view, or the population overlaps
                the candidates; offline, all references hold all records.
        """
        populations = population_of(
            self.population,
            *view.logits.shape[:2],
            candidates=candidates,
            may_score=self.may_score_population,
        )
        ratio = against_references(view, self.references, log_probability, self._ratio)
        dominated = count_at_most(ratio, populations, shift=math.log(self.gamma))
        return chosen(dominated / sizes_of(populations, like=ratio), candidates)

    def _ratio(self, own: Tensor, others: Tensor, member: Tensor) -> Tensor:
        """float64[targets, records]: ln ratio."""
        outside, without = _log_mean(others, ~member)
        if self.mode == "online":
            inside, with_it = _log_mean(others, member)
            outside = torch.where(without, outside, self._unlearnt(inside))
            inside = torch.where(with_it, inside, self._learnt(outside))
        else:
            if not bool(without.any()):
                raise DesignError(
                    "every reference was trained on every record, so none says how likely a record "
                    "is to those without it. Train references on random halves, or attack online."
                )
            known = outside[without].unsqueeze(1)
            outside = torch.where(without, outside, _log_mean(known, _all(known))[0])
            inside = self._learnt(outside)
        both = torch.stack([inside, outside])
        return own - _log_mean(both, _all(both))[0]

    def _learnt(self, outside: Tensor) -> Tensor:
        """float64[records]: ln(a p + 1 - a), what references with the record would make of p."""
        share = math.log(self.a) if self.a > 0.0 else -math.inf
        rest = math.log1p(-self.a) if self.a < 1.0 else -math.inf
        low = torch.logaddexp(outside + share, outside.new_tensor(rest))
        return torch.where(outside > NEAR_ONE, (self.a * outside.expm1()).log1p(), low)

    def _unlearnt(self, inside: Tensor) -> Tensor:
        """float64[records]: ln of the p that would become `inside`, or of 0 if none would."""
        if self.a == 0.0:
            return torch.full_like(inside, -math.inf)
        return (inside.expm1() / self.a).clamp(min=-1.0).log1p()


def _all(logs: Tensor) -> Tensor:
    return torch.ones_like(logs, dtype=torch.bool)


def _log_mean(logs: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of probabilities that are given as logarithms.

    Args:
        logs: float64[references, records].
        used: bool[references, records].

    Returns:
        float64[records], ln of the mean, 0 where no reference is used; bool[records], where any is.
    """
    count = used.sum(dim=0, dtype=torch.float64)
    known, each = count > 0, count.clamp(min=1.0)
    mean = logs.masked_fill(~used, -math.inf).logsumexp(dim=0) - each.log()
    near = (logs.expm1().masked_fill(~used, 0.0).sum(dim=0) / each).log1p()
    return torch.where(mean > NEAR_ONE, near, mean).masked_fill(~known, 0.0), known

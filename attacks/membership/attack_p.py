"""Attack-P: is the loss low beside the losses of records that were certainly not used?

The rank calibrates across targets and models, without a single training.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .outputs import Answers
from .population import count_at_most, population_of, sizes_of
from .signals import chosen, log_probability


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackP:
    """One minus the p-value of "no member": the share of the population with a greater loss.

    Of Z known non-members, `#(loss_z > loss_x) / (Z + 1)`. A tie counts against membership, so for
    a non-member that is exchangeable with the population the score exceeds 1 - a with probability
    at most a, exactly, whatever the losses.

    Attributes:
        population: known non-members of each target: int64[z], or bool[targets, records].
        may_score_population: let candidates be in the population. Mildly optimistic: then the
            adversary is told the membership of some whom it scores.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("querier", "outsider", "peer", "server")
    needs: ClassVar[tuple[str, ...]] = (
        "the record and its label",
        "logits or probabilities",
        "records of the same kind that were not used",
    )
    cost: ClassVar[str] = "1 query a record and one a member of the population"
    source: ClassVar[str] = "Ye et al., arXiv:2111.09679, attack P"
    population: Tensor
    may_score_population: bool = False

    def score(self, view: Answers, candidates: Tensor | None = None) -> Tensor:
        """float64[targets, m] for records int64[m], or all; larger means more likely a member.

        Raises:
            DesignError: the population does not fit the view or overlaps the candidates.
        """
        populations = population_of(
            self.population,
            *view.logits.shape[:2],
            candidates=candidates,
            may_score=self.may_score_population,
        )
        loss = -log_probability(view)
        sizes = sizes_of(populations, like=loss)
        return chosen((sizes - count_at_most(loss, populations)) / (sizes + 1.0), candidates)

"""The loss, less what is to be expected of a model that was not trained on the record.

A hard record has a high loss whether it was learnt or not; references that were trained without
it say how hard it is.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .outputs import Answers, References
from .signals import Moments, against_references, chosen, log_probability


@dataclass(frozen=True, kw_only=True, eq=False)
class CalibratedLoss:
    """The references' mean loss minus the target's.

    Only references without the record count. A record that has none is compared with the mean
    over the other records: that is weaker for it, not invalid.

    Attributes:
        references: models of the adversary's own; one may be enough.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("querier", "outsider", "peer", "server")
    needs: ClassVar[tuple[str, ...]] = (
        "the record and its label",
        "logits or probabilities",
        "data of the same kind",
        "the training recipe",
    )
    cost: ClassVar[str] = "1 training or more, 1 query a record and model"
    source: ClassVar[str] = "Watson et al., arXiv:2111.08440, section 4"
    references: References

    def score(self, view: Answers, candidates: Tensor | None = None) -> Tensor:
        """float64[targets, m] for records int64[m], or all; larger means more likely a member.

        Raises:
            DesignError: the references do not fit the view, or all hold all records.
        """
        scores = against_references(view, self.references, log_probability, _difference)
        return chosen(scores, candidates)


def _difference(own: Tensor, others: Tensor, member: Tensor) -> Tensor:
    outside = Moments.of(others, ~member)
    return own - torch.where(outside.known, outside.mean, outside.between()[0])

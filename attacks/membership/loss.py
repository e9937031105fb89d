"""What one answer says by itself: loss, entropy, confidence. No reference, no training.

A model that overfits is surer of what it was trained on. Nothing tells a record that is easy from
one that was learnt, so these are weak where few errors are allowed; they are the baseline.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .outputs import Answers
from .signals import chosen, confidence, log_probability, negative_entropy


@dataclass(frozen=True)
class Loss:
    """Minus the cross-entropy at the true class."""

    adversaries: ClassVar[tuple[str, ...]] = ("querier", "outsider", "peer", "server")
    needs: ClassVar[tuple[str, ...]] = ("the record", "its label", "logits or probabilities")
    cost: ClassVar[str] = "1 query a record"
    source: ClassVar[str] = "Yeom et al., arXiv:1709.01604, section 3.2"

    def score(self, view: Answers, candidates: Tensor | None = None) -> Tensor:
        """float64[targets, m] for records int64[m], or all; larger means more likely a member."""
        return chosen(log_probability(view), candidates)


@dataclass(frozen=True)
class Entropy:
    """Minus the entropy of the answer; for those who do not know the label."""

    adversaries: ClassVar[tuple[str, ...]] = Loss.adversaries
    needs: ClassVar[tuple[str, ...]] = ("the record", "logits or probabilities")
    cost: ClassVar[str] = Loss.cost
    source: ClassVar[str] = "Salem et al., arXiv:1806.01246, section V"

    def score(self, view: Answers, candidates: Tensor | None = None) -> Tensor:
        """float64[targets, m] for records int64[m], or all; larger means more likely a member."""
        return chosen(negative_entropy(view), candidates)


@dataclass(frozen=True)
class Confidence:
    """Log odds of the likeliest class; for those who do not know the label."""

    adversaries: ClassVar[tuple[str, ...]] = Loss.adversaries
    needs: ClassVar[tuple[str, ...]] = ("the record", "the probability of the top class")
    cost: ClassVar[str] = Loss.cost
    source: ClassVar[str] = "Salem et al., arXiv:1806.01246, section V"

    def score(self, view: Answers, candidates: Tensor | None = None) -> Tensor:
        """float64[targets, m] for records int64[m], or all; larger means more likely a member."""
        return chosen(confidence(view), candidates)

"""What membership attacks by queries look at: answers of models, and who was trained on what."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...accountant.errors import DesignError


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Answers of models about records: what a querier of the targets sees.

    Attributes:
        logits: float[models, records, classes].
        labels: int64[records], the records' true classes.

    Raises:
        DesignError: shapes contradict each other, or a logit is NaN or infinite.
    """

    logits: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.logits.ndim != 3 or self.logits.shape[1:2] != self.labels.shape:
            raise DesignError(
                f"logits must be float[models, records, classes] and labels int64[records], but "
                f"their shapes are {tuple(self.logits.shape)} and {tuple(self.labels.shape)}"
            )
        # Model by model: torch.isfinite makes a copy as large as what it looks at.
        if not all(bool(torch.isfinite(each).all()) for each in self.logits):
            raise DesignError("logits hold NaN or infinity; a model that diverged cannot be scored")


@dataclass(frozen=True, kw_only=True, eq=False)
class References:
    """Models that the adversary trained itself, and what each was trained on.

    Attributes:
        answers: of R reference models about the same records as the target's.
        member: bool[R, records]: whether the record was in the training set of the model.
        allowed: bool[targets, R]: which of them may be used against which target; a model is
            never its own reference.

    Raises:
        DesignError: shapes contradict each other, or a target has no reference.
    """

    answers: Answers
    member: Tensor
    allowed: Tensor

    def __post_init__(self) -> None:
        models, records = self.answers.logits.shape[:2]
        if self.member.shape != (models, records) or self.member.dtype != torch.bool:
            raise DesignError(f"member must be bool[{models}, {records}]")
        if self.allowed.ndim != 2 or self.allowed.shape[1] != models:
            raise DesignError(f"allowed must be bool[targets, {models}]")
        if not bool(self.allowed.any(dim=1).all()):
            raise DesignError("a target has no reference model")

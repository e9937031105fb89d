"""Was a record used to tune a released prompt? Its loss, less that under prompts without it.

Idea: the calibrated loss, of a prompt's answers; references are prompts that the adversary tuned by
the same recipe on records of its own, so they say how hard a record is for a tuned prompt. The
untouched prompt ("a photo of a") is a poor reference: it lacks what every tuning teaches, and with
it the score is worse than the loss alone. Adversary: an outsider with the prompt's vectors, the
public dual encoder and such records; a querier has the loss alone. Where references hold the
candidates too, `leave_one_out` feeds LiRA and RMIA.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant.errors import DesignError
from ..membership.calibrated import CalibratedLoss
from ..membership.outputs import References
from .released import Records, Released


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptMembership:
    """Was a record used to tune a released prompt? Its loss, less that under prompts without it.

    Attributes:
        references: prompts that the adversary tuned itself, none of them on a candidate.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("outsider",)
    needs: ClassVar[tuple[str, ...]] = (
        "the prompt's vectors",
        "the public dual encoder",
        "records of the same kind",
        "the training recipe",
    )
    cost: ClassVar[str] = "some tunings of a prompt, once for all targets and candidates"
    source: ClassVar[str] = "Watson et al., arXiv:2111.08440; for prompts, arXiv:2310.11970"
    references: Released

    def score(self, view: Released, candidates: Records) -> Tensor:
        """float64[targets, m]: mean loss under the references minus loss under the prompt."""
        count = len(self.references)
        references = References(
            answers=self.references.answers(candidates),
            member=torch.zeros(count, len(candidates.y), dtype=torch.bool),
            allowed=torch.ones(len(view), count, dtype=torch.bool),
        )
        return CalibratedLoss(references=references).score(view.answers(candidates))


def leave_one_out(shadows: Released, member: Tensor, records: Records) -> References:
    """Shadow prompts as each other's references.

    Args:
        shadows: R prompts that the adversary tuned itself.
        member: bool[R, records]: what each was tuned on.
        records: the candidates.

    Raises:
        DesignError: fewer than two shadows.
    """
    if len(shadows) < 2:
        raise DesignError("a shadow prompt is never its own reference; give at least two")
    allowed = ~torch.eye(len(shadows), dtype=torch.bool)
    return References(answers=shadows.answers(records), member=member, allowed=allowed)

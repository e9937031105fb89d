"""Was a record used to tune a released prompt? Its loss falls from a reference prompt to this one.

Adversary: an outsider with the prompt's vectors and the public dual encoder; or a querier that gets
logits, with the loss alone. The reference is an untouched prompt ("a photo of a"), or one that the
adversary tuned on records of its own: it takes out how easy a record is. Calibration per record
needs shadow prompts: `Released.answers` feeds them to LiRA and RMIA.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant.errors import DesignError
from ..membership.outputs import References
from .released import Records, Released, losses


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptMembership:
    """See the module.

    Attributes:
        reference: prompts that did not see the candidates; their mean loss is the reference.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("outsider",)
    needs: ClassVar[tuple[str, ...]] = ("the prompt's vectors", "the public dual encoder")
    cost: ClassVar[str] = "one answer per candidate of the target and of the reference"
    source: ClassVar[str] = "loss difference; for prompts, arXiv:2310.11970"
    reference: Released

    def score(self, view: Released, candidates: Records) -> Tensor:
        """float64[targets, m]: loss under the reference minus loss under the prompt."""
        plain = losses(self.reference.answers(candidates)).mean(dim=0)
        return plain - losses(view.answers(candidates))


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

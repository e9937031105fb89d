"""Distance to the prototype: a member pulls its class mean towards itself.

The weak and usual attack: it knows the candidate and the public encoder, and nothing about the
other records. Source: the membership option of the VPDR code (arXiv:2604.27833).
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...fl_core.transcript import View
from .observed import observed_prototype


@dataclass(frozen=True, kw_only=True)
class PrototypeDistance:
    """Minus the distance between a candidate's features and the noisy prototype of its class.

    Attributes:
        candidates: float64[trials, dim], the record in question in each trial.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider")
    candidates: Tensor

    def score(self, view: View) -> Tensor:
        """float64[trials]; larger means more likely a member."""
        gap: Tensor = (self.candidates - observed_prototype(view)).norm(dim=-1)
        return -gap

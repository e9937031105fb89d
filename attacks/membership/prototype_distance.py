"""Distance to the prototype: a member pulls its class mean towards itself.

The weak and usual attack: it knows the candidate and the public encoder, and nothing about the
other records. Source: the membership option of the VPDR code (arXiv:2604.27833).
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...fl_core.transcript import View
from .observed import observed_prototype, require_vectors


@dataclass(frozen=True, kw_only=True)
class PrototypeDistance:
    """Minus the distance between a candidate's features and the noisy prototype of its class."""

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider")
    needs: ClassVar[tuple[str, ...]] = ("the public encoder",)
    cost: ClassVar[str] = "one distance per trial"
    source: ClassVar[str] = "membership option of the VPDR code, arXiv:2604.27833"

    def score(self, view: View, candidates: Tensor) -> Tensor:
        """float64[..., trials]; larger means more likely a member.

        Args:
            view: of one class.
            candidates: float64[..., dim], features of the record in question: [trials, dim], or
                [m, 1, dim] to ask every trial for each of m.

        Raises:
            DesignError: the view holds several classes, or vectors of another length are given.
        """
        seen = observed_prototype(view)
        require_vectors(seen.shape[-1], candidates=candidates)
        gap: Tensor = (candidates - seen).norm(dim=-1)
        return -gap

"""Client-level canary: the cosine of what moved with an update that a planted client sends.

A canary client sends a random direction of full length. With it in the run, updates have a larger
cosine with that direction than with directions that nobody sent, whose cosines are N(0, 1/d) and
give the null. Source: Andrew et al., arXiv:2302.03098 (the last model; all iterates: the maximum
over rounds). The mean over rounds is nearer to the likelihood ratio where a canary sends in every
round.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError
from .updates import Updates

Over = Literal["mean", "max", "final"]


@dataclass(frozen=True, kw_only=True, eq=False)
class UpdateCosine:
    """Cosine of a canary update with what moved, over rounds.

    Attributes:
        over: "mean" or "max" over rounds, or "final": of the last model minus the first.
        client: whose uploads are looked at (server); None for the steps of the model.
        unused: float64[k, d], k >= 2 directions drawn as the canaries were and sent by nobody:
            scores are then standardised by mean and standard deviation of theirs, run by run.
            None: plain cosines.

    Raises:
        DesignError: fewer than two unused directions, or a client's uploads over "final".
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider")
    needs: ClassVar[tuple[str, ...]] = (
        "to plant a client that sends a chosen update",
        "the model of every round (outsider: the first and the last)",
    )
    cost: ClassVar[str] = "one inner product per canary and round; one run serves many canaries"
    source: ClassVar[str] = "Andrew et al., arXiv:2302.03098"

    over: Over = "mean"
    client: int | None = None
    unused: Tensor | None = None

    def __post_init__(self) -> None:
        check.one_of(("mean", "max", "final"), over=self.over)
        if self.unused is not None and (self.unused.ndim != 2 or len(self.unused) < 2):
            raise DesignError("unused must be float64[k, d] with k >= 2, for a standard deviation")
        if self.client is not None and self.over == "final":
            raise DesignError('over="final" looks at models, not at the uploads of one client')

    def score(self, view: Updates, candidates: Tensor) -> Tensor:
        """float64[trials, m]: of each canary direction, float64[m, d].

        Raises:
            DesignError: the view lacks what is looked at, or the directions do not fit.
        """
        found = self._statistic(view, candidates)
        if self.unused is None:
            return found
        null = self._statistic(view, self.unused)
        spread = null.std(dim=1, keepdim=True)
        if not bool((spread > 0).all()):
            raise DesignError("all unused directions have the same cosine in some run")
        return (found - null.mean(dim=1, keepdim=True)) / spread

    def per_round(self, view: Updates, candidates: Tensor) -> Tensor:
        """float64[trials, rounds, m]: plain cosines; 0 where nothing moved."""
        return _cosines(view.moves(self.client, "update_cosine"), candidates)

    def _statistic(self, view: Updates, directions: Tensor) -> Tensor:
        if self.over == "final":
            if not view.rounds:
                raise DesignError('over="final" needs the first model, too')
            moved = view.models[:, -1:] - view.models[:, :1]
            return _cosines(moved, directions)[:, 0]
        each = self.per_round(view, directions)
        return each.mean(dim=1) if self.over == "mean" else each.amax(dim=1)


def _cosines(moves: Tensor, directions: Tensor) -> Tensor:
    """float64[trials, rounds, m]."""
    if directions.ndim != 2 or directions.shape[1] != moves.shape[2]:
        raise DesignError(
            f"directions must be float64[m, {moves.shape[2]}], but have the shape "
            f"{list(directions.shape)}"
        )
    lengths = directions.norm(dim=1)
    if not bool((lengths > 0).all()):
        raise DesignError("a direction of length zero has no cosine")
    sizes = moves.norm(dim=2, keepdim=True)
    found = moves @ (directions / lengths.unsqueeze(1)).mT
    return torch.where(sizes > 0, found / sizes.clamp(min=torch.finfo(sizes.dtype).tiny), 0.0)

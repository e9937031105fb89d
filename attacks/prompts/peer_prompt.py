"""The other clients' prompts from what a peer is sent: the shared prompt before and after a round.

Idea: the server's rule is public and, for averaging with or without momentum, linear; undone, two
(three) successive broadcasts give the sum of a round's uploads. The peer subtracts its own. What is
left is the one other client's change, or the mean of several. Adversary: a peer, alone or with
colluders.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError


@dataclass(frozen=True, kw_only=True, eq=False)
class Broadcasts:
    """What a peer saw and did: one row per trial.

    Attributes:
        prompts: float[trials, rounds + 1, dim]: the shared (or cluster's) prompt before each round
            and after the last; from the first round on.
        own: float[trials, rounds, colluders, dim]: the uploads of the peer and its colluders.

    Raises:
        DesignError: shapes contradict each other.
    """

    prompts: Tensor
    own: Tensor

    def __post_init__(self) -> None:
        trials, steps, dim = self.prompts.shape
        if steps < 2 or self.own.ndim != 4 or self.own.shape[:2] != (trials, steps - 1) or (
            self.own.shape[3] != dim
        ):  # fmt: skip
            raise DesignError(
                f"prompts {list(self.prompts.shape)} and own {list(self.own.shape)} must be "
                "[trials, rounds + 1, dim] and [trials, rounds, colluders, dim]"
            )


@dataclass(frozen=True, kw_only=True)
class PeerPrompt:
    """The other clients' prompts from the shared prompt that a peer is sent, before and after.

    Attributes:
        clients: that upload in each round, colluders included.
        divisor: of the sum, public; `clients` for a mean.
        learning_rate: of the server, > 0.
        momentum: of the server: m = momentum * m + mean change, from zero.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("peer",)
    needs: ClassVar[tuple[str, ...]] = ("successive broadcasts", "its own uploads", "the divisor")
    cost: ClassVar[str] = "one subtraction a round"
    source: ClassVar[str] = "inverse of FedAvg and FedAvgM (arXiv:1909.06335)"
    clients: int
    divisor: float
    learning_rate: float = 1.0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        check.count(clients=self.clients)
        check.positive(divisor=self.divisor, learning_rate=self.learning_rate)
        check.non_negative(momentum=self.momentum)

    def reconstruct(self, view: Broadcasts) -> Tensor:
        """float64[trials, rounds, dim]: the other clients' mean prompt after local training."""
        prompts = view.prompts.to(torch.float64)
        return prompts[:, :-1] + self.changes(view)

    def changes(self, view: Broadcasts) -> Tensor:
        """float64[trials, rounds, dim]: the mean upload of the others.

        Raises:
            DesignError: everybody colludes.
        """
        others = self.clients - view.own.shape[2]
        if others < 1:
            raise DesignError(f"all {self.clients} clients collude: nobody is left to attack")
        moves = view.prompts.to(torch.float64).diff(dim=1) / self.learning_rate
        before = torch.cat([torch.zeros_like(moves[:, :1]), moves[:, :-1]], dim=1)
        totals = self.divisor * (moves - self.momentum * before)
        return (totals - view.own.to(torch.float64).sum(dim=2)) / others

    def score(self, view: Broadcasts, candidates: Tensor) -> Tensor:
        """float64[trials, M]: how well a client's prompts of all rounds match.

        Args:
            view: of the peer.
            candidates: float[trials, M, rounds, dim].
        """
        found = self.reconstruct(view).unsqueeze(1)
        return -(candidates.to(torch.float64) - found).square().sum(dim=(2, 3))

"""Algorithms of the runs that federated attacks look at: a malicious server, a canary, prompts."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...attacks.membership.gradient_ascent import GradientAscent
from ...attacks.membership.updates import Records
from ...fl_core.algorithms.base import Received, State
from ...fl_core.algorithms.fedavg import FedAvg
from ...fl_core.clients import ClientData
from ...fl_core.kernels.base import Params
from ...mechanisms.base import Key


@dataclass(frozen=True, kw_only=True, eq=False)
class Ascending(FedAvg):
    """A malicious server that ascends on one record in each replica before it sends a model."""

    attack: GradientAscent
    records: Records

    def start(self, replicas: Tensor, key: Key) -> State:
        """The first model, ascended."""
        return self.attack.ascend(super().start(replicas, key), self.records)

    def serve(self, state: State, received: Received, *, round: int, key: Key) -> State:
        """The next one, likewise."""
        honest = super().serve(state, received, round=round, key=key)
        return self.attack.ascend(honest, self.records)


@dataclass(frozen=True, kw_only=True, eq=False)
class WithCanary(FedAvg):
    """One client sends a fixed direction in some replicas, and nothing in the others."""

    canary: int
    direction: Tensor
    present: Tensor  # bool[replicas]

    def update(
        self,
        received: Mapping[str, Tensor],
        personal: Params,
        data: ClientData,
        *,
        round: int,
        key: Key,
    ) -> tuple[Tensor, Params]:
        """As FedAvg, but for that client."""
        uploads, kept = super().update(received, personal, data, round=round, key=key)
        canary = data.clients == self.canary
        there = self.present[data.replicas[canary]].to(uploads).unsqueeze(1)
        uploads[canary] = there * self.direction.to(uploads)
        return uploads, kept


class PromptPool(nn.Module):
    """Frozen features, and a prompt for each: the one whose key is nearest by cosine.

    Keys and head are the server's and stay as they are; clients train the prompts.
    """

    def __init__(self, keys: Tensor, classes: int, seed: int) -> None:
        super().__init__()
        slots, dim = keys.shape
        generator = torch.Generator().manual_seed(seed)
        head = torch.randn(dim, classes, generator=generator) / dim**0.5
        self.keys = nn.Parameter(nn.functional.normalize(keys, dim=1), requires_grad=False)
        self.head = nn.Parameter(head, requires_grad=False)
        self.prompts = nn.Parameter(torch.zeros(slots, dim))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """float[batch, dim] to logits."""
        match = x @ self.keys.mT.to(x.dtype)
        chosen = (match == match.amax(dim=-1, keepdim=True)).to(x)
        found: Tensor = (x + chosen @ self.prompts) @ self.head.to(x.dtype)
        return found

"""DP-FPL, sound: each example's prompt gradient clipped once, noise at the client, own state.

A client's context is p_G + p_L, a shared and a personal prompt. In every step it takes the next
batch of its epoch, releases one noisy mean gradient G (`mechanisms.prompt.PromptGradients`), and
moves p_L by the projection of G on the tangent space of the refactored p_L. The server averages
and moves p_G. Refactoring, projection, momentum and decay are post-processing: p_L begins at random
and only ever sees noisy gradients. A round of the federation is one batch of everybody.
Source: Tran et al., arXiv:2501.13904; the sound variants are derived from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ConfigError
from ...mechanisms.base import Key
from ...mechanisms.prompt import (
    Factors,
    PromptGradients,
    joint_gradients,
    rebuild,
    refactor,
    split_joint,
)
from ..clients import ClientData
from ..counters import Counter
from ..kernels.base import Params, cross_entropy
from ..kernels.prompts import Prompts, one_context
from ..models.text_tower import ClassText
from ..row_key import of_rows
from .base import Received, State
from .noise_inside import NoiseInside


@dataclass(frozen=True, kw_only=True, eq=False)
class DpFpl:
    """The algorithm; run `federation.run` for `epochs * batches` rounds.

    Attributes:
        text: the classes; its length and width are those of the prompts.
        scale: of the cosines.
        mechanism: clip bound, noise and batch size.
        batches: of an epoch, public: the same for all clients, whatever they hold. Records beyond
            them wait for another epoch; a client that runs out releases noise.
        clients: public divisor of the mean.
        rank: of the refactoring.
        variant: "flat" clips and noises G alone and computes the factors' gradients from it;
            "joint" clips and noises all three together.
        residual: False uses the best approximation of p_L of that rank: DP-LoRA prompts. In the
            released row all singular values are 1, so that the magnitude of p_L is lost.
        noise: False is the positive control: clipped, not noised, and without any guarantee.
        learning_rate, momentum, weight_decay: of both prompts.
        stddev: of the first prompts.
    """

    text: ClassText
    scale: float
    mechanism: PromptGradients
    batches: int
    clients: int
    rank: int = 8
    variant: Literal["flat", "joint"] = "flat"
    residual: bool = True
    noise: bool = True
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    stddev: float = 0.02

    def __post_init__(self) -> None:
        check.count(batches=self.batches, clients=self.clients, rank=self.rank)
        check.one_of(("flat", "joint"), variant=self.variant)
        check.positive(learning_rate=self.learning_rate)
        check.probability(momentum=self.momentum, weight_decay=self.weight_decay)

    @property
    def kernel(self) -> Prompts:
        """The whole context as one parameter."""
        form = one_context(self.text.length, self.text.tower.width)
        return Prompts(text=self.text, form=form, scale=self.scale, stddev=self.stddev)

    @property
    def upload_shape(self) -> tuple[int, ...]:
        """A gradient of the context."""
        return (self.text.length, self.text.tower.width)

    @property
    def keeps_rows(self) -> bool:
        """A sum is enough."""
        return False

    @property
    def weights_are_public(self) -> bool:
        """Every client counts the same."""
        return True

    @property
    def takes_noisy_sums(self) -> bool:
        """The divisor is public."""
        return True

    def protection(self, release: str = "prompt gradients") -> NoiseInside:
        """The account: an epoch is in the ledger before its first batch leaves.

        An example is in at most one batch of an epoch; zero-out or replace-one.

        Raises:
            ConfigError: noise is off.
        """
        if not self.noise:
            raise ConfigError("noise is off, so nothing is proven.\n  Run it without protection.")
        return NoiseInside(event=self.mechanism.event(), release=release, period=self.batches)

    def start(self, replicas: Tensor, key: Key) -> State:
        """The shared prompt and its momentum."""
        shared = self._drawn(key, "shared prompt", torch.zeros_like(replicas), replicas)
        return {"shared": shared, "momentum": torch.zeros_like(shared)}

    def personal(self, data: ClientData, key: Key) -> Params:
        """Personal prompt, its momentum, and the order of the epoch."""
        own = self._drawn(key, "personal prompt", data.clients, data.replicas)
        order = torch.zeros_like(data.index)
        return {"own": own, "own_momentum": torch.zeros_like(own), "order": order}

    def broadcast(self, state: State) -> State:
        """The shared prompt."""
        return {"shared": state["shared"]}

    def weights(self, data: ClientData) -> Tensor:
        """All equal."""
        return torch.ones_like(data.lengths, dtype=torch.float64)

    def update(
        self,
        received: Mapping[str, Tensor],
        personal: Params,
        data: ClientData,
        *,
        round: int,
        key: Key,
    ) -> tuple[Tensor, Params]:
        """One batch: release the noisy gradient, and move the personal prompt by it."""
        epoch, batch = divmod(round, self.batches)
        order, own = personal["order"], personal["own"]
        if batch == 0:  # kept, not drawn again: a fresh order would repeat records in an epoch
            counter = Counter.of(key, "order", round=epoch)
            turn = counter.order(data.clients, data.replicas, data.lengths)
            place = torch.arange(turn.shape[1], device=turn.device)
            turn = turn.masked_fill(place >= data.lengths.unsqueeze(1), 0)  # in any chunk alike
            order = torch.nn.functional.pad(turn, (0, order.shape[1] - turn.shape[1]))
        factors = refactor(own, self.rank, of_rows(key.child("refactor"), data, round))
        each = self._gradients(received["shared"] + self._used(own), data, order, batch)
        noisy = self._released(each, factors, of_rows(key.child("gradient noise"), data, round))
        if self.variant == "joint":
            whole, left, right = split_joint(noisy, factors)
        else:
            whole = noisy.unflatten(-1, self.upload_shape)
            left, right = whole @ factors.v.mT, factors.u.mT @ whole
        step = rebuild(left, right, factors) + self.weight_decay * own
        buffer = self.momentum * personal["own_momentum"] + step
        moved = own - self.learning_rate * buffer
        return whole, {"own": moved, "own_momentum": buffer, "order": order}

    def serve(self, state: State, received: Received, *, round: int, key: Key) -> State:
        """Move the shared prompt by the mean gradient; a missing one counts as zero."""
        assert received.total is not None  # keeps_rows is False
        mean = received.total.view(-1, *self.upload_shape) / self.clients
        shared = state["shared"]
        buffer = self.momentum * state["momentum"] + mean.to(shared) + self.weight_decay * shared
        return {"shared": shared - self.learning_rate * buffer, "momentum": buffer}

    def prompts(self, state: Mapping[str, Tensor], personal: Params, data: ClientData) -> Params:
        """What each row would be served with: parameters of `kernel`, for evaluation."""
        place = torch.searchsorted(data.replicas.unique(sorted=True), data.replicas)
        return {"context": state["shared"][place] + self._used(personal["own"])}

    def _used(self, own: Tensor) -> Tensor:
        """What of the personal prompt, float[rows, length, width], enters the context."""
        if self.residual:
            return own
        u, values, v = torch.linalg.svd(own, full_matrices=False)
        kept: Tensor = (u * values.unsqueeze(-2))[..., : self.rank] @ v[..., : self.rank, :]
        return kept

    def _drawn(self, key: Key, purpose: str, clients: Tensor, replicas: Tensor) -> Tensor:
        return self.kernel.initial(Counter.of(key, purpose), clients, replicas)["context"]

    def _gradients(self, contexts: Tensor, data: ClientData, order: Tensor, batch: int) -> Tensor:
        """float[rows, batch size, length, width]: one per record of the batch, else zero."""
        size = self.mechanism.batch
        place = torch.arange(batch * size, (batch + 1) * size, device=order.device)
        place = place[place < data.index.shape[1]]
        if not len(place):
            return contexts.new_zeros(len(data), 1, *self.upload_shape)
        records = data.index.gather(1, order[:, place])
        weights = (place < data.lengths.unsqueeze(1)).to(contexts)
        found = self.kernel.record_gradients(
            {"context": contexts}, data.x[records], data.y[records], weights, cross_entropy, {}
        )["context"]
        # Not by the weight alone: zero times a gradient that is not finite is none.
        return torch.where(weights[..., None, None] > 0, found, 0.0)

    def _released(self, each: Tensor, factors: Factors, key: Key) -> Tensor:
        """float[rows, dim]: the noisy mean of the clipped gradients."""
        joint = self.variant == "joint"
        rows = joint_gradients(each, factors) if joint else each.flatten(-2)
        if not self.noise:
            return self.mechanism.contribution(rows).sum(dim=-2) / self.mechanism.batch
        return self.mechanism.release(rows, key)


def without_records(data: ClientData) -> ClientData:
    """The same clients holding nothing: runs on it release noise alone, a control."""
    return replace(data, lengths=torch.zeros_like(data.lengths))

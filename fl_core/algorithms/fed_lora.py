"""Federated LoRA: clients train low-rank factors of a frozen model, a server combines them.

An upload is one vector: the change of every factor that is ever trained, of the head and, with
SCAFFOLD, of the control variates. One clip and one noise therefore cover all that leaves. What a
round does not train changes by zero and is ignored by the server.
Sources: arXiv:2509.09097 (DP-FedLoRA); the rules are named in `fed_lora_factors`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal, get_args

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ConfigError
from ...mechanisms.base import Key
from ...mechanisms.lora import trained_factors
from ..clients import ClientData
from ..counters import Counter
from ..kernels.adapters import Adapters
from ..kernels.base import Loss, Params, cross_entropy, flatten, unflatten
from .base import Received, State
from .fed_lora_factors import (
    BY_ROW,
    Aggregation,
    combined,
    cut_ranks,
    factor_of,
    folded_name,
    require_fit,
    rule_of,
    with_folded,
)
from .fed_lora_training import Client, train_rows
from .fedavg import local_order
from .scaffold import PREFIX, Scaffold
from .server_optimizers import Mean, ServerRule

_REPLICAS = "replicas"


@dataclass(frozen=True, kw_only=True)
class FedLora:
    """Federated low-rank adaptation.

    Attributes:
        kernel: the frozen model with its adapters and head.
        aggregation: see `Aggregation`.
        client: what clients do.
        server: what follows from the mean change; `Mean()` where every upload is needed.
        divisor: of the sum of the changes: a public number, the expected cohort, or "examples"
            (for runs without differential privacy, and linear rules).
        epochs, batch_size: of `Descent` and `Scaffold`, >= 1.
        sends: "change" since the broadcast, or "values", as DP-FedLoRA's program does.
        ranks: rank of each client by its number, public, at most the kernel's; with "stack" only.
            The term is scaled by the kernel's alpha / rank for everybody.
        loss: each record's loss.
        order: see `FedAvg`.
    """

    kernel: Adapters
    aggregation: Aggregation = "average"
    client: Client
    server: ServerRule = Mean()
    divisor: float | Literal["examples"]
    epochs: int = 1
    batch_size: int = 16
    sends: Literal["change", "values"] = "change"
    ranks: tuple[int, ...] | None = None
    loss: Loss = cross_entropy
    order: Callable[[ClientData, int, int], Tensor] | None = None

    def __post_init__(self) -> None:
        check.one_of(get_args(Aggregation), aggregation=self.aggregation)
        check.one_of(("change", "values"), sends=self.sends)
        check.count(epochs=self.epochs, batch_size=self.batch_size)
        if self.divisor != "examples":
            check.positive(divisor=self.divisor)
        require_fit(
            self.aggregation,
            self.kernel,
            self.ranks,
            linear=self.divisor == "examples" or self.server != Mean(),
            scaffold=isinstance(self.client, Scaffold),
        )

    @property
    def sent(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor of an upload, in order; controls come after them."""
        shapes = self.kernel.shapes()
        frozen = "A" if self.aggregation == "ffa" else ""
        return {name: shape for name, shape in shapes.items() if factor_of(name) != frozen}

    @property
    def controls(self) -> dict[str, tuple[int, ...]]:
        """Shape of each control variate of an upload; empty without SCAFFOLD."""
        scaffold = isinstance(self.client, Scaffold)
        return {PREFIX + name: shape for name, shape in self.sent.items()} if scaffold else {}

    def trained(self, round: int) -> tuple[str, ...]:
        """Names of what a round trains."""
        factors = trained_factors(rule_of(self.aggregation), round)
        return tuple(name for name in self.sent if factor_of(name) in (None, *factors))

    @property
    def upload_shape(self) -> tuple[int, ...]:
        """All that leaves, in one vector."""
        return (sum(prod(shape) for shape in (self.sent | self.controls).values()),)

    @property
    def keeps_rows(self) -> bool:
        """Whether each client's factors are multiplied."""
        return self.aggregation in BY_ROW

    @property
    def weights_are_public(self) -> bool:
        """Unless clients are weighted by their examples."""
        return self.divisor != "examples"

    @property
    def takes_noisy_sums(self) -> bool:
        """Where changes are summed; values also need the count of those who were heard."""
        return not self.keeps_rows and self.weights_are_public and self.sends == "change"

    def start(self, replicas: Tensor, key: Key) -> State:
        """One initial adapter and head per replica; nothing is folded, controls are zero."""
        nobody = torch.zeros_like(replicas)
        state: State = self.kernel.initial(Counter.of(key, "model"), nobody, replicas)
        zeros = dict(self.controls)
        if self._folds:
            for name, layer in self.kernel.layers.items():
                zeros[folded_name(name)] = (layer.out_features, layer.in_features)
        kept = self.server.start({name: state[name] for name in self.sent})
        return state | kept | _zeros(zeros, replicas) | {_REPLICAS: replicas}

    @property
    def _folds(self) -> bool:
        return self.aggregation in ("stack", "residual")

    def personal(self, data: ClientData, key: Key) -> Params:
        """The clients' own controls."""
        return _zeros(self.controls, data.clients)

    def broadcast(self, state: State) -> State:
        """Adapter, head, what was folded, and the server's controls."""
        names = [*self.kernel.shapes(), *self.controls]
        if self._folds:
            names += [folded_name(layer) for layer in self.kernel.layers]
        return {name: state[name] for name in names}

    def weights(self, data: ClientData) -> Tensor:
        """Number of records, or 1."""
        sizes = data.lengths.double()
        return sizes if self.divisor == "examples" else torch.ones_like(sizes)

    def model(self, state: Mapping[str, Tensor], replica: int = 0) -> tuple[Adapters, Params]:
        """The model of a broadcast or a state, to evaluate: kernel and parameters of one row.

        Args:
            state: float[replicas, ...] each.
            replica: position on that axis.
        """
        params = {name: state[name][replica : replica + 1] for name in self.kernel.shapes()}
        return self._kernel(state, replica), params

    def _kernel(self, holds: Mapping[str, Tensor], row: int) -> Adapters:
        if not self._folds:
            return self.kernel
        return with_folded(self.kernel, {n: holds[folded_name(n)][row] for n in self.kernel.layers})

    def update(
        self,
        received: Mapping[str, Tensor],
        personal: Params,
        data: ClientData,
        *,
        round: int,
        key: Key,
    ) -> tuple[Tensor, Params]:
        """Train the factors of this round, and upload what changed, or their values."""
        names = self.trained(round)
        start = {name: received[name] for name in self.kernel.shapes()}
        if self.ranks is not None:
            start = cut_ranks(start, self._ranks(data))
        params = {n: v.clone(memory_format=torch.contiguous_format) for n, v in start.items()}
        for rows in self._groups(data):
            part = {name: value[rows] for name, value in params.items()}
            base = {name: value[rows] for name, value in start.items()}
            controls = {name: received[name][rows] for name in self.controls}
            own = {name: value[rows] for name, value in personal.items()}
            train_rows(
                self.client,
                self._kernel(received, int(rows[0])),
                part,
                data.take(rows),
                names=names,
                start=base,
                controls=(controls, own),
                loss=self.loss,
                epochs=self.epochs,
                batch_size=self.batch_size,
                order=local_order(key, round, self.order),
                round=round,
                key=key,
            )
            for name in names:
                params[name][rows] = part[name]
        renewed = personal
        if isinstance(self.client, Scaffold):
            taken = self.epochs * (data.lengths.double() / self.batch_size).ceil()
            renewed = self.client.renew(names, start, params, received, personal, taken)
        sent = {n: params[n] - start[n] if self.sends == "change" else params[n] for n in self.sent}
        for name in self.controls:
            assert isinstance(self.client, Scaffold)
            sent[name] = (renewed[name] - personal[name]) * self.client.learning_rate
        return flatten(sent), renewed

    def _groups(self, data: ClientData) -> list[Tensor]:
        """int64[k] rows that share a frozen weight: those of a replica where it has changed."""
        everyone = torch.arange(len(data), device=data.lengths.device)
        if not len(data) or not self._folds:
            return [everyone] if len(data) else []
        numbers, place = data.replicas.unique(return_inverse=True)
        return [everyone[place == number] for number in range(len(numbers))]

    def _ranks(self, data: ClientData) -> Tensor:
        assert self.ranks is not None
        if len(data) and int(data.clients.max()) >= len(self.ranks):
            raise ConfigError(
                f"client {int(data.clients.max())} takes part, but ranks are given for "
                f"{len(self.ranks)} clients, 0 to {len(self.ranks) - 1}"
            )
        return torch.tensor(self.ranks, device=data.clients.device)[data.clients]

    def serve(self, state: State, received: Received, *, round: int, key: Key) -> State:
        """Combine what arrived.

        A client that sent nothing counts as one whose values are those of the broadcast.
        """
        if self.sends == "values" and float(received.weight.max()) > self._divisor(received).max():
            raise ConfigError(
                f"{int(received.weight.max())} clients sent their values, but the divisor is "
                f"{self.divisor}: what was broadcast would count negatively. Make it the cohort."
            )
        before = flatten({name: state[name] for name in self.sent}).double()
        size = before.shape[1]
        if received.rows is not None:
            changes = received.rows[..., :size].double()
            if self.sends == "values":
                changes = (changes - before.unsqueeze(1)) * received.arrived.unsqueeze(2)
            total, control = changes.sum(dim=1), received.rows[..., size:].double().sum(dim=1)
        else:
            assert received.total is not None
            changes, total, control = None, received.total[:, :size], received.total[:, size:]
            if self.sends == "values":
                total = total - received.weight.unsqueeze(1) * before
        mean = unflatten(total / self._divisor(received), self.sent)
        linear = [n for n in self.trained(round) if changes is None or factor_of(n) is None]
        moved, kept = self.server.step(state, state, {name: mean[name] for name in linear})
        new = state | moved | kept
        if changes is not None:
            assert self.divisor != "examples"
            new |= combined(
                self.kernel,
                self.aggregation,
                state,
                {
                    n: v.unflatten(0, changes.shape[:2])
                    for n, v in unflatten(changes.flatten(0, 1), self.sent).items()
                },
                received.arrived.double() / self.divisor,
                self.ranks,
            )
            if self.aggregation == "stack":
                new |= self._restart(state[_REPLICAS], round, key)
        if isinstance(self.client, Scaffold):
            scale = self.client.clients * self.client.learning_rate
            moves = unflatten(control / scale, self.controls)
            for name in (PREFIX + name for name in self.trained(round)):
                new[name] = (state[name].double() + moves[name]).to(state[name])
        return new

    def _divisor(self, received: Received) -> Tensor:
        if self.divisor == "examples":
            return received.weight.clamp(min=1.0).unsqueeze(1)
        return torch.full_like(received.weight, self.divisor).unsqueeze(1)

    def _restart(self, replicas: Tensor, round: int, key: Key) -> State:
        """Fresh factors for the next round: A random and public, B zero."""
        counter = Counter.of(key, "model", round=round + 1)
        fresh = self.kernel.initial(counter, torch.zeros_like(replicas), replicas)
        return {name: value for name, value in fresh.items() if factor_of(name) is not None}


def _zeros(shapes: Mapping[str, tuple[int, ...]], rows: Tensor) -> dict[str, Tensor]:
    return {n: torch.zeros(len(rows), *shape, device=rows.device) for n, shape in shapes.items()}

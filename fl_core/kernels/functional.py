"""Any torch module as a kernel: one gradient function, mapped over rows and records.

Slower than `stacked` and `adapters`, which compute one batched product for all rows, but it asks
nothing of the module except that it treats each record alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from ...accountant import check
from ...accountant.errors import ConfigError
from ..counters import Counter
from .base import ByGradients, Context, Loss, Outputs, Params, clip_factors
from .per_record import blocks, require_records_apart, squares, weighted_sums


@dataclass(frozen=True, eq=False)
class Functional(ByGradients):
    """A module whose trainable parameters have a copy in each row.

    Parameters that need no gradient, and buffers, are shared by all rows and stay as they are.

    Attributes:
        module: float[batch, ...] to logits, float[batch, classes], or to (features, logits). If
            it returns logits alone, losses get features of dimension 0. In evaluation mode.
        chunk_size: at most so many records' gradients are held at once, or so many records
            forwarded (at least one row's batch in `gradients`).
        method: "vmap" computes all rows of a chunk at once; "loop" one row (for clipped sums: one
            record) after another, for modules that branch on data or write in place.
    """

    module: nn.Module
    chunk_size: int = 1024
    method: Literal["vmap", "loop"] = "vmap"

    def __post_init__(self) -> None:
        check.count(chunk_size=self.chunk_size)
        check.one_of(("vmap", "loop"), method=self.method)
        require_records_apart(self.module)
        if not self.shapes():
            raise ConfigError("no parameter of the module needs a gradient: nothing to train")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The trainable parameters, as the module names them."""
        return {
            name: tuple(value.shape)
            for name, value in self.module.named_parameters()
            if value.requires_grad
        }

    def initial(self, counter: Counter, clients: Tensor, replicas: Tensor) -> Params:
        """The module's own parameters in every row: only the module knows how to draw others."""
        return {
            name: value.detach().expand(len(clients), *value.shape).clone()
            for name, value in self.module.named_parameters()
            if value.requires_grad
        }

    def outputs(self, params: Params, x: Tensor) -> Outputs:
        """See `Kernel`."""
        require_records_apart(self.module)
        with torch.no_grad():
            parts = [
                self._map(self._forward, _part(params, rows), x[rows]) for rows in self._rows(x)
            ]
        return Outputs(*(torch.cat([part[name] for part in parts]) for name in _OUTPUTS))

    def gradients(
        self, params: Params, x: Tensor, y: Tensor, weights: Tensor, loss: Loss, context: Context
    ) -> Params:
        """See `Kernel`."""
        require_records_apart(self.module)
        found = {name: torch.empty_like(value) for name, value in params.items()}
        gradient = self._gradient(loss)
        for rows in self._rows(x):
            some, extra = _part(params, rows), _part(context, rows)
            each = self._map(gradient, some, x[rows], y[rows], weights[rows], extra)
            for name, value in each.items():
                found[name][rows] = value
        return found

    def clipped_sums(
        self,
        params: Params,
        x: Tensor,
        y: Tensor,
        weights: Tensor,
        loss: Loss,
        context: Context,
        *,
        clip_norm: float,
    ) -> Params:
        """See `Kernel`. Each record passes the module and the loss alone."""
        require_records_apart(self.module)
        found = {name: torch.zeros_like(value) for name, value in params.items()}
        gradient, one = self._gradient(loss), weights.new_ones(1)

        def of_row(own: Params, x: Tensor, y: Tensor, extra: Context) -> Params:
            def of_record(x: Tensor, y: Tensor) -> Params:
                return gradient(own, x.unsqueeze(0), y.unsqueeze(0), one, extra)

            return self._map(of_record, x, y)

        for rows, records in blocks(len(x), x.shape[1], self.chunk_size):
            some, extra = _part(params, rows), _part(context, rows)
            each = self._map(of_row, some, x[rows, records], y[rows, records], extra)
            clipped = clip_factors(squares(each), weights[rows, records], clip_norm)
            for name, value in weighted_sums(each, clipped).items():
                found[name][rows] += value
        return found

    def _rows(self, x: Tensor) -> list[slice]:
        """Blocks of whole rows: what a module makes of a row's batch is not cut."""
        limit = max(1, self.chunk_size // max(1, x.shape[1]))
        return [rows for rows, _ in blocks(len(x), 1, limit)]

    def _map(self, function: Callable[..., Params], *arguments: Any) -> Params:
        """`function` of each entry of the arguments' first axis, stacked."""
        if self.method == "vmap":
            mapped: Params = vmap(function)(*arguments)
            return mapped
        count = next(len(value) for value in arguments if isinstance(value, Tensor))
        each = [function(*(_part(value, i) for value in arguments)) for i in range(count)]
        return {name: torch.stack([one[name] for one in each]) for name in each[0]}

    def _forward(self, own: Params, x: Tensor) -> Params:
        """Features and logits of one row's batch."""
        found = functional_call(self.module, own, (x,))
        if isinstance(found, Tensor):
            found = (found.new_empty(len(found), 0), found)
        if not isinstance(found, tuple) or not all(isinstance(part, Tensor) for part in found):
            raise ConfigError(
                "the module must return logits or (features, logits), but returns "
                f"{type(found).__name__}. Wrap it in a module that returns the tensors."
            )
        return dict(zip(_OUTPUTS, found, strict=True))

    def _gradient(self, loss: Loss) -> Callable[..., Params]:
        """(own, x, y, weights, extra) of one row -> gradient of its weighted loss."""

        def total(own: Params, x: Tensor, y: Tensor, weights: Tensor, extra: Context) -> Tensor:
            part = {name: value.unsqueeze(0) for name, value in self._forward(own, x).items()}
            context = {name: value.unsqueeze(0) for name, value in extra.items()}
            each = loss(Outputs(**part), y.unsqueeze(0), context)
            return (each * weights).sum()

        def by_autograd(own: Params, *others: Any) -> Params:
            leaves = {name: value.detach().requires_grad_() for name, value in own.items()}
            with torch.enable_grad():
                value = total(leaves, *others)
                found = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
            return dict(zip(leaves, found, strict=True))

        return grad(total) if self.method == "vmap" else by_autograd


_OUTPUTS = ("features", "logits")


def _part(value: Any, at: slice | int) -> Any:
    """Some entries of a tensor's first axis, or of each tensor of a dictionary."""
    return value[at] if isinstance(value, Tensor) else {n: v[at] for n, v in value.items()}

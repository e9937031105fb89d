"""Low-rank adapters on a frozen encoder: many rows, one folded batch.

The records of all rows pass the frozen encoder as one batch, whatever attention it uses; only the
low-rank terms know which row a record belongs to. No vmap, no copy of the encoder.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...accountant import check
from ...accountant.errors import ConfigError
from ..counters import Counter
from . import per_record, stacked
from .base import ByGradients, Context, Loss, Outputs, Params, clip_factors, one_each
from .encode import Encode, call
from .layers import Factors
from .low_rank import with_term
from .stacked import Stacked


@dataclass(frozen=True, eq=False, kw_only=True)
class Adapters(ByGradients):
    """Low-rank factors on linear layers of a frozen encoder, and a head.

    Parameters are named and shaped as in peft: `<layer>.lora_A.weight`, float[rank, in], and
    `<layer>.lora_B.weight`, float[out, rank]; after them those of the head.

    Attributes:
        encoder: frozen (no parameter needs a gradient), in evaluation mode, never changed. Each
            adapted layer must see records on its first axis.
        targets: as peft's target_modules: names of layers or their last parts, or one regular
            expression for whole names.
        rank: of the factors, >= 1.
        alpha: the term is scaled by alpha / rank, > 0.
        head: from the encoder's output to logits; also trained.
        encode: how the encoder is called.
        trained: which factors are, with the head. The others act, but have gradient zero and no
            part in the norm that is clipped: under DP-SGD the bound is spent on what moves.
        max_records: at most so many records pass the encoder at once; bounds the memory.
        bfloat16: run the frozen encoder in bfloat16. On CUDA only; factors, head and their
            gradients stay in single precision, so what is clipped and noised does, too.
    """

    encoder: nn.Module
    targets: tuple[str, ...] | str
    rank: int
    alpha: float
    head: Stacked
    encode: Encode = call
    trained: tuple[Literal["A", "B"], ...] = ("A", "B")
    max_records: int = 256
    bfloat16: bool = False

    def __post_init__(self) -> None:
        check.count(rank=self.rank, max_records=self.max_records)
        check.positive(alpha=self.alpha)
        if self.trained not in (("A", "B"), ("A",), ("B",)):
            raise ConfigError(
                f'trained must be ("A", "B"), ("A",) or ("B",), but is {self.trained!r}'
            )
        per_record.require_records_apart(self.encoder)
        trained = [name for name, value in self.encoder.named_parameters() if value.requires_grad]
        if trained:
            raise ConfigError(
                f"the encoder must be frozen, but {trained[0]} and {len(trained) - 1} more "
                "parameters need gradients. Call encoder.requires_grad_(False)."
            )
        _ = self.layers  # a wrong target is an error here

    @cached_property
    def layers(self) -> dict[str, nn.Linear]:
        """The adapted layers by name.

        Raises:
            ConfigError: a target fits no layer, or one that is not linear.
        """
        targets = (self.targets,) if isinstance(self.targets, str) else self.targets
        found: dict[str, nn.Linear] = {}
        unused = set(targets)
        for name, part in self.encoder.named_modules():
            for target in targets:
                if isinstance(self.targets, str):
                    fits = re.fullmatch(target, name) is not None
                else:
                    fits = name == target or name.endswith(f".{target}")
                if fits:
                    if not isinstance(part, nn.Linear):
                        raise ConfigError(
                            f"target {target!r} fits {name} of type {type(part).__name__}; "
                            "only torch.nn.Linear can be adapted. Name the layers more closely."
                        )
                    found[name] = part
                    unused.discard(target)
        if unused or not found:
            names = [n for n, part in self.encoder.named_modules() if isinstance(part, nn.Linear)]
            last = sorted({name.rpartition(".")[2] for name in names})
            raise ConfigError(
                f"no layer of the encoder is called {sorted(unused)}; its linear layers end in "
                f"{', '.join(last) or 'nothing: there are none'}"
            )
        return found

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Factors of each layer, then the head."""
        found: dict[str, tuple[int, ...]] = {}
        for name, layer in self.layers.items():
            found[f"{name}.lora_A.weight"] = (self.rank, layer.in_features)
            found[f"{name}.lora_B.weight"] = (layer.out_features, self.rank)
        return found | self.head.shapes()

    def initial(self, counter: Counter, clients: Tensor, replicas: Tensor) -> Params:
        """As peft: A uniform in +-1/sqrt(in), B zero; the head as `Stacked` begins."""
        found, first = {}, 0
        for name, layer in self.layers.items():
            shape = (self.rank, layer.in_features)
            draw = counter.uniform(clients, replicas, math.prod(shape), first=first)
            first += math.prod(shape)
            value = ((2.0 * draw - 1.0) / math.sqrt(layer.in_features)).float()
            found[f"{name}.lora_A.weight"] = value.unflatten(1, shape)
            found[f"{name}.lora_B.weight"] = value.new_zeros(
                len(clients), layer.out_features, self.rank
            )
        return found | self.head.initial(counter, clients, replicas, first=first)

    def outputs(self, params: Params, x: Tensor) -> Outputs:
        """See `Kernel`; the features are those of the head."""
        rows, batch = x.shape[:2]
        with torch.no_grad():
            parts = [
                self._features(
                    self._leaves({name: value[block] for name, value in params.items()}, 1),
                    x[block, records],
                ).flatten(0, 1)
                for block, records in per_record.blocks(rows, batch, self.max_records)
            ]
            # Blocks come in the order of the records.
            return self.head.outputs(params, torch.cat(parts).view(rows, batch, -1))

    def gradients(
        self, params: Params, x: Tensor, y: Tensor, weights: Tensor, loss: Loss, context: Context
    ) -> Params:
        """See `Kernel`."""
        found = {name: torch.zeros_like(value) for name, value in params.items()}
        for rows, records in per_record.blocks(len(x), x.shape[1], self.max_records):
            own = {name: value[rows] for name, value in params.items()}
            extra = {name: value[rows] for name, value in context.items()}
            batch = (x[rows, records], y[rows, records], weights[rows, records])
            leaves, factors = self._backward(own, *batch, loss, extra, groups=1)
            part = {name: value.squeeze(1) for name, value in leaves.items()}
            for name, value in (part | stacked.sums(own, factors)).items():
                found[name][rows] += value
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
        """See `Kernel`; the factors' gradients are held record by record, the head's are not."""
        found = {name: torch.zeros_like(value) for name, value in params.items()}
        for rows, records in per_record.blocks(len(x), x.shape[1], self.max_records):
            own = {name: value[rows] for name, value in params.items()}
            extra = {name: value[rows] for name, value in context.items()}
            at, labels, weight = x[rows, records], y[rows, records], weights[rows, records]
            leaves, factors = self._backward(
                own, at, labels, one_each(weight), loss, extra, groups=at.shape[1]
            )
            squares = per_record.squares(leaves) + stacked.squares(own, factors, weight)
            clipped = clip_factors(squares, weight, clip_norm)
            part = per_record.weighted_sums(leaves, clipped)
            part |= stacked.weighted_sums(own, factors, clipped)
            for name, value in part.items():
                found[name][rows] += value
        return found

    def _leaves(self, own: Params, groups: int) -> Params:
        """Factors with an axis of groups, float[rows, groups, ...], without a copy."""
        return {
            f"{name}.lora_{factor}.weight": value.detach()
            .unsqueeze(1)
            .expand(-1, groups, -1, -1)
            .requires_grad_(factor in self.trained)
            for name in self.layers
            for factor in "AB"
            for value in [own[f"{name}.lora_{factor}.weight"]]
        }

    def _features(self, leaves: Params, x: Tensor) -> Tensor:
        """float[rows, batch, dim] of x[rows, batch, ...]."""
        per_record.require_records_apart(self.encoder)
        rows, batch = x.shape[:2]
        if self.bfloat16 and x.device.type != "cuda":
            raise ConfigError(f"bfloat16 is for CUDA, but the records are on {x.device}")
        with (
            self._adapted(leaves, rows * batch) as called,
            torch.autocast(x.device.type, torch.bfloat16, enabled=self.bfloat16),
        ):
            found = self.encode(self.encoder, x.flatten(0, 1))
        if set(called) != set(self.layers):
            idle = sorted(set(self.layers) - set(called))
            raise ConfigError(f"encoding does not call {idle[0]}, so its factors learn nothing")
        if found.dim() != 2 or len(found) != rows * batch:
            raise ConfigError(
                f"encode must return float[{rows * batch}, dim], one feature vector per record, "
                f"but returns {list(found.shape)}"
            )
        return found.to(next(iter(leaves.values()))).view(rows, batch, -1)

    @contextmanager
    def _adapted(self, leaves: Params, count: int) -> Iterator[set[str]]:
        """The encoder's layers with their terms, while this lasts; which of them were called."""
        called: set[str] = set()
        handles = []
        try:
            for name, layer in self.layers.items():
                a, b = leaves[f"{name}.lora_A.weight"], leaves[f"{name}.lora_B.weight"]

                def hook(
                    module: nn.Module, inputs: Any, output: Tensor,
                    *, name: str = name, a: Tensor = a, b: Tensor = b,
                ) -> Tensor:  # fmt: skip
                    called.add(name)
                    (x,) = inputs
                    first = len(x)
                    if first != count and (x.dim() > 2 or first % count):
                        raise ConfigError(
                            f"{name} sees an input of shape {list(x.shape)}, but {count} records "
                            "must be its first axis: else rows would mix"
                        )
                    return with_term(output, x, a, b, self.alpha / self.rank)

                handles.append(layer.register_forward_hook(hook))
            yield called
        finally:
            for handle in handles:
                handle.remove()

    def _backward(
        self,
        own: Params,
        x: Tensor,
        y: Tensor,
        weights: Tensor,
        loss: Loss,
        context: Context,
        *,
        groups: int,
    ) -> tuple[Params, dict[str, Factors]]:
        """Gradients of trained factors, float[rows, groups, ...], and the head's own factors."""
        leaves = self._leaves(own, groups)
        with torch.enable_grad():
            features = self._features(leaves, x)
        if not features.requires_grad:
            raise ConfigError("no gradient passes the encoder: encode must not detach or no_grad")
        found, below = self.head.factors(
            own, features.detach(), y, weights, loss, context, needs_input=True
        )
        moving = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
        gradients = torch.autograd.grad(features, list(moving.values()), below)
        return dict(zip(moving, gradients, strict=True)), found

"""Low-rank factors of a federation: which are trained, how uploads of them are combined.

Most rules are linear: a sum of changes is all that the server needs, so that they fit a secure
sum. Stacking, residual correction and the truncated product multiply each client's own factors:
they need every upload.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from ...accountant import check
from ...accountant.errors import ConfigError
from ...mechanisms.lora import Rule
from ...mechanisms.lora_aggregate import Adapter, residual_corrected, stack, truncated_product
from ..kernels.adapters import Adapters
from ..kernels.base import Params

Aggregation = Literal["average", "ffa", "rolora", "stack", "residual", "svd"]
"""How uploaded factors become one adapter:

- average: each factor by itself, as DP-FedLoRA's program does (wrong by their covariance);
- ffa: A is frozen, B averaged (FFA-LoRA, arXiv:2403.12313);
- rolora: B in even rounds, A in odd ones (RoLoRA, arXiv:2409.02346);
- stack: the exact product goes into the frozen weight, factors begin anew (FLoRA, 2409.05976);
- residual: factors are averaged, what that misses goes into the frozen weight (FedEx, 2410.09432);
- svd: the exact product, cut to the rank by a singular value decomposition.
"""

BY_ROW = ("stack", "residual", "svd")
_FOLDED = "folded "


def rule_of(aggregation: Aggregation) -> Rule:
    """Which factors are trained when."""
    if aggregation == "ffa" or aggregation == "rolora":
        return aggregation
    return "both"


def factor_of(name: str) -> str | None:
    """Letter of the factor that a parameter is, "A" or "B"; None for one of the head."""
    for factor in ("A", "B"):
        if name.endswith(f".lora_{factor}.weight"):
            return factor
    return None


def pair(layer: str) -> tuple[str, str]:
    """Names of B and A of a layer."""
    return f"{layer}.lora_B.weight", f"{layer}.lora_A.weight"


def folded_name(layer: str) -> str:
    """Name of what was added to the frozen weight of a layer, float[replicas, out, in]."""
    return _FOLDED + layer


def require_fit(
    aggregation: Aggregation,
    kernel: Adapters,
    ranks: tuple[int, ...] | None,
    *,
    linear: bool,
    scaffold: bool,
) -> None:
    """Raise `ConfigError` for settings that a rule of `BY_ROW` cannot follow, or ranks without one.

    Args:
        aggregation: the rule.
        kernel: the model.
        ranks: of the clients, or None.
        linear: whether weights by examples or a server optimiser are asked for.
        scaffold: whether SCAFFOLD is.
    """
    if ranks is not None:
        for rank in ranks:
            check.count(rank=rank)
        if aggregation != "stack" or max(ranks) > kernel.rank:
            raise ConfigError(
                f"ranks {ranks} need the aggregation 'stack' and a kernel of at least their rank, "
                f"but are given with {aggregation!r} and {kernel.rank}"
            )
    if aggregation not in BY_ROW:
        return
    if linear:
        raise ConfigError(
            f"aggregation {aggregation!r} multiplies the factors of each client: give a number as "
            "divisor and server = Mean()"
        )
    if scaffold:
        raise ConfigError(
            "SCAFFOLD corrects steps in the same parameters in all rounds, but "
            f"{aggregation!r} changes what they stand for. Use average, ffa or rolora."
        )
    least = min(min(layer.in_features, layer.out_features) for layer in kernel.layers.values())
    if aggregation == "svd" and kernel.rank > least:
        raise ConfigError(f"rank {kernel.rank} exceeds a layer's smaller side, {least}")


def with_folded(kernel: Adapters, folded: Mapping[str, Tensor]) -> Adapters:
    """The kernel on an encoder whose weights hold what was folded into them.

    Args:
        kernel: stays as it is; all other tensors of its encoder are shared.
        folded: layer -> float[out, in].
    """
    tensors = [*kernel.encoder.parameters(), *kernel.encoder.buffers()]
    encoder = copy.deepcopy(kernel.encoder, {id(value): value for value in tensors})
    for name, value in folded.items():
        layer = encoder.get_submodule(name)
        weight = layer.weight
        if not isinstance(weight, Tensor):  # for the type checker: the kernel adapts nn.Linear
            raise TypeError(f"{name} has no weight")
        layer.weight = nn.Parameter(weight + value.to(weight), requires_grad=False)
    return replace(kernel, encoder=encoder)


def cut_ranks(params: Params, ranks: Tensor) -> Params:
    """The factors with zeros beyond each row's rank; training keeps these zeros.

    Both factors are zero there, so both gradients are.

    Args:
        params: float[rows, ...] each.
        ranks: int64[rows].
    """
    found = {}
    for name, value in params.items():
        factor = factor_of(name)
        if factor is None:
            found[name] = value
            continue
        size = value.shape[1] if factor == "A" else value.shape[2]
        inside = torch.arange(size, device=value.device) < ranks.to(value.device).unsqueeze(1)
        mask = inside.unsqueeze(2) if factor == "A" else inside.unsqueeze(1)
        found[name] = torch.where(mask, value, 0.0)
    return found


def combine(
    aggregation: Aggregation, b: Tensor, a: Tensor, weights: Tensor, *, rank: int
) -> Adapter:
    """New factors of one layer, and what is folded, by a rule of `BY_ROW`.

    Args:
        aggregation: the rule.
        b: float64[uploads, out, rank].
        a: float64[uploads, rank, in].
        weights: float64[uploads], of sum 1.
        rank: of the result of "svd".
    """
    if aggregation == "stack":
        whole = stack(list(b), list(a), weights)
        return Adapter(torch.zeros_like(b[0]), torch.zeros_like(a[0]), whole.update())
    if aggregation == "residual":
        return residual_corrected(b, a, weights)
    return truncated_product(b, a, weights, rank)


def combined(
    kernel: Adapters,
    aggregation: Aggregation,
    state: Mapping[str, Tensor],
    changes: Mapping[str, Tensor],
    shares: Tensor,
    ranks: tuple[int, ...] | None,
) -> dict[str, Tensor]:
    """The server's factors and folded weights after a round, by a rule of `BY_ROW`.

    Args:
        kernel: names and shapes.
        aggregation: the rule.
        state: float[replicas, ...]: what was broadcast.
        changes: float64[replicas, clients, ...]: of each client's factors.
        shares: float64[replicas, clients]: weights. What is missing to 1 is the broadcast's own,
            so that a client that sent nothing counts as one that changed nothing.
        ranks: of the clients, or None if all have the kernel's.

    Raises:
        ConfigError: there are not as many clients as ranks.
    """
    count = shares.shape[1]
    if ranks is not None and count != len(ranks):
        raise ConfigError(f"{len(ranks)} ranks are given, but the federation has {count} clients")
    weights = torch.cat([1.0 - shares.sum(dim=1, keepdim=True), shares], dim=1)
    new: dict[str, Tensor] = {}
    for layer in kernel.layers:
        values = {
            name: torch.cat([own, own + changes[name]], dim=1)
            for name in pair(layer)
            for own in [state[name].double().unsqueeze(1)]
        }
        if ranks is not None:  # what is beyond a client's rank is noise alone
            each = torch.tensor((kernel.rank, *ranks), device=shares.device).repeat(len(shares))
            flat = cut_ranks({n: v.flatten(0, 1) for n, v in values.items()}, each)
            values = {n: v.unflatten(0, weights.shape) for n, v in flat.items()}
        b, a = (values[name] for name in pair(layer))
        found = [
            combine(aggregation, *one, rank=kernel.rank) for one in zip(b, a, weights, strict=True)
        ]
        factors = (torch.stack([e.b for e in found]), torch.stack([e.a for e in found]))
        for name, value in zip(pair(layer), factors, strict=True):
            new[name] = value.to(state[name])
        more = [e.folded for e in found if e.folded is not None]
        if more:
            name = folded_name(layer)
            scaled = kernel.alpha / kernel.rank * torch.stack(more)
            new[name] = (state[name].double() + scaled).to(state[name])
    return new

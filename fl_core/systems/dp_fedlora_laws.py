"""What can be measured on a LoRA federation besides its accuracy: norms, and aggregation gaps."""

import math

import torch
from torch import Tensor

from ...mechanisms.base import Key
from ...mechanisms.lora_aggregate import ideal
from ..algorithms.base import Received, State
from ..algorithms.fed_lora import FedLora
from ..algorithms.fed_lora_checks import norm_law
from ..algorithms.fed_lora_factors import factor_of, folded_name, pair
from ..clients import ClientData
from ..kernels.base import unflatten


def norms(
    state: State, *, stddev: float, weights: tuple[float, ...], names: tuple[str, ...], seeds: int
) -> str:
    """The norm law on every seed's adapter, in a sentence; arguments as those of `norm_law`."""
    laws = [
        law
        for seed in range(seeds)
        for law in norm_law(
            {name: state[name][seed : seed + 1] for name in names}, stddev=stddev, weights=weights
        )
    ]
    alike, mostly = sum(law.like_noise for law in laws), sum(law.mostly_noise for law in laws)
    first = laws[0]
    return (
        f"norm law: {alike} of {len(laws)} factors have the norm of noise alone, in {mostly} noise "
        f"is most of it; the first measures {first.measured:.3f}, noise alone {first.predicted:.3f}"
    )


def factors(algorithm: FedLora, letters: str) -> tuple[str, ...]:
    """Names of the factors with these letters."""
    return tuple(name for name in algorithm.sent if (factor_of(name) or "-") in letters)


def aggregation_gap(algorithm: FedLora, data: ClientData, key: Key) -> float:
    """Distance of the first round's aggregate from the mean of the clients' own products.

    Relative to that mean, over all layers, without clip and noise.

    Args:
        algorithm: without SCAFFOLD and of full ranks, dividing by the number of clients.
        data: the clients of one replica.
        key: of the run.
    """
    replicas = data.replicas.unique()
    place = torch.zeros_like(data.replicas)
    before = algorithm.start(replicas, key)
    received = {name: value[place] for name, value in algorithm.broadcast(before).items()}
    uploads, _ = algorithm.update(received, {}, data, round=0, key=key)
    rows = uploads.unsqueeze(0) if algorithm.keeps_rows else None
    after = algorithm.serve(
        before,
        Received(
            total=None if algorithm.keeps_rows else uploads.double().sum(dim=0, keepdim=True),
            rows=rows,
            arrived=torch.ones(1, len(data), dtype=torch.bool),
            weight=torch.full((1,), float(len(data)), dtype=torch.float64),
        ),
        round=0,
        key=key,
    )
    changes = unflatten(uploads.double(), algorithm.sent)
    weights = torch.full((len(data),), 1.0 / len(data), dtype=torch.float64)
    wrong = right = 0.0
    for layer in algorithm.kernel.layers:
        b, a = (
            received[name].double() + changes.get(name, torch.zeros(())) for name in pair(layer)
        )
        wanted = ideal(b, a, weights)
        wrong += float((_product(algorithm, after, layer) - wanted).square().sum())
        right += float(wanted.square().sum())
    return math.sqrt(wrong / right)


def _product(algorithm: FedLora, state: State, layer: str) -> Tensor:
    """B A and what is folded, over the scale, of the first replica."""
    b, a = (state[name][0].double() for name in pair(layer))
    product = b @ a
    if folded_name(layer) in state:
        scale = algorithm.kernel.alpha / algorithm.kernel.rank
        product = product + state[folded_name(layer)][0].double() / scale
    return product

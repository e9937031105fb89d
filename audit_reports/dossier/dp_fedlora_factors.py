"""DP-FedLoRA: noise on the factors and on their product, by the mechanisms' own formulas."""

import math

import torch
from torch import Tensor

from ...mechanisms import lora_aggregate as aggregate
from ...mechanisms.released.dp_fedlora import AsReleasedDpFedLora, noise_norm
from .reference import RefTable

SIDE, RANKS, GAMMA_CLIENTS = 4096, (8, 32), 2
DRAWS = 1500


def noise(system: AsReleasedDpFedLora) -> RefTable:
    """L6: norms of the noise, square layers, equal weights."""
    rows: list[tuple[str | float, ...]] = [("noise std", system.sigma)]
    for rank in RANKS:
        rows.append(
            (f"norm on one tensor, rank {rank}", noise_norm(system.sigma, rank, SIDE, (1.0,)))
        )
    halves = (1.0 / GAMMA_CLIENTS,) * GAMMA_CLIENTS
    averaged = [noise_norm(system.sigma, rank, SIDE, halves) for rank in RANKS]
    for rank, norm in zip(RANKS, averaged, strict=True):
        rows.append((f"averaged factor of {GAMMA_CLIENTS} clients, rank {rank}", norm))
    b, a = _factors(GAMMA_CLIENTS, SIDE, SIDE, RANKS[0], norm=system.clip_norm)
    one = aggregate.product_noise(b[0], a[0], system.sigma)
    both = aggregate.plain_average_noise(b, a, torch.tensor(halves), system.sigma)
    signal = system.clip_norm**2
    rows += [
        (f"norm on B A, one upload, rank {RANKS[0]}", math.sqrt(one.total)),
        (
            f"norm on B A, plain average of {GAMMA_CLIENTS}, rank {RANKS[0]}",
            math.sqrt(both.total),
        ),
        ("signal on B A, at most", signal),
    ]
    return RefTable(
        key="noise",
        caption=f"norms of the noise at claimed {system.epsilon:g}, clip {system.clip_norm:g}, "
        f"layers {SIDE} x {SIDE} (L6)",
        header=("quantity", "value"),
        rows=tuple(rows),
        reading=f"On B A the noise is {math.sqrt(both.total) / signal:,.0f} times the largest "
        "signal: the global adapter is noise.",
    )


def _factors(
    clients: int, m: int, n: int, rank: int, *, norm: float | None = None
) -> tuple[Tensor, Tensor]:
    """B float64[clients, m, rank], A float64[clients, rank, n]; with `norm` all clients' equal."""
    generator = torch.Generator().manual_seed(0)
    shape = (1 if norm is not None else clients,)
    b = torch.randn(*shape, m, rank, generator=generator, dtype=torch.float64)
    a = torch.randn(*shape, rank, n, generator=generator, dtype=torch.float64)
    if norm is not None:
        b, a = norm * b / b.norm(), norm * a / a.norm()
    return b.expand(clients, m, rank), a.expand(clients, rank, n)


def aggregations(system: AsReleasedDpFedLora) -> RefTable:
    """Section 2: error and noise of each way to aggregate, drawn and by formula."""
    clients, m, n, rank, stddev = 4, 6, 5, 2, 0.3
    weights = torch.full((clients,), 1.0 / clients, dtype=torch.float64)
    b, a = _factors(clients, m, n, rank)
    generator = torch.Generator().manual_seed(1)
    rows = []
    for name, own_b, own_a, function, power in (
        (
            "plain average (released)",
            b,
            a,
            _plain,
            aggregate.plain_average_noise(b, a, weights, stddev),
        ),
        (
            "FFA-LoRA, RoLoRA with A common",
            b,
            a[:1],
            _common_a,
            aggregate.one_factor_noise(a[0], m, weights, stddev),
        ),
        (
            "RoLoRA with B common",
            b[:1],
            a,
            _common_b,
            aggregate.one_factor_noise(b[0], n, weights, stddev),
        ),
        ("FLoRA (stacking)", b, a, _stack, aggregate.exact_noise(b, a, weights, stddev)),
        ("FedEx-LoRA (residual)", b, a, _residual, aggregate.exact_noise(b, a, weights, stddev)),
    ):
        full_b, full_a = own_b.expand(clients, m, rank), own_a.expand(clients, rank, n)
        wanted = aggregate.ideal(full_b, full_a, weights)
        clean = function(full_b, full_a, weights)
        squares = []
        for _ in range(DRAWS):
            noisy_b = full_b + _draw(full_b, stddev, generator, noised=len(own_b) > 1)
            noisy_a = full_a + _draw(full_a, stddev, generator, noised=len(own_a) > 1)
            squares.append(float((function(noisy_b, noisy_a, weights) - clean).square().sum()))
        rows.append(
            (
                name,
                float((clean - wanted).norm()),
                power.linear,
                power.quartic,
                power.total,
                sum(squares) / DRAWS,
            )
        )
    ratio = rows[3][3] / rows[0][3]
    wrong = ", ".join(row[0] for row in rows if row[1] > 1e-9)
    return RefTable(
        key="aggregations",
        caption=f"{clients} clients of equal weight, layers {m} x {n}, rank {rank}, noise std "
        f"{stddev:g} on each uploaded factor; drawn: mean of {DRAWS:,} draws",
        header=(
            "aggregation",
            "error without noise",
            "noise power, linear",
            "quartic",
            "total",
            "drawn",
        ),
        rows=tuple(rows),
        reading=f"Wrong without noise: {wrong} (L7). Exact aggregation of both factors has "
        f"{ratio:g} times the quartic noise of the first row.",
    )


def _draw(like: Tensor, stddev: float, generator: torch.Generator, *, noised: bool) -> Tensor:
    if not noised:  # the common factor is not uploaded
        return torch.zeros_like(like)
    return stddev * torch.randn(like.shape, generator=generator, dtype=like.dtype)


def _plain(b: Tensor, a: Tensor, weights: Tensor) -> Tensor:
    return aggregate.plain_average(b, a, weights).update()


def _common_a(b: Tensor, a: Tensor, weights: Tensor) -> Tensor:
    return aggregate.average_b(b, a[0], weights).update()


def _common_b(b: Tensor, a: Tensor, weights: Tensor) -> Tensor:
    return aggregate.average_a(b[0], a, weights).update()


def _stack(b: Tensor, a: Tensor, weights: Tensor) -> Tensor:
    return aggregate.stack(list(b), list(a), weights).update()


def _residual(b: Tensor, a: Tensor, weights: Tensor) -> Tensor:
    return aggregate.residual_corrected(b, a, weights).update()


def gauge(system: AsReleasedDpFedLora) -> RefTable:
    """L11: noise on B A after A became c A and B became B/c; the product stays the same."""
    generator = torch.Generator().manual_seed(2)
    b = torch.randn(32, 4, generator=generator, dtype=torch.float64)
    a = 3.0 * torch.randn(4, 16, generator=generator, dtype=torch.float64)
    stddev, best = system.sigma, aggregate.best_gauge(b, a)
    rows = []
    for name, c in (
        ("0.01 of the best", 0.01 * best),
        ("0.1 of the best", 0.1 * best),
        ("best", best),
        ("10 times the best", 10.0 * best),
        ("100 times the best", 100.0 * best),
        ("as it comes", 1.0),
    ):
        rows.append((name, c, aggregate.gauge_noise(b, a, stddev, c).total))
    least = rows[2][2]
    return RefTable(
        key="gauge",
        caption=f"noise power on B A (32 x 4 times 4 x 16), std {stddev:.4g} on both factors, "
        "against the scale c (L11)",
        header=("scale", "c", "noise power"),
        rows=tuple(rows),
        reading=f"The same update, up to {max(r[2] for r in rows) / least:,.0f} times the noise.",
    )

"""Freshness: do releases repeat each other more than fresh noise does, and by whose seed?

Nothing is assumed about the law of the noise: it may be discrete, clamped or a choice. Releases of
the same data with fresh randomness are exchangeable, so what repeats is compared with random
orders of the same releases (permutation test, level RISK, for which 1/RISK orders are tried).
"""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ...accountant.errors import ParameterError
from .finding import Finding
from .noise import NEW_NOISE

Draw = Callable[[], Tensor]
RISK = 1e-5
CALLS = 20  # releases of each kind


def fresh(draw: Draw, reference: Draw | None = None) -> Finding:
    """Fires where releases repeat values more often than noise that is drawn afresh.

    Args:
        draw: one release of the same data, float[...], as in production.
        reference: one release with another key at every call. Without it the noise is taken to be
            continuous, so that one repeated value is enough.
    """
    own = _stacked([draw() for _ in range(CALLS)])
    if reference is None:
        same = _equal_entries(own)
        fired, excess, expected = bool(same.any()), float(same.max()), 0.0
    else:
        others = _stacked([reference() for _ in range(CALLS)])
        same = _equal_entries(torch.cat([own, others]))
        fired = _more_than_by_chance(same, _first_half)
        pairs = CALLS * (CALLS - 1)
        excess = float(same[:CALLS, :CALLS].sum()) / pairs
        expected = float(same[CALLS:, CALLS:].sum()) / pairs
    return Finding(
        probe="freshness",
        fired=fired,
        text=f"two of {CALLS} releases share {excess:.4g} of {own.shape[1]} entries, "
        f"{expected:.4g} if noise is fresh",
        fix=NEW_NOISE if fired else "",
        measured=excess,
        declared=expected,
    )


def global_generator(draw: Draw) -> Finding:
    """Fires where releases repeat if the global generators are seeded alike: P12 of DP-FPL.

    The generators of torch, numpy and `random` are seeded and put back as they were.

    Args:
        draw: one release of the same data, float[...], with another key at every call.
    """
    releases = []
    for i in range(2 * CALLS):
        with _seeded(i // 2):
            releases.append(draw())
    same = _equal_entries(_stacked(releases))
    fired = _more_than_by_chance(same, _neighbours)
    size = releases[0].numel()
    excess = float(same[0::2, 1::2].diagonal().mean())
    return Finding(
        probe="global generator",
        fired=fired,
        text=f"with the global generators seeded alike, {excess:.4g} of {size} entries of two "
        "releases are the same" + ("; whoever knows the seed can subtract the noise" * fired),
        fix=NEW_NOISE if fired else "",
        severity="warning",
        measured=excess,
        declared=0.0,
    )


def _stacked(releases: list[Tensor]) -> Tensor:
    sizes = sorted({release.numel() for release in releases})
    if len(sizes) > 1:
        raise ParameterError(
            f"releases of the same data have {sizes} entries; a release whose size changes cannot "
            "be compared. Pad it to one size."
        )
    return torch.stack([release.flatten() for release in releases])


def _equal_entries(releases: Tensor) -> Tensor:
    """float64[n, n]: how many entries two releases share; NaN equals NaN."""
    one, other = releases.unsqueeze(0), releases.unsqueeze(1)
    same = ((one == other) | (one.isnan() & other.isnan())).sum(dim=-1).double()
    return same.fill_diagonal_(0.0)


def _first_half(same: Tensor, orders: Tensor) -> Tensor:
    """Equal entries of all pairs among the first half of each order, float64[orders]."""
    half = (orders.argsort(dim=1) < orders.shape[1] // 2).double()
    return ((half @ same) * half).sum(dim=1)


def _neighbours(same: Tensor, orders: Tensor) -> Tensor:
    """Equal entries of the first with the second, the third with the fourth, ... release."""
    return same[orders[:, 0::2], orders[:, 1::2]].sum(dim=1)


def _more_than_by_chance(same: Tensor, statistic: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Whether the statistic of the releases in order is above that of 1/RISK random orders."""
    generator = torch.Generator().manual_seed(0)  # of the test, not of any noise
    observed = float(statistic(same, torch.arange(len(same)).unsqueeze(0)))
    left, block = math.ceil(1.0 / RISK) - 1, 100
    while left > 0:
        orders = torch.rand(min(block, left), len(same), generator=generator).argsort(dim=1)
        if bool((statistic(same, orders) >= observed).any()):
            return False
        left, block = left - len(orders), 20_000
    return True


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        random.setstate(before[2])

"""What opened values and broken masks give away: positive controls of the described protocol.

Each function takes what a reader of the protocol has, never a share or a secret. The broken twins
show with them what they give away; the attacks proper are in `attacks/prompts/`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...accountant.errors import ParameterError
from .lagrange import LagrangeCode, lagrange_weights


def trilaterate(centres: Tensor, distances: Tensor) -> Tensor:
    """The point with these distances to known centres (S2).

    Linear: 2 x (mu_0 - mu_s) = d_s^2 - d_0^2 - |mu_s|^2 + |mu_0|^2. Exact from d'+1 centres in
    general position; with fewer, the least-norm point. Distances per slice give each slice from
    d'/K + 1 centres (S13).

    Args:
        centres: float[S, dimension].
        distances: float[S].

    >>> x = torch.tensor([0.25, -0.5], dtype=torch.float64)
    >>> centres = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    >>> trilaterate(centres, (centres - x).norm(dim=1)).round(decimals=9).tolist()
    [0.25, -0.5]
    """
    norms = centres.square().sum(1)
    squares = distances.square()
    right = squares[1:] - squares[0] - norms[1:] + norms[0]
    found: Tensor = torch.linalg.lstsq(2.0 * (centres[0] - centres[1:]), right, driver="gelsd")[0]
    return found


def subtract(average: Tensor, size: int, own: Tensor) -> Tensor:
    """The sum of the other members' prompts; one other member is recovered whole (S4).

    Args:
        average: float[dim], the cluster prompt.
        size: its number of members.
        own: float[m, dim], prompts of the colluding members.
    """
    return average * size - own.sum(0)


def differences(sums: Sequence[Tensor], members: Sequence[frozenset[int]]) -> dict[int, Tensor]:
    """Clients isolated by the difference of two logged sums with static prompts (S5).

    Args:
        sums: float[dim] each: opened means times sizes, of any rounds.
        members: who was summed in each.
    """
    found: dict[int, Tensor] = {}
    for i, first in enumerate(members):
        if len(first) == 1:
            found[next(iter(first))] = sums[i]
        for j, second in enumerate(members):
            if first > second and len(first - second) == 1:
                found[next(iter(first - second))] = sums[i] - sums[j]
    return found


def change_from_reused_masks(
    code: LagrangeCode, client: int, first: Tensor, second: Tensor
) -> Tensor:
    """The change of a secret from ONE client's shares of two rounds with the same masks (S7).

    The masks cancel: the shares differ by sum_k L_k(alpha) (S_k - S'_k), for K = 1 a multiple of
    the change. Field elements int64[...].

    Raises:
        ParameterError: K > 1: one share gives one equation for K unknowns.
    """
    if code.slices != 1:
        raise ParameterError(
            f"one share recovers the change for one slice, but the code has {code.slices}: it "
            "gives one linear equation per coordinate"
        )
    weight = lagrange_weights(code.within, code.betas, [code.alphas[client]])[0][0]
    return code.within.scale(code.within.sub(second, first), code.within.inverse(weight))


def real_mask_leak(
    *, secret_gap: float, mask_range: float, weight: float, mask_weight: float
) -> float:
    """Bits that one share says about a fair bit hidden under a uniform *real* mask (S8).

    The share is weight x + mask_weight z, x one of two values `secret_gap` apart, z uniform over
    an interval of length `mask_range`. Outside the overlap of the two intervals the secret is
    certain and inside nothing is said, an erasure channel: the leak is the part outside. Over a
    field the two laws are the same and the leak is 0.

    >>> real_mask_leak(secret_gap=2.0, mask_range=64.0, weight=-2.0, mask_weight=1.0)
    0.0625
    """
    if mask_range <= 0.0 or mask_weight == 0.0:
        return 1.0
    return min(1.0, math.fabs(weight * secret_gap) / (math.fabs(mask_weight) * mask_range))


def isolated_members(sizes: Sequence[int], *, colluders: int) -> list[int]:
    """Clusters with at most one member outside the coalition: its prompt is bare (S3, S4).

    >>> isolated_members([1, 3, 4, 8], colluders=2)
    [0, 1]
    """
    return [s for s, size in enumerate(sizes) if 0 < size <= colluders + 1]

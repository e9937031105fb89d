"""Adaptive clustering: decisions from distances, whoever computed them.

The secure protocol and its plaintext twin run the same decisions, so they differ by quantisation
only: two clusterings agree unless the two smallest distances of a client differ by less than
2 sqrt(d') 2^-bits.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ParameterError

# assignment int64[n] with clusters 0..S-1, none of them empty -> distances float64[n, S]
Distances = Callable[[Tensor], Tensor]


def plain_distances(points: Tensor) -> Distances:
    """Distances to the members' means, in double precision: the plaintext twin."""

    def distances(assignment: Tensor) -> Tensor:
        member = torch.nn.functional.one_hot(assignment).T.to(torch.float64)
        centres = (member @ points.to(torch.float64)) / member.sum(1, keepdim=True)
        gap = points.to(torch.float64)[:, None] - centres
        return gap.square().sum(-1).sqrt()

    return distances


def flip_gap(*, dimension: int, bits: int) -> float:
    """Secure and plaintext assignment agree where the two smallest distances differ by more.

    >>> round(flip_gap(dimension=16, bits=16), 6), round(flip_gap(dimension=16, bits=8), 3)
    (0.000122, 0.031)
    """
    return 2.0 * math.sqrt(dimension) * 2.0**-bits


@dataclass(frozen=True, kw_only=True)
class AdaptiveRule:
    """When clusters are split and merged; all constants are public.

    Attributes:
        split_above: a cluster is split whose farthest member is farther than this, > 0.
        merge_below: two clusters are merged whose centres are nearer than this, >= 0.
        most: number of clusters at most.
        iterations: number of distance computations at most.
    """

    split_above: float
    merge_below: float
    most: int = 4
    iterations: int = 5

    def __post_init__(self) -> None:
        check.positive(split_above=self.split_above)
        check.non_negative(merge_below=self.merge_below)
        check.count(most=self.most, iterations=self.iterations)


def adaptive(distances: Distances, rule: AdaptiveRule, clients: int) -> Tensor:
    """Adaptive k-means as described: from one cluster, until stable; int64[clients].

    The farthest member of a cluster that is too wide becomes a cluster of its own, which others
    may join in the next iteration. Nothing keeps a cluster from staying a singleton (S3).
    """
    assignment = torch.zeros(clients, dtype=torch.int64)
    for _ in range(rule.iterations):
        found = distances(assignment)
        nearest = renumbered(found.argmin(dim=1))
        if not bool((nearest == assignment).all()):
            assignment = nearest
            continue
        changed = _split(assignment, found, rule)
        if changed is None:
            changed = _merged(assignment, found, rule)
        if changed is None:
            break
        assignment = changed
    return assignment


def _split(assignment: Tensor, distances: Tensor, rule: AdaptiveRule) -> Tensor | None:
    own = distances.gather(1, assignment[:, None])[:, 0]
    farthest = int(own.argmax())
    clusters = int(assignment.max()) + 1
    if float(own[farthest]) <= rule.split_above or clusters >= rule.most:
        return None
    split = assignment.clone()
    split[farthest] = clusters
    return renumbered(split)


def _merged(assignment: Tensor, distances: Tensor, rule: AdaptiveRule) -> Tensor | None:
    """Centres' distances follow from the members' distances: no further opening.

    |c_a - c_b|^2 = mean over b of d(i,a)^2 - mean over b of d(i,b)^2.
    """
    clusters = int(assignment.max()) + 1
    squares = distances.square()
    for a in range(clusters):
        for b in range(a + 1, clusters):
            members = squares[assignment == b]
            gap = float(members[:, a].mean() - members[:, b].mean())
            if gap < rule.merge_below**2:
                return renumbered(torch.where(assignment == b, a, assignment))
    return None


def renumbered(assignment: Tensor) -> Tensor:
    """The same clusters, numbered 0..S-1 in their order, without gaps."""
    numbers: Tensor = torch.unique(assignment, return_inverse=True)[1]
    return numbers


def public_start(clients: int, clusters: int, *, seed: int) -> Tensor:
    """A public balanced assignment that looks at client numbers only, int64[clients]."""
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(clients)
    return torch.from_numpy(order.astype(np.int64) % clusters)


def survivors(sizes: list[int], *, min_size: int) -> list[int]:
    """Clusters with enough members; if there is none, the largest, which then takes everybody.

    Raises:
        ParameterError: fewer clients than min_size.

    >>> survivors([5, 1, 3], min_size=3), survivors([2, 1, 2], min_size=4)
    ([0, 2], [0])
    """
    if sum(sizes) < min_size:
        raise ParameterError(
            f"a cluster needs {min_size} members before anything is opened, but there are "
            f"{sum(sizes)} clients. Wait for more clients."
        )
    large = [s for s, size in enumerate(sizes) if size >= min_size]
    return large or [sizes.index(max(sizes))]


def nearest_of(ranking: Tensor, allowed: list[int]) -> Tensor:
    """Each client's nearest among the allowed clusters; `ranking` float[n, S], smaller is nearer.

    A client computes this alone, from its own row.
    """
    return torch.tensor(allowed)[ranking[:, allowed].argmin(dim=1)]

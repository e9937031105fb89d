"""Distances between the clients' reduced prompts, from opened distances to unknown centres.

Idea: d(i,s)^2 = (1/n) sum_(j in s) D_ij - (1/n^2) sum_(j<k in s) D_jk is linear in the squared
distances D of the clients' points. Adversary: the server, which needs nothing beyond what it is
sent. A few assignments of static points give all N(N-1)/2 distances, that is every point up to a
motion; before that, some pairs are determined and the others are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ...accountant.errors import DesignError
from .openings import Openings

_DETERMINED = 1e-9  # of a unit vector outside the row space, squared


def gram_system(assignments: Sequence[Tensor]) -> Tensor:
    """float64[equations, N(N-1)/2]: rows in the order assignment, client, cluster.

    Columns are the pairs in the order of `torch.triu_indices(N, N, 1)`.
    """
    rows = []
    for assignment in assignments:
        n = len(assignment)
        left, right = torch.triu_indices(n, n, 1)
        share = torch.nn.functional.one_hot(assignment).T.to(torch.float64)
        share = share / share.sum(dim=1, keepdim=True)  # [S, N]: 1/n for members
        within = share[:, left] * share[:, right]  # [S, pairs]
        one = torch.eye(n, dtype=torch.float64)
        # A pair (a, b) is seen from a if b is a member, and from b if a is.
        seen = one[:, None, left] * share[:, right] + one[:, None, right] * share[:, left]
        rows.append((seen - within).flatten(0, 1))
    return torch.cat(rows)


class PairwiseDistances(NamedTuple):
    """Of the clients' points.

    Attributes:
        values: float64[N, N]; where not determined, those of the shortest solution.
        determined: bool[N, N]: fixed by what was opened.
    """

    values: Tensor
    determined: Tensor


def pairwise_distances(
    assignments: Sequence[Tensor], distances: Sequence[Tensor]
) -> PairwiseDistances:
    """The clients' distances from each other.

    Args:
        assignments: int64[N] each, at least one.
        distances: float[N, S] each, opened; no cluster empty.

    Raises:
        DesignError: there are none.
    """
    if not assignments:
        raise DesignError("no assignment was opened, so nothing is known about any pair")
    system = gram_system(assignments)
    right = torch.cat([d.to(torch.float64).square().flatten() for d in distances])
    u, singular, vt = torch.linalg.svd(system, full_matrices=False)
    kept = singular > singular[0] * 1e-10
    u, singular, vt = u[:, kept], singular[kept], vt[kept]
    squares = vt.T @ ((u.T @ right) / singular)
    outside = 1.0 - vt.square().sum(dim=0)
    n = len(assignments[0])
    a, b = torch.triu_indices(n, n, 1)
    values = torch.zeros((n, n), dtype=torch.float64)
    values[a, b] = values[b, a] = squares.clamp(min=0.0).sqrt()
    determined = torch.eye(n, dtype=torch.bool)
    determined[a, b] = determined[b, a] = outside < _DETERMINED
    return PairwiseDistances(values, determined)


@dataclass(frozen=True)
class Gram:
    """See the module."""

    adversaries: ClassVar[tuple[str, ...]] = ("server",)
    needs: ClassVar[tuple[str, ...]] = ("opened distances and assignments", "static prompts")
    cost: ClassVar[str] = "one singular value decomposition with N(N-1)/2 unknowns"
    source: ClassVar[str] = "linearity of mean distances in the Gram matrix; arXiv:2505.22447 opens"

    def reconstruct(self, view: Openings) -> PairwiseDistances:
        """All pairwise distances, and which of them are certain."""
        return pairwise_distances(view.assignments, view.distances)

    def score(self, view: Openings, candidates: Tensor) -> Tensor:
        """float64[M] of candidates float[M, N, d']: minus the misfit of all opened distances.

        A candidate is what the points of all clients might be, up to a motion.
        """
        found = torch.zeros(len(candidates), dtype=torch.float64)
        points = candidates.to(torch.float64)
        for assignment, distances in zip(view.assignments, view.distances, strict=False):
            share = torch.nn.functional.one_hot(assignment).T.to(torch.float64)
            means = (share / share.sum(dim=1, keepdim=True)) @ points
            found -= (torch.cdist(points, means) - distances).square().sum(dim=(1, 2))
        return found

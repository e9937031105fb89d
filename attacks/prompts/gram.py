"""Distances between the clients' reduced prompts, from opened distances to unknown centres.

Idea: d(i,s)^2 = (1/n) sum_(j in s) D_ij - (1/n^2) sum_(j<k in s) D_jk is linear in the squared
distances D of the clients' points. Adversary: the server, which needs nothing beyond what it is
sent. A few assignments of static points give all N(N-1)/2 distances, that is every point up to a
motion; before that, linear algebra alone determines some pairs and leaves the others. The points
have a public dimension d', far fewer numbers: least squares over points in it gives pairs that
linear algebra leaves open, often all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError
from .openings import Openings

_DETERMINED = 1e-9  # of a unit vector outside the row space, squared
_MOST = 2**27  # numbers of the dense system: 1 GiB
_CHUNK, _CHUNKS = 40, 20  # steps of a fit between looks at it, and looks
_SOLVED = 1e-16  # mean squared gap of squares, relative, at which no other start is tried


def gram_system(assignments: Sequence[Tensor]) -> Tensor:
    """float64[equations, N(N-1)/2]: rows in the order assignment, client, cluster.

    Columns are the pairs in the order of `torch.triu_indices(N, N, 1)`.

    Raises:
        DesignError: the system would hold more than 2^27 numbers.
    """
    size = sum(len(a) ** 2 * (len(a) - 1) // 2 * (int(a.max()) + 1) for a in assignments)
    if size > _MOST:
        raise DesignError(
            f"the linear system would hold {size:.2g} numbers, more than {_MOST:.2g}.\n"
            "  Give fewer assignments, or the distances of fewer clients."
        )
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
        values: float64[N, N]; where not determined, those of the shortest solution, or of the best
            points that were found.
        determined: bool[N, N]: by linear algebra alone. That understates what is known where the
            dimension is: the other pairs may be exact, too.
        misfit: of the points: root mean squared gap of the opened squared distances, relative to
            their root mean square; 0 without a dimension. Small is necessary, not sufficient: other
            points may fit as well.
    """

    values: Tensor
    determined: Tensor
    misfit: float = 0.0


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


def fitted_points(
    assignments: Sequence[Tensor],
    distances: Sequence[Tensor],
    first: Tensor,
    *,
    dimension: int,
    starts: int,
    seed: int = 0,
) -> tuple[Tensor, float]:
    """Points whose distances to their clusters' means are as opened, up to a motion.

    Args:
        assignments: int64[N] each, at least one.
        distances: float[N, S] each.
        first: float64[N, N], distances to begin with: the first start is their best points in this
            dimension, the others are random. The best of all is kept.
        dimension: d', >= 1.
        starts: at most; a perfect fit ends the search.
        seed: of the random starts.

    Returns:
        float64[N, dimension], and the misfit, as in `PairwiseDistances`.
    """
    shares = [torch.nn.functional.one_hot(a).T.to(torch.float64) for a in assignments]
    share = torch.cat([s / s.sum(dim=1, keepdim=True) for s in shares])
    wanted = torch.cat([d.to(torch.float64).square() for d in distances], dim=1)
    scale = float(wanted.square().mean())
    draw = torch.Generator().manual_seed(seed)
    n = len(first)
    centring = torch.eye(n, dtype=torch.float64) - 1.0 / n
    values, vectors = torch.linalg.eigh(-0.5 * centring @ first.square() @ centring)
    used = min(dimension, n)
    start = torch.zeros(n, dimension, dtype=torch.float64)
    start[:, :used] = (vectors * values.clamp(min=0.0).sqrt())[:, -used:]
    spread = (float(wanted.mean()) / dimension) ** 0.5
    best, least = start, float("inf")
    for number in range(starts):
        if number:
            start = spread * torch.randn(n, dimension, generator=draw, dtype=torch.float64)
        points, loss = _fitted(start, share, wanted, scale)
        if loss < least:
            best, least = points, loss
        if least < _SOLVED:
            break
    return best, least**0.5


def _fitted(start: Tensor, share: Tensor, wanted: Tensor, scale: float) -> tuple[Tensor, float]:
    points = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [points], max_iter=_CHUNK, history_size=30, line_search_fn="strong_wolfe",
        tolerance_grad=1e-13, tolerance_change=1e-18,
    )  # fmt: skip

    def loss() -> Tensor:
        means = share @ points
        squares = (points.unsqueeze(1) - means).square().sum(dim=2)
        gap: Tensor = (squares - wanted).square().mean() / (scale or 1.0)
        return gap

    def closure() -> Tensor:
        optimizer.zero_grad()
        with torch.enable_grad():
            found = loss()
            torch.autograd.backward(found)
        return found

    least = float("inf")
    for _ in range(_CHUNKS):
        optimizer.step(closure)
        before, least = least, float(loss().detach())
        if least < _SOLVED or least > 0.999 * before:
            break
    return points.detach(), least


@dataclass(frozen=True, kw_only=True)
class Gram:
    """Distances between the clients' reduced prompts, from opened distances to unknown centres.

    Attributes:
        dimension: d', public, to use it; None for linear algebra alone.
        starts: of the search for points; it is not convex.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server",)
    needs: ClassVar[tuple[str, ...]] = ("opened distances and assignments", "static prompts")
    cost: ClassVar[str] = "one decomposition with N(N-1)/2 unknowns, some fits with N d' of them"
    source: ClassVar[str] = "linearity of mean distances in the Gram matrix; arXiv:2505.22447 opens"
    dimension: int | None = None
    starts: int = 12

    def __post_init__(self) -> None:
        check.count(starts=self.starts)
        if self.dimension is not None:
            check.count(dimension=self.dimension)

    def reconstruct(self, view: Openings) -> PairwiseDistances:
        """All pairwise distances, and which of them linear algebra alone determines."""
        found = pairwise_distances(view.assignments, view.distances)
        if self.dimension is None:
            return found
        points, misfit = fitted_points(
            view.assignments, view.distances, found.values,
            dimension=self.dimension, starts=self.starts,
        )  # fmt: skip
        return PairwiseDistances(torch.cdist(points, points), found.determined, misfit)

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

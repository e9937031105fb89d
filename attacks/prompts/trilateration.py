"""A reduced prompt from its opened distances to centres that the server knows.

Idea: differences of squared distances are linear in the point. Adversary: the server, which learns
every distance and every assignment. It must know the other clients' reduced prompts (they collude,
are Sybils, or leaked), and with them every mean: also that of the target's own cluster, whose
distance is (n - 1)/n of the distance to the mean of the others. d' + 1 independent centres give
the point exactly; d' of them leave two points, mirrored; fewer leave a sphere. Of a sphere the
point of its flat that is nearest to 0 is given: it has not the opened distances, but lies nearer to
a point drawn around 0 than most points that do.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ...accountant.errors import DesignError
from .openings import Openings


def trilaterate(centres: Tensor, distances: Tensor) -> Tensor:
    """The point with these distances to known centres; the best guess where many have them.

    With dim centres the nearer to 0 of the two; with fewer the nearest to 0 of the flat that their
    differences leave.

    Args:
        centres: float64[..., S, dim].
        distances: float64[..., S].

    Returns:
        float64[..., dim]; zeros if S = 0, which says nothing.

    >>> x = torch.tensor([0.25, -0.5], dtype=torch.float64)
    >>> centres = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    >>> trilaterate(centres, (centres - x).norm(dim=1)).round(decimals=9).tolist()
    [0.25, -0.5]
    """
    if 0 < centres.shape[-2] < centres.shape[-1]:
        return _flat(centres, distances).shortest
    return both_points(centres, distances)[..., 0, :]


class _Flat(NamedTuple):
    """What differences of squared distances leave.

    Attributes:
        shortest: float64[..., dim], its point nearest to 0.
        rows: float64[..., k, dim], orthonormal or zero, across it. along: float64[..., dim], a unit
            vector within it, if it is more than a point.
        rank: int64[...].
    """

    shortest: Tensor
    rows: Tensor
    along: Tensor
    rank: Tensor


def _flat(centres: Tensor, distances: Tensor) -> _Flat:
    norms, squares = centres.square().sum(dim=-1), distances.square()
    right = squares[..., 1:] - squares[..., :1] - norms[..., 1:] + norms[..., :1]
    u, singular, vt = torch.linalg.svd(2.0 * (centres[..., :1, :] - centres[..., 1:, :]))
    count = singular.shape[-1]
    largest = singular.amax(dim=-1, keepdim=True) if count else singular
    precision = torch.finfo(singular.dtype).eps * max(centres.shape[-2:])
    kept = singular > precision * largest
    along = (u.mT @ right.unsqueeze(-1))[..., :count, 0]
    along = torch.where(kept, along / torch.where(kept, singular, 1.0), 0.0)
    rows = vt[..., :count, :] * kept.unsqueeze(-1)
    shortest = (rows.mT @ along.unsqueeze(-1)).squeeze(-1)
    return _Flat(shortest, rows, vt[..., -1, :], kept.sum(dim=-1))


def both_points(centres: Tensor, distances: Tensor) -> Tensor:
    """The points with these distances that are nearest to 0 and farthest from it.

    Differences of squares, 2 x.(c_0 - c_s) = d_s^2 - d_0^2 - |c_s|^2 + |c_0|^2, are a linear system
    that leaves a flat of points; on it |x - c_0| = d_0 is a sphere. With dim independent centres
    the flat is a line and the two points are all there are; with more it is one point, twice.

    Args:
        centres: float64[..., S, dim].
        distances: float64[..., S].

    Returns:
        float64[..., 2, dim]; zeros if S = 0. The middle of the sphere, twice, where rounding or
        noise made it empty.

    >>> centres = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    >>> both_points(centres + 1.0, torch.ones(2, dtype=torch.float64)).round(decimals=3).tolist()
    [[1.5, 0.134], [1.5, 1.866]]
    """
    if centres.shape[-2] == 0:
        return centres.new_zeros(*centres.shape[:-2], 2, centres.shape[-1])
    first, squares = centres[..., 0, :], distances.square()
    shortest, rows, along, rank = _flat(centres, distances)
    # The middle: the flat's nearest point to the first centre.
    off = first - shortest
    middle = shortest + off - (rows.mT @ (rows @ off.unsqueeze(-1))).squeeze(-1)
    radius = (squares[..., 0] - (middle - first).square().sum(dim=-1)).clamp(min=0.0).sqrt()
    fixed = rank == centres.shape[-1]
    radius = torch.where(fixed, 0.0, radius).unsqueeze(-1)
    # Towards 0 within the flat; any way will do where its nearest point to 0 is the middle.
    inward = shortest - middle
    length = inward.norm(dim=-1, keepdim=True)
    some = length > 1e-12 * (1.0 + middle.norm(dim=-1, keepdim=True))
    way = torch.where(some, inward / torch.where(some, length, 1.0), along)
    middle = torch.where(fixed.unsqueeze(-1), shortest, middle)
    return torch.stack([middle + radius * way, middle - radius * way], dim=-2)


class Ranges(NamedTuple):
    """Distances of the target to points that the adversary knows.

    Attributes:
        centres: float64[equations, dim].
        distances: float64[..., equations].
    """

    centres: Tensor
    distances: Tensor


def known_means(known: Tensor, target: int, assignment: Tensor, distances: Tensor) -> Ranges:
    """The ranges that one step's distances of the target are.

    Args:
        known: float64[N, dim], the clients' points; the target's row is not read.
        target: its number.
        assignment: int64[N].
        distances: float64[..., S], of the target.
    """
    centres, ranges = [], []
    for cluster in range(distances.shape[-1]):
        members = assignment == cluster
        size = int(members.sum())
        with_target = bool(members[target])
        members[target] = False
        if not bool(members.any()):
            continue  # the target alone: distance 0 to itself
        centres.append(known[members].mean(dim=0))
        ranges.append(distances[..., cluster] * (size / (size - 1) if with_target else 1.0))
    if not centres:
        none = known.new_zeros(0, known.shape[1])
        return Ranges(none, distances[..., :0].to(known))
    return Ranges(torch.stack(centres), torch.stack(ranges, dim=-1).to(known))


def misfit(candidates: Tensor, ranges: Ranges) -> Tensor:
    """float64[M]: summed squared gaps of float64[M, dim]'s distances to the opened ones."""
    gaps = torch.cdist(candidates.to(ranges.centres), ranges.centres) - ranges.distances
    return gaps.square().sum(dim=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trilateration:
    """A reduced prompt from its opened distances to centres that the server knows.

    Attributes:
        known: float[N, d'], the other clients' reduced prompts; the target's row is not read.
        target: number of the client that is attacked.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server",)
    needs: ClassVar[tuple[str, ...]] = ("opened distances", "the other clients' reduced prompts")
    cost: ClassVar[str] = "one least-squares problem of size d'"
    source: ClassVar[str] = "linear trilateration of the distances that arXiv:2505.22447 opens"
    known: Tensor
    target: int

    def __post_init__(self) -> None:
        require_target(self.known, self.target)

    def reconstruct(self, view: Openings) -> Tensor:
        """float64[d'], the target's reduced prompt."""
        return trilaterate(*self.ranges(view))

    def score(self, view: Openings, candidates: Tensor) -> Tensor:
        """float64[M] of candidates float[M, d']: minus the misfit of their distances."""
        return -misfit(candidates, self.ranges(view))

    def ranges(self, view: Openings) -> Ranges:
        """All opened distances of the target, to known points."""
        known = self.known.to(torch.float64)
        parts = [
            known_means(known, self.target, assignment, distances[self.target])
            for assignment, distances in zip(view.assignments, view.distances, strict=False)
        ]
        if not parts:
            return Ranges(known.new_zeros(0, known.shape[1]), known.new_zeros(0))
        return Ranges(
            torch.cat([p.centres for p in parts]), torch.cat([p.distances for p in parts])
        )


def require_target(known: Tensor, target: int) -> None:
    """Raise `DesignError` unless `target` is a row of float[N, dim]."""
    if known.ndim != 2 or not 0 <= target < len(known):
        raise DesignError(
            f"known must be float[N, dim] with a row for the target, but is {list(known.shape)} "
            f"and the target is {target}"
        )

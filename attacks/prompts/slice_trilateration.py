"""A reduced prompt from distances per slice, which the opened product polynomial shows.

Idea: each of the K slices is trilaterated alone, from d'/K + 1 centres instead of d' + 1 (S13);
with d'/K of them each slice is one of two points, with fewer on a sphere.
Adversary, knowledge and formula as in `trilateration`; shares of zero added to the replies hide
the slices.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .openings import Openings
from .trilateration import Ranges, known_means, misfit, require_target, trilaterate


@dataclass(frozen=True, kw_only=True, eq=False)
class SliceTrilateration:
    """A reduced prompt from distances per slice, which the opened product polynomial shows.

    Attributes:
        known: float[N, d'], the other clients' reduced prompts; the target's row is not read.
        target: number of the client that is attacked.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server",)
    needs: ClassVar[tuple[str, ...]] = (
        "the opened product polynomial",
        "the other clients' reduced prompts",
    )
    cost: ClassVar[str] = "K least-squares problems of size d'/K"
    source: ClassVar[str] = "the product polynomial of arXiv:1806.00939 at the points of the slices"
    known: Tensor
    target: int

    def __post_init__(self) -> None:
        require_target(self.known, self.target)

    def reconstruct(self, view: Openings) -> Tensor:
        """float64[d'], the target's reduced prompt."""
        parts = [trilaterate(*ranges) for ranges in self.ranges(view)]
        if not parts:
            return torch.zeros(self.known.shape[1], dtype=torch.float64)
        return torch.cat(parts)[: self.known.shape[1]]

    def score(self, view: Openings, candidates: Tensor) -> Tensor:
        """float64[M] of candidates float[M, d']: minus the misfit, all slices together."""
        found = torch.zeros(len(candidates), dtype=torch.float64)
        slices = self.ranges(view)
        for ranges, part in zip(slices, _cut(candidates, len(slices)), strict=True):
            found -= misfit(part, ranges)
        return found

    def ranges(self, view: Openings) -> list[Ranges]:
        """K lists of distances, one per slice; none if no polynomial was opened."""
        if not view.slice_squares:
            return []
        pieces = _cut(self.known, len(view.slice_squares[0]))
        found = []
        for number, known in enumerate(pieces):
            steps = []
            for assignment, squares in zip(view.assignments, view.slice_squares, strict=True):
                sizes = torch.bincount(assignment)
                scaled = squares[number, self.target].to(torch.float64).sqrt() / sizes
                steps.append(known_means(known, self.target, assignment, scaled / 2.0**view.bits))
            found.append(
                Ranges(
                    torch.cat([step.centres for step in steps]),
                    torch.cat([step.distances for step in steps]),
                )
            )
        return found


def _cut(rows: Tensor, slices: int) -> list[Tensor]:
    """float64[n, ceil(dim/K)] each: as the protocol cuts, the last one filled up with zeros."""
    if not slices:
        return []
    width = math.ceil(rows.shape[1] / slices)
    fill = width * slices - rows.shape[1]
    return list(torch.nn.functional.pad(rows.to(torch.float64), (0, fill)).split(width, dim=1))

"""Single clients' prompts from sums of several rounds whose members differ.

Idea: with static prompts the opened sums are a linear system in the clients' prompts, whose matrix
(who was in which sum) is announced. A client is recovered as soon as its unit vector lies in the
row space: a difference of two sums in the simplest case, a longer combination otherwise (S5).
Adversary: the server, if it opens cluster prompts; it needs the announced assignments and prompts
that hardly change between the rounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ...accountant.errors import DesignError
from .openings import Openings

_INSIDE = 1e-9


class Solved(NamedTuple):
    """What the sums say about each client.

    Attributes:
        prompts: float64[N, dim]: the least-squares solution of least norm.
        isolated: bool[N]: determined, so exact but for changes between rounds and noise.
    """

    prompts: Tensor
    isolated: Tensor


def solve(sums: Sequence[Tensor], members: Sequence[frozenset[int]], *, clients: int) -> Solved:
    """The clients' prompts from logged sums.

    Args:
        sums: float[dim] each, at least one.
        members: who was summed in each.
        clients: N.

    Raises:
        DesignError: there are no sums.

    >>> sums = [torch.tensor([5.0]), torch.tensor([3.0])]
    >>> found = solve(sums, [frozenset({0, 1, 2}), frozenset({0, 1})], clients=3)
    >>> found.isolated.tolist(), round(float(found.prompts[2, 0]), 9)
    ([False, False, True], 2.0)
    """
    if not sums:
        raise DesignError("no sum was opened, so nothing is known about any client")
    matrix = torch.zeros(len(sums), clients, dtype=torch.float64)
    for row, group in enumerate(members):
        matrix[row, sorted(group)] = 1.0
    inverse = torch.linalg.pinv(matrix)
    prompts = inverse @ torch.stack(list(sums)).to(torch.float64)
    return Solved(prompts, (inverse @ matrix).diagonal() > 1.0 - _INSIDE)


@dataclass(frozen=True, kw_only=True)
class Differencing:
    """See the module.

    Attributes:
        target: the client that candidates are matched with.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server",)
    needs: ClassVar[tuple[str, ...]] = (
        "opened cluster prompts of several rounds",
        "announced assignments",
        "prompts that hardly change between rounds",
    )
    cost: ClassVar[str] = "one pseudo-inverse of the membership matrix"
    source: ClassVar[str] = "differencing of sums; with centroids, arXiv:2511.07073"
    target: int

    def reconstruct(self, view: Openings) -> Solved:
        """All clients' prompts, and which of them are isolated."""
        return solve(view.sums, view.summed, clients=view.clients)

    def score(self, view: Openings, candidates: Tensor) -> Tensor:
        """float64[M] of candidates float[M, dim]: minus the squared distance to the target's.

        All 0 where no sum was opened.
        """
        if not view.sums:
            return torch.zeros(len(candidates), dtype=torch.float64)
        found = self.reconstruct(view).prompts[self.target]
        return -(candidates.to(torch.float64) - found).square().sum(dim=1)

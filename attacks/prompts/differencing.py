"""Single clients' prompts from sums of several rounds whose members differ.

Idea: with static prompts the opened sums are a linear system in the clients' prompts, whose matrix
(who was in which sum) is announced. A client is recovered as soon as its unit vector lies in the
row space: a difference of two sums in the simplest case, a longer combination otherwise (S5).
Adversary: the server, if it opens cluster prompts; it needs the announced assignments and prompts
that hardly change between the rounds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError
from .openings import Openings

_INSIDE = 1e-9


class Solved(NamedTuple):
    """What the sums say about each client.

    Attributes:
        prompts: float64[N, dim]: the least-squares solution of least norm.
        isolated: bool[N]: determined, so exact but for changes between rounds and noise; or known.
    """

    prompts: Tensor
    isolated: Tensor


def solve(
    sums: Sequence[Tensor],
    members: Sequence[frozenset[int]],
    *,
    clients: int,
    known: Mapping[int, Tensor] | None = None,
    spreads: Sequence[float] | None = None,
) -> Solved:
    """The clients' prompts from logged sums, by weighted least squares.

    Under independent Gaussian noise of these standard deviations nothing in the sums says more
    about a client than its entry here.

    Args:
        sums: float[dim] each, at least one.
        members: who was summed in each.
        clients: N.
        known: float[dim] of clients that collude or leaked: taken out of the sums.
        spreads: standard deviation of each sum's noise, > 0; all equal if not given.

    Raises:
        DesignError: there are no sums, or not as many spreads as sums, or someone known is no
            client.

    >>> sums = [torch.tensor([5.0]), torch.tensor([3.0])]
    >>> found = solve(sums, [frozenset({0, 1, 2}), frozenset({0, 1})], clients=3)
    >>> found.isolated.tolist(), round(float(found.prompts[2, 0]), 9)
    ([False, False, True], 2.0)
    """
    if not sums:
        raise DesignError("no sum was opened, so nothing is known about any client")
    known = known or {}
    if not all(0 <= client < clients for client in known):
        raise DesignError(f"clients are numbered 0 .. {clients - 1}; known are {sorted(known)}")
    weights = torch.ones(len(sums), 1, dtype=torch.float64)
    if spreads is not None:
        check.positive(**{f"spread_{number}": value for number, value in enumerate(spreads)})
        if len(spreads) != len(sums):
            raise DesignError(f"{len(spreads)} spreads are given for {len(sums)} sums")
        weights = 1.0 / torch.tensor(spreads, dtype=torch.float64).unsqueeze(1)
    matrix = torch.zeros(len(sums), clients, dtype=torch.float64)
    for row, group in enumerate(members):
        matrix[row, sorted(group)] = 1.0
    right = torch.stack(list(sums)).to(torch.float64)
    for client, prompt in known.items():
        right = right - matrix[:, client : client + 1] * prompt.to(torch.float64)
        matrix[:, client] = 0.0
    inverse = torch.linalg.pinv(weights * matrix)
    prompts = inverse @ (weights * right)
    isolated = (inverse @ (weights * matrix)).diagonal() > 1.0 - _INSIDE
    for client, prompt in known.items():
        prompts[client], isolated[client] = prompt, True
    return Solved(prompts, isolated)


@dataclass(frozen=True, kw_only=True, eq=False)
class Differencing:
    """Single clients' prompts from sums of several rounds whose members differ.

    Attributes:
        target: the client that candidates are matched with.
        known: float[dim], prompts of clients that collude or leaked, by their numbers.
        spreads: standard deviation of each sum's noise, if the sums are not equally noisy.
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
    known: Mapping[int, Tensor] = field(default_factory=dict)
    spreads: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check.whole(target=self.target)
        if self.target in self.known:
            raise DesignError(f"client {self.target} is known already: nothing is left to attack")

    def reconstruct(self, view: Openings) -> Solved:
        """All clients' prompts, and which of them are isolated."""
        return solve(
            view.sums,
            view.summed,
            clients=view.clients,
            known=self.known,
            spreads=self.spreads,
        )

    def score(self, view: Openings, candidates: Tensor) -> Tensor:
        """float64[M] of candidates float[M, dim]: minus the squared distance to the target's.

        All 0 where no sum was opened.
        """
        if not view.sums:
            return torch.zeros(len(candidates), dtype=torch.float64)
        found = self.reconstruct(view).prompts[self.target]
        return -(candidates.to(torch.float64) - found).square().sum(dim=1)

"""What readers of a clustering on shares see: the server, and the members of a cluster.

Read off the board of a run (`mechanisms.secret_sharing.openings`), or off anybody's protocol: an
attack gets numbers, never a share that its adversary does not hold.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError


@dataclass(frozen=True, kw_only=True, eq=False)
class Openings:
    """What the server saw of N clients' points; any of the lists may be empty.

    Attributes:
        clients: N.
        assignments: int64[N] each, one per step: everybody's cluster, 0..S-1.
        distances: float[N, S] each, of the same steps: from each client's point to each mean.
        slice_squares: int64[K, N, S] each, of the same steps: squared distances per slice, times
            the squared size of the cluster, in units of 4^-bits.
        bits: fractional bits of the points' encoding.
        sums: float[dim] each: opened means of prompts times their sizes, of any rounds.
        summed: frozenset of clients, for each sum.

    Raises:
        DesignError: the lists do not fit together, or a number is NaN or infinite.
    """

    clients: int
    assignments: tuple[Tensor, ...] = ()
    distances: tuple[Tensor, ...] = ()
    slice_squares: tuple[Tensor, ...] = ()
    bits: int = 0
    sums: tuple[Tensor, ...] = ()
    summed: tuple[frozenset[int], ...] = ()

    def __post_init__(self) -> None:
        check.count(clients=self.clients)
        check.whole(bits=self.bits)
        for name in ("distances", "slice_squares"):
            values = getattr(self, name)
            if values and len(values) != len(self.assignments):
                raise DesignError(
                    f"{len(values)} steps have {name}, but {len(self.assignments)} an assignment; "
                    "give those of the same steps"
                )
            for assignment, value in zip(self.assignments, values, strict=False):
                wanted = (self.clients, int(assignment.max()) + 1)
                if tuple(value.shape[-2:]) != wanted:
                    raise DesignError(f"{name} must be [..., {wanted[0]}, {wanted[1]}] for an "
                                      f"assignment to {wanted[1]} clusters, but one is "
                                      f"{list(value.shape)}")  # fmt: skip
        for assignment in self.assignments:
            if assignment.shape != (self.clients,) or assignment.dtype != torch.int64:
                raise DesignError(f"an assignment must be int64[{self.clients}]")
        if len(self.sums) != len(self.summed):
            raise DesignError(f"{len(self.sums)} sums, but {len(self.summed)} sets of clients")
        if any(not 0 <= c < self.clients for group in self.summed for c in group):
            raise DesignError(f"clients are numbered 0 .. {self.clients - 1}; a sum has another")
        for value in (*self.distances, *self.sums):
            if not bool(torch.isfinite(value).all()):
                raise DesignError("an opened value is NaN or infinite: the protocol decodes none")


@dataclass(frozen=True, kw_only=True, eq=False)
class ClusterPrompts:
    """Cluster prompts that members got: one row per trial, or per round.

    Attributes:
        means: float[trials, dim].
        sizes: int64[trials], announced members of the cluster, >= 2.
        own: float[trials, colluders, dim]: what the members that collude put in.

    Raises:
        DesignError: shapes contradict each other, or nobody else is in a cluster.
    """

    means: Tensor
    sizes: Tensor
    own: Tensor

    def __post_init__(self) -> None:
        trials, dim = self.means.shape
        if self.sizes.shape != (trials,) or self.own.shape[::2] != (trials, dim):
            raise DesignError(
                f"means {list(self.means.shape)}, sizes {list(self.sizes.shape)} and own "
                f"{list(self.own.shape)} must be [trials, dim], [trials], [trials, colluders, dim]"
            )
        if int(self.sizes.min()) <= self.own.shape[1]:
            raise DesignError(
                f"a cluster of {int(self.sizes.min())} holds nobody but the "
                f"{self.own.shape[1]} colluders"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Shares:
    """Shares of one client's vector in two rounds, as its share holders have them.

    Attributes:
        first, second: int64[holders, width], field elements.
        alphas: the holders' public points.

    Raises:
        DesignError: shapes contradict each other.
    """

    first: Tensor
    second: Tensor
    alphas: tuple[int, ...]

    def __post_init__(self) -> None:
        shape = self.first.shape
        if self.second.shape != shape or len(shape) != 2 or len(self.alphas) != shape[0]:
            raise DesignError(
                f"first {list(shape)} and second {list(self.second.shape)} must both be "
                f"int64[{len(self.alphas)}, width], one row per holder"
            )

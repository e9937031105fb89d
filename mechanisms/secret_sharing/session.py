"""One run among N clients that hold shares: share, add, multiply once, open."""

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ...accountant.errors import ParameterError
from .fixed_point import checked
from .lagrange import LagrangeCode, lagrange_weights
from .masks import MaskStore


class Session:
    """The share holders of a run, simulated in one process on a leading axis.

    Args:
        code: how vectors are shared.
        masks: fresh masks by name.
        senders: clients whose replies arrive; default all. The same for every opening.
    """

    def __init__(
        self, code: LagrangeCode, masks: MaskStore, senders: Sequence[int] | None = None
    ) -> None:
        self.code, self.masks = code, masks
        self.senders = list(range(code.clients) if senders is None else senders)

    def share(self, codes: Tensor, *name: str | int, replicate: bool = False) -> Tensor:
        """Shares int64[N, ..., ceil(width/K)] of signed int64[..., width].

        The width is cut in K slices, the last one filled up with zeros; `replicate` puts the whole
        vector into every slice instead.
        """
        code = self.code
        elements = code.within.from_signed(codes)
        if replicate:
            slices = elements.expand(code.slices, *elements.shape)
        else:
            fill = -elements.shape[-1] % code.slices
            padded = torch.nn.functional.pad(elements, (0, fill))
            slices = torch.stack(padded.chunk(code.slices, dim=-1))
        drawn = self.masks.draw(*name, shape=(code.colluders, *slices.shape[1:]))
        return code.share(slices, drawn)

    def joined(self, slices: Tensor, width: int) -> Tensor:
        """int64[..., width] of opened slices int64[K, ..., ceil(width/K)]."""
        return torch.cat(list(slices), dim=-1)[..., :width]

    def total(self, shares: Tensor, dim: int) -> Tensor:
        """Each holder's share of a sum."""
        return self.code.within.sum(shares, dim)

    def open(self, shares: Tensor, *, product: bool) -> Tensor:
        """Field elements int64[K, ...] at the slices, from the replies that arrived."""
        return self.code.open(shares[self.senders], self.senders, product=product)

    def open_signed(self, shares: Tensor, *, limit: int) -> Tensor:
        """Signed int64[K, ...] of a shared sum, none beyond `limit`."""
        return checked(self.open(shares, product=False), self.code.within, limit=limit)

    def squares(self, points: Tensor, sums: Tensor, sizes: Sequence[int]) -> Tensor:
        """Each holder's reply h = sum_c (n_s X_c - S_s,c)^2, degree 2 (K+t-1), no division.

        Args:
            points: shares int64[N, clients, width] of the clients' vectors.
            sums: shares int64[N, clusters, width] of the clusters' sums.
            sizes: number of members of each cluster.

        Returns:
            int64[N, clients, clusters].
        """
        within = self.code.within
        columns = []
        for s, size in enumerate(sizes):
            gap = within.sub(within.scale(points, size), sums[:, s, None])
            columns.append(within.sum(within.mul(gap, gap), -1))
        return torch.stack(columns, dim=-1)

    def zero_shares(self, kind: Literal["sum", "each"], *name: str | int, like: Tensor) -> Tensor:
        """Shares of random products whose sum over the slices is 0, or each of which is.

        int64[N, ...] with the shape and device of `like` beyond the first axis. Added to the
        replies of an opening they leave nothing in the opened polynomial but the intended sum
        (kind "sum") or values ("each"). Every client contributes one polynomial; one honest
        contributor is enough.
        """
        code = self.code
        free = 2 * code.degree + 1 - (1 if kind == "sum" else code.slices)
        drawn = [
            self.masks.draw(*name, "zero", c, shape=(free, *like.shape))
            for c in range(code.clients)
        ]
        return zero_polynomial(code, kind, code.within.sum(torch.stack(drawn), 0).to(like.device))


def zero_polynomial(code: LagrangeCode, kind: Literal["sum", "each"], free: Tensor) -> Tensor:
    """Values at the clients of the polynomial of degree 2 (K+t-1) that `free` fixes.

    Kind "sum": the values at the slices are the first K-1 of `free` and minus their sum; kind
    "each": all 0. The rest of `free`, int64[count, ...], are its values at the points of the masks
    and at as many points beyond the clients as the degree needs.
    """
    within, slices = code.within, code.slices
    expected = 2 * code.degree + 1 - (1 if kind == "sum" else slices)
    if free.shape[0] != expected:
        raise ParameterError(f"{expected} free values are needed, but {free.shape[0]} were given")
    # A small field may hold no points beyond the clients: then those of clients come round again.
    taken = {beta % within.modulus for beta in code.betas}
    beyond = (max(code.alphas) + 1 + i for i in range(within.modulus))
    others = (x for x in beyond if x % within.modulus not in taken)
    nodes = [*code.betas, *itertools.islice(others, code.degree)]
    if kind == "sum":
        head = free[: slices - 1]
        values = torch.cat([head, within.neg(within.sum(head, 0))[None], free[slices - 1 :]])
    else:
        values = torch.cat([torch.zeros_like(free[:1]).expand(slices, *free.shape[1:]), free])
    return within.combine(lagrange_weights(within, nodes, code.alphas), values)

"""The change of a secret from shares of two rounds with the same masks.

Idea: the masks cancel, so shares differ by sum_k L_k(alpha) (S_k' - S_k): one linear equation per
share holder modulo the prime, for K unknown slices. Adversary: K colluding peers that hold shares;
for K = 1 a single one. Fresh masks leave them uniform numbers (S7).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant.errors import DesignError
from .openings import Shares


@dataclass(frozen=True, kw_only=True)
class ReusedMasks:
    """The change of a secret from shares of two rounds with the same masks.

    All fields are public constants of the protocol.

    Attributes:
        modulus: p, a prime.
        betas: points of the K slices, then of the masks.
        slices: K.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("peer",)
    needs: ClassVar[tuple[str, ...]] = ("shares of two rounds, of as many holders as slices",)
    cost: ClassVar[str] = "one linear system of size K modulo p"
    source: ClassVar[str] = "reuse of a one-time pad, in the code of arXiv:1806.00939"
    modulus: int
    betas: tuple[int, ...]
    slices: int

    def reconstruct(self, view: Shares) -> Tensor:
        """int64[K, width]: the change modulo p, in 0..p-1.

        Raises:
            DesignError: fewer holders than slices: fewer equations than unknowns.
        """
        if len(view.alphas) < self.slices:
            raise DesignError(
                f"{self.slices} slices need shares of {self.slices} holders, but "
                f"{len(view.alphas)} collude: each gives one equation per coordinate"
            )
        p = self.modulus
        matrix = [
            [self._weight(slice_, alpha) for slice_ in range(self.slices)]
            for alpha in view.alphas[: self.slices]
        ]
        # Python's whole numbers: products of field elements need twice the bits of an int64.
        right = [
            [(b - a) % p for a, b in zip(first, second, strict=True)]
            for first, second in zip(view.first.tolist(), view.second.tolist(), strict=True)
        ]
        return torch.tensor(_solved(matrix, right[: self.slices], p), dtype=torch.int64)

    def score(self, view: Shares, candidates: Tensor) -> Tensor:
        """float64[M] of candidates int64[M, K, width], changes: the share of equal elements."""
        found = self.reconstruct(view)
        return (candidates % self.modulus == found).double().mean(dim=(1, 2))

    def _weight(self, own: int, alpha: int) -> int:
        """The Lagrange polynomial of beta_own at alpha, modulo p."""
        top = bottom = 1
        for other, beta in enumerate(self.betas):
            if other != own:
                top = top * (alpha - beta) % self.modulus
                bottom = bottom * (self.betas[own] - beta) % self.modulus
        return top * pow(bottom, -1, self.modulus) % self.modulus


def _solved(
    matrix: Sequence[Sequence[int]], right: Sequence[Sequence[int]], p: int
) -> list[list[int]]:
    """Rows x with matrix @ x = right modulo the prime p, by elimination."""
    rows = [[*m, *r] for m, r in zip(matrix, right, strict=True)]
    size = len(rows)
    for column in range(size):
        pivot = next((r for r in range(column, size) if rows[r][column] % p), None)
        if pivot is None:
            raise DesignError("the holders' equations depend on each other; take other holders")
        rows[column], rows[pivot] = rows[pivot], rows[column]
        inverse = pow(rows[column][column], -1, p)
        rows[column] = [value * inverse % p for value in rows[column]]
        for other in range(size):
            if other != column and rows[other][column]:
                factor = rows[other][column]
                rows[other] = [
                    (value - factor * own) % p
                    for value, own in zip(rows[other], rows[column], strict=True)
                ]
    return [row[size:] for row in rows]

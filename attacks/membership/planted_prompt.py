"""Planted prompts: in a pool of prompts with keys, who holds the record trains the planted one.

Each record is matched with the prompts whose keys are nearest to its query, and training changes
these alone. A malicious server sets a key to the query of the record in question, so that a client
that holds it must pick that prompt, and looks which prompts come back changed. Keys at other,
public records draw away those who only resemble it.

Under noise every slot moves, and `gradient_difference` on the same run says more: the record's
gradient lies in its own slot alone, so the planted key keeps other records out of it.

Source: Nguyen et al., "PromptMIA", arXiv:2601.06641 (there several planted keys around one query;
here one for each record in question, and decoys).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant.errors import DesignError
from ...fl_core.kernels.base import Kernel, unflatten
from .updates import Updates


@dataclass(frozen=True, kw_only=True, eq=False)
class PlantedPrompt:
    """Sum over rounds of how far one client moved a planted prompt.

    Attributes:
        kernel: of the models; one of its parameters is the pool.
        prompts: name of that parameter, float[slots, ...] of one row.
        client: whose uploads are looked at.

    Raises:
        DesignError: the kernel has no such parameter.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server",)
    needs: ClassVar[tuple[str, ...]] = (
        "to be a malicious server: it plants keys in the pool of prompts",
        "the frozen encoder that makes queries, and the records in question",
        "each client's upload in every round",
    )
    cost: ClassVar[str] = "one query per record; a slot of the pool for each"
    source: ClassVar[str] = "Nguyen et al., arXiv:2601.06641"

    kernel: Kernel
    prompts: str
    client: int

    def __post_init__(self) -> None:
        if self.prompts not in self.kernel.shapes():
            raise DesignError(
                f"prompts = {self.prompts!r}, but the kernel's parameters are "
                f"{list(self.kernel.shapes())}"
            )

    @staticmethod
    def plant(queries: Tensor, decoys: Tensor) -> Tensor:
        """float[m + k, dim]: the keys that the server sends; slots 0 .. m - 1 are planted.

        Args:
            queries: float[m, dim], of the records in question.
            decoys: float[k, dim], of public records, k >= 1.

        Raises:
            DesignError: shapes differ, or two keys point the same way: nobody would know which of
                the two is picked.
        """
        if queries.ndim != 2 or decoys.ndim != 2 or queries.shape[1] != decoys.shape[1]:
            raise DesignError(
                "queries and decoys must be float[m, dim] and float[k, dim], but have the shapes "
                f"{list(queries.shape)} and {list(decoys.shape)}"
            )
        keys = torch.cat([queries, decoys])
        sizes = keys.norm(dim=1, keepdim=True)
        if not len(decoys) or not bool((sizes > 0).all()):
            raise DesignError("at least one decoy is needed, and no key may be zero")
        cosines = (keys / sizes) @ (keys / sizes).mT
        if bool((cosines.fill_diagonal_(-1.0) > 1.0 - 1e-6).any()):
            raise DesignError("two keys point the same way; leave one of the records out")
        return keys

    def score(self, view: Updates, candidates: Tensor) -> Tensor:
        """float64[trials, m]: of each planted slot, int64[m].

        Raises:
            DesignError: the view holds no uploads or no such client, or there is no such slot.
        """
        return self.per_round(view, candidates).sum(dim=1)

    def per_round(self, view: Updates, candidates: Tensor) -> Tensor:
        """float64[trials, rounds, m]: norm of the planted prompt's change."""
        moves = view.moves(self.client, "planted_prompt")
        shapes = self.kernel.shapes()
        slots = shapes[self.prompts][0]
        if candidates.dtype != torch.int64 or not bool(
            ((candidates >= 0) & (candidates < slots)).all()
        ):
            raise DesignError(f"candidates must be int64 slots 0 .. {slots - 1}")
        pool = unflatten(moves.flatten(0, 1), shapes)[self.prompts]
        found: Tensor = pool[:, candidates].flatten(2).norm(dim=2)
        return found.view(*moves.shape[:2], len(candidates))

"""Was anything of this user used? The scores of a user's records, taken together.

A claim per user is about all of a user's records at once, so it is audited with users as the
trials. Many small hints add up. Source: Kandpal et al., arXiv:2310.09266 (mean of the records'
statistics), and Carlini et al., arXiv:2112.03570, for the ratios that are summed.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError
from .signals import chosen

How = Literal["mean", "max", "sum"]
HOWS: tuple[How, ...] = ("mean", "max", "sum")


@dataclass(frozen=True, kw_only=True, eq=False)
class UserLevel:
    """Mean, maximum or sum over a user's records of scores that another attack gave.

    The sum of log likelihood ratios (LiRA or BaVarIA, online) is the ratio of all records together
    if they were independent; it grows with the number of records. The mean does not. The maximum is
    for users of whom a single odd record tells.

    Attributes:
        users: int64[records], whose each record is: numbers 0 .. users - 1, each at least once.
        how: "mean", "max" or "sum".

    Raises:
        ParameterError: an unknown `how`.
        DesignError: users that are not numbered so.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("querier", "outsider", "peer", "server")
    needs: ClassVar[tuple[str, ...]] = ("records of the user", "what the attack on records needs")
    cost: ClassVar[str] = "that of the attack on records"
    source: ClassVar[str] = "Kandpal et al., arXiv:2310.09266; Carlini et al., arXiv:2112.03570"
    users: Tensor
    how: How = "sum"

    def __post_init__(self) -> None:
        check.one_of(HOWS, how=self.how)
        users = self.users
        if users.dtype != torch.int64 or users.ndim != 1 or users.numel() == 0:
            raise DesignError(f"users must be int64[records], but is {users.dtype} {users.shape}")
        present = users.unique()
        if not torch.equal(present, torch.arange(len(present), device=users.device)):
            raise DesignError(
                f"users must be numbered 0 .. {len(present) - 1}, each with a record, but range "
                f"over {int(present[0])} .. {int(present[-1])}"
            )

    def score(self, view: Tensor, candidates: Tensor | None = None) -> Tensor:
        """float64[targets, m]; larger means more likely that the user's records were used.

        Args:
            view: float64[targets, records], scores of the records.
            candidates: int64[m], distinct users; None for all.

        Raises:
            DesignError: scores of other records, or candidates that are no distinct users.
        """
        if view.ndim != 2 or view.shape[1:] != self.users.shape:
            raise DesignError(
                f"scores must be float64[targets, {len(self.users)}], one column a record, but "
                f"have shape {tuple(view.shape)}"
            )
        count = self.users.bincount()
        where = self.users.expand(view.shape)
        found = view.new_zeros(len(view), len(count), dtype=torch.float64)
        if self.how == "max":
            found.scatter_reduce_(1, where, view.double(), "amax", include_self=False)
        else:
            found.scatter_add_(1, where, view.double())
        return chosen(found / count if self.how == "mean" else found, candidates)

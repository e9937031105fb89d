"""FedMIA: one client's update against those of all the others, who cannot hold the record.

In every round each client gets a number: the cosine of its upload with the descent of the record,
or minus the record's loss at its model. The other clients' numbers give an empirical null, mean
and standard deviation; the target client's is tested against it, one-tailed, and the probabilities
are added over rounds. What a round does to everybody alike, such as an easy record or a model that
has converged, drops out. Source: Zhu et al., arXiv:2402.06289.
"""

from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError
from ...fl_core.kernels.base import Kernel, Loss, cross_entropy
from .updates import Records, Updates, descent, record_gradients, record_losses

_AT_ONCE = 1 << 22  # numbers of gradients held at a time: 32 MiB


@dataclass(frozen=True, kw_only=True, eq=False)
class FedMia:
    """Sum over rounds of Phi((own - mean of the others) / standard deviation of the others).

    A round in which the target was not heard, or fewer than two others, says nothing: it counts
    1/2.

    Attributes:
        kernel: of the models.
        client: the client in question.
        loss: of training.
        measure: "cosine" of the upload with the record's descent, or minus the record's "loss" at
            the model that the client trained.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server",)
    needs: ClassVar[tuple[str, ...]] = (
        "every client's upload in every round, at least three clients",
        "that no other client holds the record",
        "the loss of training, to compute gradients",
    )
    cost: ClassVar[str] = "one gradient per record and round, or one loss per client too"
    source: ClassVar[str] = "Zhu et al., arXiv:2402.06289"

    kernel: Kernel
    client: int
    loss: Loss = cross_entropy
    measure: Literal["cosine", "loss"] = "cosine"

    def __post_init__(self) -> None:
        check.one_of(("cosine", "loss"), measure=self.measure)

    def score(self, view: Updates, candidates: Records) -> Tensor:
        """float64[trials, m]; larger means more likely a member.

        Raises:
            DesignError: the view holds no uploads or no such client, or some trial has no round
                in which the target and two others were heard.
        """
        return self.per_round(view, candidates).sum(dim=1)

    def per_round(self, view: Updates, candidates: Records) -> Tensor:
        """float64[trials, rounds, m]: one-tailed probabilities."""
        uploads, arrived = view.of_clients("fedmia")
        clients = uploads.shape[2]
        if not 0 <= self.client < clients:
            raise DesignError(f"client must be 0 .. {clients - 1}, but is {self.client}")
        others = arrived.clone()
        others[:, :, self.client] = False
        usable = arrived[:, :, self.client] & (others.sum(dim=2) >= 2)
        if not bool(usable.any(dim=1).all()):
            raise DesignError(
                "fedmia compares the target with at least two other clients, but in some trial "
                "there is no round in which they were all heard"
            )
        values = self._measured(view, uploads, candidates)
        weight = others.unsqueeze(-1).to(values)
        count = weight.sum(dim=2).clamp(min=2.0)
        mean = (values * weight).sum(dim=2) / count
        spread = ((values - mean.unsqueeze(2)).square() * weight).sum(dim=2) / (count - 1.0)
        gap = values[:, :, self.client] - mean
        # Others that agree leave no doubt: the limit of a small deviation. Equal uploads agree only
        # to rounding, which differs from one column of a matrix product to the next.
        rounding = 16 * torch.finfo(values.dtype).eps * mean.abs().clamp(min=1.0)
        sure = torch.where(gap.abs() <= rounding, 0.0, gap.sign() * torch.inf)
        tail = torch.special.ndtr(torch.where(spread > rounding**2, gap / spread.sqrt(), sure))
        return torch.where(usable.unsqueeze(-1), tail, 0.5)

    def _measured(self, view: Updates, uploads: Tensor, candidates: Records) -> Tensor:
        """float64[trials, rounds, clients, m]."""
        sent = view.models[:, :-1]
        if self.measure == "loss":
            trained = sent.unsqueeze(2) + uploads
            return -record_losses(self.kernel, trained, candidates, self.loss)
        gradients = record_gradients(self.kernel, sent, candidates, self.loss)
        each, found = max(1, _AT_ONCE // max(sent.numel(), 1)), []
        while some := list(islice(gradients, each)):  # one matrix product for all of them
            several = torch.stack(some, dim=2).unsqueeze(2)
            found.append(descent(several, uploads.unsqueeze(3), cosine=True))
        return torch.cat(found, dim=-1)

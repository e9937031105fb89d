"""Active server: ascend on the record, send that model, and see who pulls it back.

Before every round the server moves the model up the loss of the record in question. A client that
holds it has a large gradient for it and brings its loss down again at once; for others the loss
falls only as far as similar records pull it. Source: Nasr, Shokri & Houmansadr,
arXiv:1812.00910, section on the active attack.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError
from ...fl_core.kernels.base import Context, Kernel, Loss, Outputs, Params, cross_entropy
from .signals import log_odds
from .updates import Records, Updates, record_losses


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientAscent:
    """Sum over rounds of ln loss(x; model sent) - ln loss(x; model that came back).

    By what factor, not by how much: after an ascent losses differ by orders of magnitude. The
    logarithm of a cross-entropy is taken from the logits, where a loss that rounds to zero is still
    ordered. Any other loss counts as at least one rounding of 1, 2.2e-16: below that it is not
    known.

    Attributes:
        kernel: of the models.
        client: whose uploads are looked at.
        rate: step of the ascent, > 0.
        loss: of training.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server",)
    needs: ClassVar[tuple[str, ...]] = (
        "to be a malicious server: it sends a model that it has changed",
        "each client's upload in every round",
        "the loss of training, to compute gradients",
    )
    cost: ClassVar[str] = "one gradient and two losses per record and round; utility suffers"
    source: ClassVar[str] = "Nasr, Shokri & Houmansadr, arXiv:1812.00910"

    kernel: Kernel
    client: int
    rate: float
    loss: Loss = cross_entropy

    def __post_init__(self) -> None:
        check.positive(rate=self.rate)

    def ascend(self, params: Mapping[str, Tensor], records: Records) -> Params:
        """What the malicious server sends instead of `params`: one step up a record's loss.

        Args:
            params: float[replicas, ...] each, what an honest server would send.
            records: the record in question in each replica.

        Raises:
            DesignError: it is not one record for each replica.
        """
        own = {name: params[name] for name in self.kernel.shapes()}
        like = next(iter(own.values()))
        if len(records) != len(like):
            raise DesignError(
                f"{len(records)} records are not one for each of {len(like)} replicas"
            )
        x = records.x.to(like.dtype) if records.x.is_floating_point() else records.x
        one = torch.ones(len(like), 1, dtype=like.dtype)
        gradients = self.kernel.gradients(
            own, x.unsqueeze(1), records.y.unsqueeze(1), one, self.loss, {}
        )
        risen = {name: value + self.rate * gradients[name] for name, value in own.items()}
        return dict(params) | risen

    def score(self, view: Updates, candidates: Records) -> Tensor:
        """float64[trials, m]; larger means more likely a member.

        Raises:
            DesignError: the view holds no uploads, or no such client.
        """
        return self.per_round(view, candidates).sum(dim=1)

    def per_round(self, view: Updates, candidates: Records) -> Tensor:
        """float64[trials, rounds, m]: by what factor the client brought the loss down, as a log."""
        uploads = view.moves(self.client, "gradient_ascent")
        sent = view.models[:, :-1]
        return self._logs(sent, candidates) - self._logs(sent + uploads, candidates)

    def _logs(self, models: Tensor, candidates: Records) -> Tensor:
        """float64[..., m]: ln loss of each record at each of the models."""
        if self.loss is cross_entropy:
            return record_losses(self.kernel, models, candidates, _log_cross_entropy)
        losses = record_losses(self.kernel, models, candidates, self.loss)
        if not bool((losses >= 0).all()):
            raise DesignError("gradient_ascent compares ratios of losses, which must be >= 0")
        return losses.clamp(min=torch.finfo(losses.dtype).eps).log()


def _log_cross_entropy(outputs: Outputs, y: Tensor, context: Context) -> Tensor:
    """float64[rows, batch]: ln ln(1 + exp(-phi)), phi the log odds of the record's class."""
    phi = log_odds(outputs.logits.double(), y)
    # Beyond 40, ln(1 + exp(-phi)) is exp(-phi) to the last bit, and rounds to zero in the end.
    near = torch.nn.functional.logsigmoid(phi.clamp(max=40.0))
    return torch.where(phi > 40.0, -phi, (-near).log())

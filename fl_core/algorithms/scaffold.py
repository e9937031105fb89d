"""SCAFFOLD: control variates against the drift of clients.

Each client descends along gradient - own control + server's control. Its new control, and what it
uploads of it, is a function of its records: a released value like the parameters. It goes into the
same vector as they do, so that one clip and one noise cover both.
Source: Karimireddy et al., arXiv:1910.06378, option II.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...accountant import check
from ..kernels.base import Params
from ..optimizers import PlainSgd
from .fed_lora_clients import Selected

PREFIX = "control "


@dataclass(frozen=True, kw_only=True)
class Scaffold:
    """Local SGD with control variates.

    Attributes:
        learning_rate: of the clients, > 0. A change of a control is uploaded times this rate, so
            that it has the size of one step and shares a clip bound with the parameters.
        clients: number of all clients, public, >= 1.
    """

    learning_rate: float
    clients: int

    def __post_init__(self) -> None:
        check.positive(learning_rate=self.learning_rate)
        check.count(clients=self.clients)

    def optimizer(
        self, names: tuple[str, ...], received: Mapping[str, Tensor], own: Mapping[str, Tensor]
    ) -> Selected:
        """The corrected descent of some rows; `received` and `own` hold their controls."""

        def correction(name: str, value: Tensor, rows: slice) -> Tensor:
            return received[PREFIX + name][rows] - own[PREFIX + name][rows]

        return Selected(PlainSgd(self.learning_rate), names, correction)

    def renew(
        self,
        names: tuple[str, ...],
        start: Mapping[str, Tensor],
        trained: Mapping[str, Tensor],
        received: Mapping[str, Tensor],
        own: Mapping[str, Tensor],
        taken: Tensor,
    ) -> Params:
        """New controls c_i - c + (x - y) / (K learning_rate); those of other names stay.

        Args:
            names: what was trained.
            start: x, float[rows, ...] each.
            trained: y, likewise.
            received: the server's controls.
            own: the rows' controls.
            taken: float64[rows]: K, steps of each row; with none its control stays.
        """
        found = dict(own)
        for name in names:
            before = own[PREFIX + name]
            shape = (-1,) + (1,) * (before.dim() - 1)
            scale = (1.0 / (taken.clamp(min=1.0) * self.learning_rate)).to(before).view(shape)
            new = before - received[PREFIX + name] + (start[name] - trained[name]) * scale
            found[PREFIX + name] = torch.where(taken.view(shape) > 0, new, before)
        return found

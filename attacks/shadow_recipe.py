"""`Recipe`: how the target is trained, and so every shadow of it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..accountant.errors import DesignError
from ..fl_core.algorithms.personal_training import PrivateTraining
from ..fl_core.clients import ClientData
from ..fl_core.counters import Counter
from ..fl_core.kernels.base import Kernel, Loss, Params, cross_entropy
from ..fl_core.optimizers import Optimizer
from ..fl_core.plan import by_length
from ..fl_core.private_training import train_privately
from ..fl_core.training import train
from .shadow_batches import Batches, Key


@dataclass(frozen=True, kw_only=True, eq=False)
class Recipe:
    """A training, without its data and its randomness.

    Attributes:
        kernel: the model. A `Functional` one starts every shadow from its module's parameters.
        training: the batches of plain training; or DP-SGD, for shadows of a private target.
        optimizer: makes the optimiser of one training from its parameters.
        loss: of each record.
        dtype: of the parameters.
    """

    kernel: Kernel
    training: Batches | PrivateTraining
    optimizer: Callable[[Params], Optimizer]
    loss: Loss = cross_entropy
    dtype: torch.dtype = torch.float32

    def start(self, data: ClientData, key: Key) -> Params:
        """Each row's initial model."""
        found = self.kernel.initial(Counter.of(key, "model"), data.clients, data.replicas)
        return {name: value.to(self.dtype) for name, value in found.items()}

    def train(self, data: ClientData, key: Key) -> Params:
        """float[rows, ...]: one trained model per row, on the data's device.

        Initial model, batches and noise of a row depend on (key, client, replica) alone.

        Raises:
            DesignError: a row without records, or a model that diverged.
        """
        if not len(data):
            raise DesignError("there is no model to train")
        if int(data.lengths.min()) == 0:
            raise DesignError(f"model {int(data.lengths.argmin())} has no records to train on")
        order = by_length(data)
        rows = data.take(order)
        params = self.start(rows, key)
        descent = self.optimizer(params)
        if isinstance(self.training, PrivateTraining):
            train_privately(
                self.kernel,
                params,
                rows,
                mechanism=self.training.mechanism,
                steps=self.training.steps,
                loss=self.loss,
                optimizer=descent,
                key=key.child("private training"),
            )
        else:
            plan = self.training.plan(rows, key)
            train(self.kernel, params, rows, plan, loss=self.loss, optimizer=descent)
        back = order.argsort()
        params = {name: value[back] for name, value in params.items()}
        fine = torch.stack([v.isfinite().flatten(1).all(dim=1) for v in params.values()]).all(dim=0)
        if not bool(fine.all()):
            wrong = data.replicas[~fine].tolist()
            raise DesignError(
                f"{len(wrong)} of {len(data)} models diverged, the first is number {wrong[0]}.\n"
                "  Take a smaller learning rate: parameters that are not finite answer nothing."
            )
        return params

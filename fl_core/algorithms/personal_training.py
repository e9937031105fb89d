"""Local training of a prototype federation: with what a loss needs in every step, or private."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import dp_accounting.dp_event as dpe
from torch import Tensor

from ...accountant import check
from ...mechanisms.base import Key
from ...mechanisms.dpsgd import DpSgd
from ..clients import ClientData
from ..kernels.base import Kernel, Loss, Params, rows_of
from ..kernels.stacked import Stacked
from ..optimizers import Optimizer
from ..plan import Step
from ..private_training import train_privately
from ..training import train
from .distillation import Distillation
from .method import PrototypeMethod


@dataclass(frozen=True, kw_only=True)
class PrivateTraining:
    """Local training with DP-SGD, so that what the models compute may leave.

    Attributes:
        mechanism: clip bound, noise, sampling rate and divisor.
        steps: in each round, >= 1.
    """

    mechanism: DpSgd
    steps: int

    def __post_init__(self) -> None:
        check.count(steps=self.steps)

    def event(self) -> dpe.DpEvent:
        """Cost of one round's training; add or remove one record."""
        return self.mechanism.event(self.steps)

    def train(
        self,
        kernel: Kernel,
        personal: Params,
        data: ClientData,
        *,
        method: PrototypeMethod,
        context: Params,
        optimizer: Callable[[Params], Optimizer],
        round: int,
        key: Key,
    ) -> None:
        """Train in place; arguments as `train_personal`, with round and key of the noise."""
        params = {name: personal[name] for name in kernel.shapes()}
        train_privately(
            kernel,
            params,
            data,
            mechanism=self.mechanism,
            steps=self.steps,
            loss=method.loss,
            optimizer=optimizer(params),
            key=key.child("private training"),
            round=round,
            context=context,
        )


def train_personal(
    kernel: Kernel,
    personal: Params,
    data: ClientData,
    plan: Iterable[Step],
    *,
    method: PrototypeMethod,
    context: Params,
    optimizer: Callable[[Params], Optimizer],
    distillation: Distillation | None,
) -> None:
    """Take the steps of `plan`, in place.

    Args:
        kernel: the model, without soft clip.
        personal: parameters and, with distillation, the teacher of each row.
        data: the rows' records.
        plan: the steps.
        method: whose loss.
        context: what the loss needs of the last broadcast, float[rows, ...] each.
        optimizer: makes the optimiser.
        distillation: DCR, or None.
    """
    params = {name: personal[name] for name in kernel.shapes()}
    descent = optimizer(params)
    if distillation is None and not method.guided:
        train(kernel, params, data, plan, loss=method.loss, optimizer=descent, context=context)
        return
    student: Kernel = kernel
    loss: Loss = method.loss
    if distillation is not None:
        student, loss = distillation.student(kernel), distillation.loss(method.loss)
    for step in plan:
        x = data.x[step.records]
        extra = method.guide(rows_of(context, step.rows), x)
        if distillation is not None and isinstance(kernel, Stacked):
            extra |= distillation.teach(rows_of(personal, step.rows), x, kernel)
        among = {name: _among(value, step.rows, len(data)) for name, value in extra.items()}
        train(
            student,
            params,
            data,
            (step,),
            loss=loss,
            optimizer=descent,
            context=context | among,
        )
        if distillation is not None and isinstance(kernel, Stacked):
            distillation.follow(rows_of(personal, step.rows), kernel)


def _among(value: Tensor, rows: slice, count: int) -> Tensor:
    """`value`, of some rows, in its place among all rows."""
    found = value.new_zeros(count, *value.shape[1:])
    found[rows] = value
    return found

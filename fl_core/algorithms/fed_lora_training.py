"""Local training of a LoRA federation: rows that share one frozen model."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from torch import Tensor

from ...mechanisms.base import Key
from ..clients import ClientData
from ..kernels.adapters import Adapters
from ..kernels.base import Loss, Params
from ..plan import Order, steps
from ..private_training import train_privately
from ..training import train
from .fed_lora_clients import Descent, Idle, PrivateDescent
from .fed_lora_factors import factor_of
from .scaffold import Scaffold

Client = Descent | PrivateDescent | Scaffold | Idle


def train_rows(
    client: Client,
    kernel: Adapters,
    params: Params,
    data: ClientData,
    *,
    names: tuple[str, ...],
    start: Mapping[str, Tensor],
    controls: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    loss: Loss,
    epochs: int,
    batch_size: int,
    order: Order,
    round: int,
    key: Key,
) -> None:
    """Train in place.

    Args:
        client: how.
        kernel: the model.
        params: float[rows, ...] each.
        data: the rows, longest first.
        names: what is trained; the rest stays.
        start: the parameters as they were broadcast.
        controls: SCAFFOLD's controls of the server and of the rows.
        loss: each record's loss.
        epochs: of the plan, unless training is private.
        batch_size: likewise.
        order: likewise.
        round: of the run.
        key: of the run.
    """
    if isinstance(client, Idle):
        return
    letters: tuple[Literal["A", "B"], ...] = ("A", "B")
    moving = {factor_of(name) for name in names}
    kernel = replace(kernel, trained=tuple(letter for letter in letters if letter in moving))
    if isinstance(client, PrivateDescent):
        train_privately(
            kernel,
            params,
            data,
            mechanism=client.mechanism,
            steps=client.steps,
            loss=loss,
            optimizer=Descent(make=client.make).optimizer(names, params, start),
            key=key.child("private training"),
            round=round,
        )
        return
    if isinstance(client, Scaffold):
        optimizer = client.optimizer(names, *controls)
    else:
        optimizer = client.optimizer(names, params, start)
    plan = steps(data, epochs=epochs, batch_size=batch_size, order=order)
    train(kernel, params, data, plan, loss=loss, optimizer=optimizer)

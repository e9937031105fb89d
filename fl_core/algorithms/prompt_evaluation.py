"""How good prompts are: on the records of a client's own kind, and of everybody else's."""

from typing import NamedTuple

import torch
from torch import Tensor

from ...accountant.errors import ConfigError
from ..clients import ClientData
from ..kernels.base import Params
from ..kernels.prompts import Prompts


class Accuracy(NamedTuple):
    """Shares of test records that each client's prompt classifies right.

    Attributes:
        local: float64[rows], on the client's own test records.
        neighbour: float64[rows], on those of all other clients of its replica together.
    """

    local: Tensor
    neighbour: Tensor


def accuracy(kernel: Prompts, prompts: Params, test: ClientData) -> Accuracy:
    """Local and neighbour accuracy among all classes.

    Args:
        kernel: of the prompts.
        prompts: float[rows, ...] each, one row per client.
        test: the clients' test records, the same rows; no record is held by two of a replica.

    Raises:
        ConfigError: rows differ, a client has no test records, or nobody else in its replica has.
    """
    rows = len(test)
    if any(len(value) != rows for value in prompts.values()):
        raise ConfigError(f"there are test records of {rows} clients, but prompts of others")
    if not rows or int(test.lengths.min()) == 0:
        raise ConfigError("a client has no test records, so it has no accuracy; leave it out")
    held = torch.arange(test.index.shape[1], device=test.index.device) < test.lengths[:, None]
    right = torch.empty(rows, dtype=torch.float64)
    other = torch.empty(rows, dtype=torch.float64)
    for row in range(rows):
        among = test.replicas == test.replicas[row]
        if int(among.sum()) == 1:
            raise ConfigError("a client is alone in its replica, so it has no neighbours")
        records = test.index[among][held[among]]
        owner = test.clients[among].unsqueeze(1).expand_as(test.index[among])[held[among]]
        own = {name: value[row : row + 1] for name, value in prompts.items()}
        logits = kernel.outputs(own, test.x[records][None]).logits[0]
        hit = (logits.argmax(dim=-1) == test.y[records]).double()
        mine = owner == test.clients[row]
        right[row], other[row] = hit[mine].mean(), hit[~mine].mean()
    return Accuracy(right, other)

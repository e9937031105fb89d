"""How good personal models are, in the way that their method classifies."""

import torch
from torch import Tensor

from ..clients import ClientData
from ..kernels.base import Params
from .losses import unit
from .prototypes import PrototypeFederation
from .statistics import features_of


def accuracy(
    federation: PrototypeFederation, personal: Params, data: ClientData, x: Tensor, y: Tensor
) -> Tensor:
    """Share of test records that each row gets right, float64[rows].

    By its head on raw features or, if the method has it so, by the nearest (cosine) of the means
    of its own raw training features; classes that it does not hold are not guessed.

    Args:
        federation: the method and the model.
        personal: state of the rows.
        data: the rows' training records.
        x: float[rows, n, dim], frozen features of test records.
        y: int64[rows, n].
    """
    outputs = federation.kernel.outputs(personal, x.to(data.x.dtype))
    scores = outputs.logits
    if federation.method.classifies_by == "prototypes":
        own, labels = features_of(data, federation.kernel, personal)
        classes = torch.arange(federation.classes, device=labels.device).view(-1, 1)
        member = labels.unsqueeze(1) == classes
        scores = unit(outputs.features.double()) @ unit(member.to(own) @ own).mT
        scores = scores.masked_fill(~member.any(dim=2).unsqueeze(1), -2.0)
    return (scores.argmax(dim=2) == y).double().mean(dim=1)

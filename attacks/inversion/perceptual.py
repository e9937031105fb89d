"""Perceptual distance (EfficientNet-Lite0), not LPIPS: distance of a frozen network's maps.

As in LPIPS, maps of several depths are normalised per position and their squared distances
averaged; unlike LPIPS, the network is our packaged backbone and no weights were fitted to human
judgements, so that the numbers are comparable only with each other.
Source of the idea: Zhang et al., arXiv:1801.03924, section 3.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook

from ...accountant.errors import ParameterError
from ...fl_core.models.backbone import Backbone

LABEL = "perceptual distance (EfficientNet-Lite0), not LPIPS"


def feature_maps(backbone: Backbone, images: Tensor) -> list[Tensor]:
    """The last map of each spatial size inside the backbone, finest first.

    Args:
        backbone: a convolutional one.
        images: float[n, 3, height, width] in [0, 1].

    Returns:
        float[n, channels, rows, columns] each.

    Raises:
        ParameterError: the backbone has no maps, such as `pixels`.
    """
    found: dict[tuple[int, ...], Tensor] = {}

    def keep(module: Any, inputs: Any, output: Any) -> None:
        # One position is no map; containers give again what their last layer gave.
        if (
            isinstance(output, Tensor)
            and output.ndim == 4
            and output.shape[2] * output.shape[3] > 1
        ):
            found[tuple(output.shape[2:])] = output

    # A backbone gives vectors only; the hook sees its layers without knowing the architecture.
    handle = register_module_forward_hook(keep)
    try:
        with torch.no_grad():
            backbone.encode(images)
    finally:
        handle.remove()
    if not found:
        raise ParameterError(
            f"backbone {backbone.name!r} has no feature maps of more than one position at "
            f"{backbone.image_size} pixels; take efficientnet-lite0"
        )
    return [found[size] for size in sorted(found, reverse=True)]


def perceptual_distance(backbone: Backbone, images: Tensor, others: Tensor) -> Tensor:
    """float64[n], >= 0, for picture pairs; 0 for equal pictures.

    Args:
        backbone: a convolutional one.
        images: float[n, 3, height, width] in [0, 1].
        others: the same shape.

    Raises:
        ParameterError: shapes differ, or the backbone has no maps.
    """
    if images.shape != others.shape:
        raise ParameterError(
            f"pictures to compare must have equal shapes, but have {list(images.shape)} and "
            f"{list(others.shape)}"
        )
    layers = []
    for both in feature_maps(backbone, torch.cat([images, others])):
        maps = both.double()
        first, second = (maps / (maps.norm(dim=1, keepdim=True) + 1e-10)).chunk(2)
        layers.append((first - second).square().sum(dim=1).mean(dim=(1, 2)))
    return torch.stack(layers).mean(dim=0)

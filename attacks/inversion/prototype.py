"""Prototype inversion: look for an image whose features are the prototype.

Gradient descent on pixels through the frozen encoder, from the guess of a public decoder, with
total variation as prior. Source: Mahendran & Vedaldi, arXiv:1412.0035; as an attack on prototypes,
arXiv:2410.07738.

A mean of many features is no image's feature: what comes out is typical of the class. So the
result means nothing without its control, the same attack on a prototype of *other* images of the
class (`metrics.leakage_gap`).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity


def invert(
    targets: Tensor,
    encode: Callable[[Tensor], Tensor],
    *,
    start: Tensor,
    steps: int,
    learning_rate: float = 0.02,
    smoothness: float = 6.0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Images whose features point where `targets` point.

    Args:
        targets: float64[n, dim] noisy prototypes.
        encode: float[n, 3, height, width] in [0, 1] to float64[n, dim], differentiable.
        start: float[n, 3, height, width] in [0, 1], where the search starts.
        steps: Adam steps.
        learning_rate: of Adam, on the logits of the pixels.
        smoothness: weight of the total variation (mean over the pixels).
        progress: called with (done, steps).

    Returns:
        float[n, 3, height, width] in [0, 1], and float[n], the cosine reached.
    """
    logits = torch.logit(start.clamp(0.02, 0.98)).clone().requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=learning_rate)
    for step in range(steps):
        images = torch.sigmoid(logits)
        match = cosine_similarity(encode(images), targets, dim=1)
        loss = (1.0 - match).sum() + smoothness * _total_variation(images).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if progress is not None:
            progress(step + 1, steps)
    with torch.no_grad():
        images = torch.sigmoid(logits)
        return images, cosine_similarity(encode(images), targets, dim=1)


def _total_variation(images: Tensor) -> Tensor:
    """float[n]: mean absolute difference of neighbouring pixels."""
    across = (images[..., 1:] - images[..., :-1]).abs().mean(dim=(1, 2, 3))
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean(dim=(1, 2, 3))
    return across + down

"""A linear decoder from features to images, fitted on public pairs: where inversion starts.

Gradient descent from a grey image ends in noise with the right features; from the decoder's guess
it stays near natural images. Source of the idea: Dosovitskiy & Brox, arXiv:1506.02753 (there a
network, here ridge regression).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LinearDecoder:
    """float[n, dim] features to float[n, 3, height, width] images in [0, 1]."""

    weights: Tensor  # float64[dim + 1, 3 * height * width]
    shape: tuple[int, ...]

    def __call__(self, features: Tensor) -> Tensor:
        """The decoder's guess."""
        flat = _with_one(features) @ self.weights
        return flat.reshape(-1, *self.shape).clamp(0.0, 1.0).float()


def fit(features: Tensor, images: Tensor, *, ridge: float = 1.0) -> LinearDecoder:
    """Ridge regression of float[n, 3, height, width] images on float64[n, dim] features."""
    inputs = _with_one(features)
    gram = inputs.T @ inputs + ridge * torch.eye(inputs.shape[1], dtype=inputs.dtype)
    weights = torch.linalg.solve(gram, inputs.T @ images.double().flatten(1))
    return LinearDecoder(weights, tuple(images.shape[1:]))


def _with_one(features: Tensor) -> Tensor:
    return torch.cat([features.double(), features.new_ones(len(features), 1).double()], dim=1)

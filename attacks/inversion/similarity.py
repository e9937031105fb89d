"""Structural similarity of pictures (SSIM)."""

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from ...accountant.errors import ParameterError

_SIDE = 11
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2  # pixels in [0, 1]


def ssim(images: Tensor, others: Tensor) -> Tensor:
    """Mean structural similarity, float64[n], of picture pairs; 1 for equal pictures.

    Gaussian window of 11 x 11 pixels with standard deviation 1.5, population moments, positions
    at which the window fits, mean over positions and channels.
    Source: Wang, Bovik, Sheikh & Simoncelli, 2004, doi:10.1109/TIP.2003.819861.

    Args:
        images: float[n, channels, height, width] in [0, 1].
        others: the same shape.

    Raises:
        ParameterError: shapes differ, or pictures are smaller than the window.

    >>> grey = torch.full((1, 3, 12, 12), 0.5)
    >>> float(ssim(grey, grey)), round(float(ssim(grey, grey + 0.1)), 4)
    (1.0, 0.9836)
    """
    if images.shape != others.shape or images.ndim != 4:
        raise ParameterError(
            "pictures to compare must have equal shapes [n, channels, height, width], but have "
            f"{list(images.shape)} and {list(others.shape)}"
        )
    if min(images.shape[2:]) < _SIDE:
        raise ParameterError(
            f"SSIM needs pictures of at least {_SIDE} x {_SIDE} pixels, but these have "
            f"{images.shape[2]} x {images.shape[3]}; enlarge them, or use the PSNR"
        )
    first, second = (p.double().flatten(0, 1).unsqueeze(1) for p in (images, others))
    moments = [first, second, first * first, second * second, first * second]
    window = torch.exp(
        -0.5 * (torch.arange(_SIDE, dtype=torch.float64) - _SIDE // 2) ** 2 / _SIGMA**2
    )
    window = window / window.sum()
    smooth = conv2d(torch.cat(moments), window[None, None, :, None])  # the window is a product
    mean1, mean2, square1, square2, product = conv2d(smooth, window[None, None, None, :]).chunk(5)
    variances = square1 - mean1.square() + square2 - mean2.square()
    covariance = product - mean1 * mean2
    light = (2.0 * mean1 * mean2 + _C1) / (mean1.square() + mean2.square() + _C1)
    structure = (2.0 * covariance + _C2) / (variances + _C2)
    return (light * structure).mean(dim=(1, 2, 3)).reshape(images.shape[:2]).mean(dim=1)

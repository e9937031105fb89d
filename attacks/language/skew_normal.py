"""The skew-normal law, fitted by moments, with a lower tail that does not underflow."""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import log_ndtr, owens_t
from torch import Tensor

from ...accountant.errors import DesignError

_STEEPEST = 0.99  # of the largest skewness of the family, .9953; beyond it moments fit nothing


class SkewNormal(NamedTuple):
    """Density 2/scale phi(z) Phi(shape z) at z = (x - location) / scale.

    Attributes:
        location, scale, shape: float64[models].
    """

    location: Tensor
    scale: Tensor
    shape: Tensor


def fit_skew_normal(values: Tensor) -> SkewNormal:
    """The law with mean, variance and skewness of each row of float64[models, n].

    Skewness outside what the family has is cut to its edge. Source: Azzalini, 1985.

    Raises:
        DesignError: a row is constant.
    """
    mean = values.mean(dim=1)
    sd = values.std(dim=1)
    if not bool((sd > 0.0).all()):
        raise DesignError("the values of a row are all equal: no law can be fitted to them")
    skew = ((values - mean.unsqueeze(1)) / sd.unsqueeze(1)).pow(3).mean(dim=1)
    skew = skew.clamp(-_STEEPEST, _STEEPEST)
    part = skew.abs().pow(2.0 / 3.0)
    square = math.pi / 2.0 * part / (part + ((4.0 - math.pi) / 2.0) ** (2.0 / 3.0))
    delta = skew.sign() * square.sqrt()
    scale = sd / (1.0 - 2.0 / math.pi * square).sqrt()
    location = mean - scale * delta * math.sqrt(2.0 / math.pi)
    return SkewNormal(location, scale, delta / (1.0 - square).sqrt())


def log_cdf(values: Tensor, law: SkewNormal) -> Tensor:
    """float64[models, m]: ln P[X <= values]; finite for every finite value.

    The closed form cancels in the lower tail. There the density is log-concave with a known slope,
    so the integral below z is that of e^-u against a smooth factor: Gauss-Laguerre.
    """
    z = ((values - law.location.unsqueeze(1)) / law.scale.unsqueeze(1)).numpy()
    shape = np.broadcast_to(law.shape.unsqueeze(1).numpy(), z.shape)
    exact = np.exp(log_ndtr(z)) - 2.0 * owens_t(z, shape)
    found = np.log(np.maximum(exact, 1e-8))
    deep = exact < 1e-6
    if deep.any():
        low, alpha = z[deep], shape[deep]
        # Slope of the log density: -z + alpha phi(alpha z) / Phi(alpha z).
        at = alpha * low
        ratio = np.exp(-0.5 * at**2 - 0.5 * math.log(2.0 * math.pi) - log_ndtr(at))
        slope = -low + alpha * ratio
        nodes, weights = np.polynomial.laguerre.laggauss(48)
        points = low[:, None] - nodes / slope[:, None]
        top = _log_density(low, alpha)
        factor = np.exp(_log_density(points, alpha[:, None]) - top[:, None] + nodes)
        found[deep] = top - np.log(slope) + np.log((weights * factor).sum(axis=1))
    return torch.from_numpy(found)


def _log_density(z: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Of the standardised law."""
    found: np.ndarray = (
        math.log(2.0) - 0.5 * z**2 - 0.5 * math.log(2.0 * math.pi) + log_ndtr(shape * z)
    )
    return found

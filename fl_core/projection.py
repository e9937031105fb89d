"""A public projection: from backbone features to fewer dimensions, ordered by public variance.

Computed from public images only (scikit-image's photographs), so that nothing in it depends on
private records: the centre, the directions, and the groups (leading dimensions, other dimensions).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..accountant.errors import ConfigError


@dataclass(frozen=True)
class PublicProjection:
    """z = (x - centre) @ directions / scale.

    Attributes:
        centre: float64[dimension], mean of the public features.
        directions: float64[dimension, dimensions], orthonormal, by falling public variance.
        scale: median norm of the projected public features, so that public images have norm 1.
    """

    centre: NDArray[np.float64]
    directions: NDArray[np.float64]
    scale: float

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64[n, dimensions] of float32[n, dimension]."""
        centred = features.astype(np.float64) - self.centre
        result: NDArray[np.float64] = centred @ self.directions / self.scale
        return result


def fit(public_features: NDArray[np.float32], dimensions: int) -> PublicProjection:
    """Principal directions of float32[n, dimension] public features.

    Raises:
        ConfigError: more dimensions are asked for than the public images span, or most public
            images are equal.
    """
    features = public_features.astype(np.float64)
    most = min(features.shape[0] - 1, features.shape[1])
    if dimensions > most:
        raise ConfigError(
            f"model.dimensions = {dimensions}, but {features.shape[0]} public images with "
            f"{features.shape[1]} features span {most}.\n"
            "  Lower model.dimensions or raise model.public_images."
        )
    centre = features.mean(axis=0)
    _, lengths, rows = np.linalg.svd(features - centre, full_matrices=False)
    # Features are float32: below their rounding, a direction is noise and has no public variance.
    spanned = int(np.count_nonzero(lengths > 1e-6 * lengths[0]))
    if dimensions > spanned:
        raise ConfigError(
            f"model.dimensions = {dimensions}, but the public features vary in {spanned} directions"
            " only.\n  Lower model.dimensions or raise model.public_images."
        )
    directions = rows[:dimensions].T
    # The sign of a singular vector is arbitrary and differs between libraries: fix it.
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, np.arange(dimensions)])
    norms = np.linalg.norm((features - centre) @ directions, axis=1)
    scale = float(np.median(norms))
    if not scale > 0.0:
        raise ConfigError(
            "more than half of the public images have the same features, so that no scale can be "
            "taken from them.\n  Raise model.public_images or choose another model.backbone."
        )
    return PublicProjection(centre, directions, scale)

"""What public data say about a noisy target: which directions of the feature space are used.

Features of natural pictures fill few directions, noise fills all. A Gaussian fitted to public
features and the declared noise give the posterior of the feature vector: generalised least squares
on the column space of the public features, whitened by the noise of each group, and shrunk to the
public spread. Source: Rao, "Linear Statistical Inference", 1973, section 4a; with infinite spread
it is the Aitken projection onto the column space.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...accountant.errors import ParameterError
from .candidates import Estimate

_MODEL_ERROR = 1e-6
"""Share of the mean public variance that counts as noise where none was added."""


class Posterior(NamedTuple):
    """Gaussian belief about a feature vector inside the public column space.

    Attributes:
        mean: float64[trials, dim].
        root: float64[dim, rank]: |(f - mean) @ root|^2 is minus twice the log density of f, up to
            a constant; what f has outside of the column space costs nothing.
    """

    mean: Tensor
    root: Tensor


@dataclass(frozen=True, eq=False)
class PublicSpace:
    """Centre and principal directions of public features.

    Attributes:
        centre: float64[dim].
        basis: float64[dim, rank], orthonormal columns.
        variances: float64[rank], of the public features along them, > 0, falling.
    """

    centre: Tensor
    basis: Tensor
    variances: Tensor

    def posterior(self, seen: Estimate) -> Posterior:
        """Belief about the noiseless feature vector.

        Raises:
            ParameterError: another dimension than that of the public features.
        """
        precision = self._noise_precision(seen)
        weighted = self.basis * precision[:, None]
        # K = diag(1/variances) + B' S^-1 B, scaled by the spread so that it is well conditioned
        spread = self.variances.sqrt()
        inner = torch.eye(len(spread), dtype=torch.float64)
        inner = inner + spread[:, None] * (self.basis.T @ weighted) * spread
        factor = torch.linalg.cholesky(inner)
        pulled = (seen.mean - self.centre) @ weighted * spread
        coefficients = torch.cholesky_solve(pulled.T, factor).T * spread
        return Posterior(self.centre + coefficients @ self.basis.T, (self.basis / spread) @ factor)

    def project(self, seen: Estimate) -> Tensor:
        """float64[trials, dim]: the nearest point of the column space, distances in noise units.

        Raises:
            ParameterError: another dimension than that of the public features.
        """
        root = self._noise_precision(seen).sqrt()
        design = self.basis * root[:, None]
        found = torch.linalg.lstsq(design, ((seen.mean - self.centre) * root).T).solution
        nearest: Tensor = self.centre + found.T @ self.basis.T
        return nearest

    def covariance(self) -> Tensor:
        """float64[dim, dim] of the public features."""
        return (self.basis * self.variances) @ self.basis.T

    def floored(self, stddev: Tensor) -> Tensor:
        """float64[dim]: `stddev`, at least the model error, so that its inverse is finite."""
        least = (_MODEL_ERROR * self.variances.sum() / len(self.centre)).sqrt()
        return stddev.double().clamp(min=float(least))

    def _noise_precision(self, seen: Estimate) -> Tensor:
        if seen.mean.shape[-1] != len(self.centre):
            raise ParameterError(
                f"prototypes have {seen.mean.shape[-1]} dimensions, but the public features "
                f"{len(self.centre)}"
            )
        return self.floored(seen.stddev).square().reciprocal()


def fit(features: Tensor, *, rank: int | None = None) -> PublicSpace:
    """The space of float64[n, dim] public features.

    Args:
        features: of public pictures; n >= 2.
        rank: how many directions to keep; None keeps all in which the features vary.

    Raises:
        ParameterError: fewer than two rows, not finite, or they vary in fewer directions.
    """
    rows = features.double()
    if rows.ndim != 2 or len(rows) < 2 or not bool(torch.isfinite(rows).all()):
        raise ParameterError(
            f"public features must be finite float[n, dim] with n >= 2, but are {list(rows.shape)}"
        )
    centre = rows.mean(dim=0)
    _, lengths, directions = torch.linalg.svd(rows - centre, full_matrices=False)
    spanned = int((lengths > 1e-6 * lengths[0]).sum()) if bool(lengths[0] > 0.0) else 0
    wanted = spanned if rank is None else rank
    if not 1 <= wanted <= spanned:
        raise ParameterError(
            f"rank must lie in 1..{spanned}, the directions in which the public features vary, "
            f"but is {wanted}"
        )
    return PublicSpace(
        centre, directions[:wanted].T.contiguous(), lengths[:wanted].square() / (len(rows) - 1)
    )

"""Prototype membership with a known covariance, not only that of independent noise.

With the record the observed prototype is N(background + shift, covariance), without it
N(background, covariance); the log likelihood ratio is the best test of one against the other. Two
adversaries use it:

- one who knows all other records: covariance is that of the noise, also where a mechanism projects
  or rotates it, so that dimensions are correlated;
- one who knows only the population that the other records come from: background is their expected
  sum over the divisor, and the covariance adds theirs. Under add-remove both worlds have the same.

Source: Neyman & Pearson, 1933; for privacy, Dong, Roth & Su, arXiv:1905.02383, section 2.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant.errors import DesignError
from ...fl_core.transcript import View
from .observed import observed_prototype, require_vectors


@dataclass(frozen=True, kw_only=True, eq=False)
class LikelihoodRatio:
    """Log likelihood ratio of presence for a Gaussian prototype of any known covariance.

    Attributes:
        background: float64[dim], mean of the observed prototype without the record.
        covariance: float64[dim, dim], or float64[dim] if dimensions are independent, of what this
            adversary observes (`observed_prototype`: the mean over rounds, and over clients if it
            sees broadcasts), the same in both worlds.

    Raises:
        DesignError: the covariance is not symmetric and positive definite.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider")
    needs: ClassVar[tuple[str, ...]] = (
        "all records of the class but one, or mean and covariance of their population",
        "the declared noise and the divisor",
    )
    cost: ClassVar[str] = "one factorisation, then one inner product per trial"
    source: ClassVar[str] = "Dong, Roth & Su, arXiv:1905.02383, section 2"

    background: Tensor
    covariance: Tensor
    _factor: Tensor | None = field(init=False, repr=False)  # of Cholesky; None for a vector

    def __post_init__(self) -> None:
        dim = self.background.shape[-1]
        if self.covariance.shape not in ((dim,), (dim, dim)):
            raise DesignError(
                f"covariance must be float64[{dim}] or float64[{dim}, {dim}], but has the shape "
                f"{tuple(self.covariance.shape)}"
            )
        factor = None
        if self.covariance.ndim == 1:
            fine = bool(((self.covariance > 0) & self.covariance.isfinite()).all())
        else:
            whole = self.covariance.double()
            fine = bool(((whole - whole.mT).abs() <= 1e-12 * whole.diagonal().abs().max()).all())
            if fine:
                factor, info = torch.linalg.cholesky_ex(whole)
                fine = int(info) == 0
        if not fine:
            raise DesignError(
                "covariance must be symmetric and positive definite.\n  Where a mechanism adds no "
                "noise in some direction, project view and candidates on the others first: in that "
                "direction membership can be read off."
            )
        object.__setattr__(self, "_factor", factor)

    def score(self, view: View, candidates: Tensor) -> Tensor:
        """float64[..., trials]: the log likelihood ratio in nats.

        Args:
            view: of one class.
            candidates: float64[..., dim], what the record in question adds to the prototype: one
                for all trials, or [trials, dim], or [m, 1, dim] to ask every trial for each of m.

        Raises:
            DesignError: the view holds several classes, or vectors of another length are given.
        """
        seen = observed_prototype(view)
        require_vectors(seen.shape[-1], candidates=candidates, background=self.background)
        return ((seen - self.background - candidates / 2) * self._weighted(candidates)).sum(dim=-1)

    def _weighted(self, shifts: Tensor) -> Tensor:
        """float64[..., dim]: inverse covariance times shift."""
        if self._factor is None:
            return shifts / self.covariance
        flat = shifts.double().reshape(-1, shifts.shape[-1])
        solved: Tensor = torch.cholesky_solve(flat.mT, self._factor).mT
        return solved.reshape(shifts.shape)

"""The test that differential privacy is about: an adversary who knows all other records.

It subtracts what it knows from the noisy prototype and computes the likelihood ratio of "the
record is there" against "it is not", which for Gaussian noise of known covariance is linear. By
the Neyman-Pearson lemma nothing beats it, so on a sound mechanism it must reach the proven mu as
far as its record attains the clip bound. Source: Dong, Roth & Su, arXiv:1905.02383, section 2.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...accountant.errors import DesignError
from ...fl_core.transcript import View
from .observed import observed_prototype, require_vectors


@dataclass(frozen=True, kw_only=True, eq=False)
class InformedLinear:
    """Log likelihood ratio of presence, from a noisy prototype and everything but one record.

    Attributes:
        background: float64[dim], the prototype without the record, as this adversary would see it.
        noise_scale: float64[dim], declared noise standard deviation (only proportions matter).

    Raises:
        DesignError: a noise scale that is not positive and finite.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider")
    needs: ClassVar[tuple[str, ...]] = (
        "all records of the class but one",
        "the clip bounds, the declared noise and the divisor",
    )
    cost: ClassVar[str] = "one inner product per trial"
    source: ClassVar[str] = "Dong, Roth & Su, arXiv:1905.02383, section 2"

    background: Tensor
    noise_scale: Tensor

    def __post_init__(self) -> None:
        if not bool(((self.noise_scale > 0) & self.noise_scale.isfinite()).all()):
            raise DesignError(
                "every noise_scale must be positive and finite; give 1 where there is no noise"
            )

    def score(self, view: View, candidates: Tensor) -> Tensor:
        """The log likelihood ratio of each candidate, up to a positive factor (the averaging).

        Args:
            view: of one class.
            candidates: float64[..., dim], what the record in question adds to the prototype: one
                for all trials, or [trials, dim], or [m, 1, dim] to ask every trial for each of m.

        Returns:
            float64[..., trials].

        Raises:
            DesignError: the view holds several classes, or vectors of another length are given.
        """
        seen = observed_prototype(view)
        require_vectors(seen.shape[-1], candidates=candidates, background=self.background)
        direction = candidates / self.noise_scale.square()
        return ((seen - self.background - candidates / 2) * direction).sum(dim=-1)

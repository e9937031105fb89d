"""The test that differential privacy is about: an adversary who knows all other records.

It subtracts what it knows from the noisy prototype and computes the likelihood ratio of "the
record is there" against "it is not", which for Gaussian noise of known covariance is linear. By
the Neyman-Pearson lemma nothing beats it, so on a sound mechanism it must reach the proven mu as
far as its record attains the clip bound. Source: Dong, Roth & Su, arXiv:1905.02383, section 2.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...fl_core.transcript import View
from .observed import observed_prototype


@dataclass(frozen=True, kw_only=True)
class InformedLinear:
    """Log likelihood ratio of presence, from a noisy prototype and everything but one record.

    Attributes:
        background: float64[dim], the prototype without the record, as this adversary would see it.
        shift: float64[dim], what the record adds to it.
        noise_scale: float64[dim], declared noise standard deviation (only proportions matter).
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider")
    background: Tensor
    shift: Tensor
    noise_scale: Tensor

    def score(self, view: View) -> Tensor:
        """float64[trials]: the log likelihood ratio up to a positive factor (the averaging)."""
        direction = self.shift / self.noise_scale.square()
        return (observed_prototype(view) - self.background - self.shift / 2) @ direction

"""How far up does a secret stand among all secrets of its form? Extraction by enumeration.

The exposure of a secret is log2 of the number of possible secrets minus log2 of its rank under the
model: the bits that asking the model saves a guesser. The rank is exact where all possible secrets
are scored; from a sample of them it is an estimate, and a class of its own.
Source: Carlini et al., arXiv:1802.08232.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant.errors import DesignError
from ..membership.signals import chosen
from .skew_normal import fit_skew_normal, log_cdf
from .view import TokenScores


@dataclass(frozen=True, kw_only=True, eq=False)
class Exposure:
    """Exact exposure; the view holds all possible secrets, candidates are some of them.

    A secret is better than another only if it is strictly likelier, so exposure is never too large
    by ties.

    Attributes:
        reference: scores of the same secrets by the base model: secrets are then ranked by how much
            likelier the tuning made them. None, as published: by how likely they are.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider", "querier")
    needs: ClassVar[tuple[str, ...]] = (
        "what comes before the secret, and its form",
        "log probabilities of the tokens of every possible secret",
    )
    cost: ClassVar[str] = "1 query per possible secret"
    source: ClassVar[str] = "Carlini et al., arXiv:1802.08232, section 4"
    reference: TokenScores | None = None

    def score(self, view: TokenScores, candidates: Tensor | None = None) -> Tensor:
        """float64[models, m], in bits, from 0 to log2 of the number of possible secrets.

        Raises:
            DesignError: the reference was asked about other secrets.
        """
        total = self._likelihood(view)
        size = total.shape[1]
        ordered = total.sort(dim=1).values
        # As many as are at least as likely, itself among them.
        rank = size - torch.searchsorted(ordered, total.contiguous(), right=False)
        exposure = math.log2(size) - rank.double().log2()
        return chosen(exposure, candidates)

    def reconstruct(self, view: TokenScores) -> Tensor:
        """int64[models]: number of the secret that ranks first; the first of equal ones.

        Raises:
            DesignError: as for `score`.
        """
        return self._likelihood(view).argmax(dim=1)

    def _likelihood(self, view: TokenScores) -> Tensor:
        total = view.total()
        if self.reference is None:
            return total
        view.require_same_texts(self.reference, "the reference")
        return total - self.reference.total().mean(dim=0)


@dataclass(frozen=True, kw_only=True, eq=False)
class SampledExposure:
    """An estimate of exposure, where there are too many possible secrets to ask about all.

    A skew-normal law is fitted to the log likelihoods of a random sample of possible secrets, by
    moments, and its tail gives the share of secrets that are likelier. Nothing bounds its error:
    the tail beyond the sample is a guess.

    Attributes:
        sample: scores by the same models of a random sample of possible secrets, 100 at least.
        bits: log2 of the number of possible secrets; no estimate exceeds it.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider", "querier")
    needs: ClassVar[tuple[str, ...]] = (
        "what comes before the secret, and its form",
        "log probabilities of the tokens of a sample of possible secrets",
    )
    cost: ClassVar[str] = "1 query per secret of the sample"
    source: ClassVar[str] = "Carlini et al., arXiv:1802.08232, section 4.3"
    sample: TokenScores
    bits: float

    def __post_init__(self) -> None:
        if self.sample.logp.shape[1] < 100:
            raise DesignError(
                f"a sample of {self.sample.logp.shape[1]} secrets has no tail; give at least 100"
            )
        if not 0.0 < self.bits < torch.inf:
            raise DesignError(f"bits must be a finite number > 0, but is {self.bits!r}")

    def score(self, view: TokenScores, candidates: Tensor | None = None) -> Tensor:
        """float64[models, m]: estimated exposure, in bits.

        Raises:
            DesignError: view and sample are of different models, or a sample is constant.
        """
        if len(view.logp) != len(self.sample.logp):
            raise DesignError(
                f"{len(view.logp)} models were asked about secrets, but {len(self.sample.logp)} "
                "about the sample"
            )
        # Of minus the log likelihood, so that likelier secrets lie in the lower tail.
        law = fit_skew_normal(-self.sample.total())
        share = log_cdf(-view.total(), law)
        estimate = (-share / math.log(2.0)).clamp(max=self.bits)
        return chosen(estimate, candidates)

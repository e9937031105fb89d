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
        alone: scores of the same secrets by as many models of the adversary's own, the k-th tuned
            from the same start as the target on secret k alone: each gain then counts as a share of
            what the secret gains by its own tuning. None: as it is.

    Tuning on one secret makes those like it likelier too, and one that is easily moved may gain
    more than the one that was there; as a share of what its own tuning gives, none does. After one
    step clipped to a norm, with isotropic noise, that is the order of the likelihood: gains are
    inner products with the gradients, and shares of own gains those with gradients of norm one.

    Raises:
        DesignError: `alone` is given without a reference, is of other secrets or of another number
            of models, or a secret does not gain by its own tuning.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server", "peer", "outsider", "querier")
    needs: ClassVar[tuple[str, ...]] = (
        "what comes before the secret, and its form",
        "log probabilities of the tokens of every possible secret",
    )
    cost: ClassVar[str] = "1 query per possible secret"
    source: ClassVar[str] = "Carlini et al., arXiv:1802.08232, section 4"
    reference: TokenScores | None = None
    alone: TokenScores | None = None

    def __post_init__(self) -> None:
        if self.alone is None:
            return
        if self.reference is None:
            raise DesignError("gains by own tuning need the base as well: give `reference`")
        self.reference.require_same_texts(self.alone, "scores after own tuning")
        models, secrets = self.alone.logp.shape[:2]
        if models != secrets:
            raise DesignError(f"{secrets} secrets need a model each, but `alone` has {models}")
        own = (self.alone.total() - self.reference.total().mean(dim=0)).diagonal()
        if not bool((own > 0.0).all()):
            raise DesignError(
                f"secret {int(own.argmin())} did not become likelier by tuning on it alone; tune "
                "from the base that is the reference, with a smaller step"
            )

    def score(self, view: TokenScores, candidates: Tensor | None = None) -> Tensor:
        """float64[models, m], in bits, from 0 to log2 of the number of possible secrets.

        Raises:
            DesignError: the reference was asked about other secrets.
        """
        total = self._worth(view)
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
        return self._worth(view).argmax(dim=1)

    def _worth(self, view: TokenScores) -> Tensor:
        """float64[models, secrets]: what they are ranked by."""
        total = view.total()
        if self.reference is None:
            return total
        view.require_same_texts(self.reference, "the reference")
        base = self.reference.total().mean(dim=0)
        if self.alone is None:
            return total - base
        return (total - base) / (self.alone.total().diagonal() - base)


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

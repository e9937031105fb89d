"""The served class features by linear algebra: as many queries as the encoder has dimensions.

Idea: logits are scale times the cosine of a known image feature with an unknown class feature, so
answers to d independent pictures are a linear system for it. No training, and no error: the thief
answers as the target does, for these classes, on every picture. Probabilities leave one unknown
number per picture and give the features up to a common shift, which no answer shows. Adversary: a
querier that knows the public image encoder and gets logits or probabilities.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...accountant import check
from .distillation import Queries
from .released import Released


@dataclass(frozen=True, kw_only=True)
class ClassFeatureTheft:
    """The served class features by linear algebra: as many queries as the encoder has dimensions.

    Attributes:
        scale: of the cosines, public, > 0.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("querier",)
    needs: ClassVar[tuple[str, ...]] = ("logits or probabilities", "the public image encoder")
    cost: ClassVar[str] = "as many queries as image features have dimensions"
    source: ClassVar[str] = "equation solving, Tramer et al., arXiv:1609.02943, section 4.1"
    scale: float

    def __post_init__(self) -> None:
        check.positive(scale=self.scale)

    def reconstruct(self, view: Queries) -> Tensor:
        """float64[targets, classes, dim]: class features minus their mean over the classes.

        Of least norm where fewer pictures than dimensions were asked about.

        Raises:
            DesignError: labels alone were answered, or a probability of 0.
        """
        logits = view.logits() / self.scale
        centred = logits - logits.mean(dim=-1, keepdim=True)
        return (_inverse(view) @ centred).mT

    def logits(self, features: Tensor, x: Tensor) -> Tensor:
        """float64[targets, n, classes] of pictures float[n, dim], up to a shift per picture."""
        return self.scale * torch.nn.functional.normalize(x.double(), dim=-1) @ features.mT

    def score(self, view: Queries, candidates: Released) -> Tensor:
        """float64[targets, M]: minus the squared distance of M prompts' centred class features.

        In the space of the pictures that were asked about; no answer shows more.
        """
        image = torch.nn.functional.normalize(view.x.double(), dim=-1)
        others = candidates.class_features() @ (_inverse(view) @ image)
        others = others - others.mean(dim=1, keepdim=True)
        return -torch.cdist(self.reconstruct(view).flatten(1), others.flatten(1)).square()


def _inverse(view: Queries) -> Tensor:
    """float64[dim, queries]; directions in which the answers' rounding would drown are left out."""
    image = torch.nn.functional.normalize(view.x.double(), dim=-1)
    precision = torch.finfo(view.answers.dtype).eps * max(image.shape)
    found: Tensor = torch.linalg.pinv(image, rtol=precision)
    return found

"""The informed test on a gradient: each candidate's own gradient against the one that was seen.

An adversary who has the candidates, their labels and the public clip bound needs no inversion:
under Gaussian noise the nearest gradient is the likeliest. By the Neyman-Pearson lemma nothing
identifies one record better, so it is what a ceiling must be compared with.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ....accountant import check
from .matching import Forward, flat, simulated
from .view import GradientView


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientLikelihood:
    """Log likelihood of each candidate, up to a positive factor and a constant.

    Attributes:
        forward: the model, public.
        classes: of it.
        labels: int64[trials, M], the candidates' labels.
        clip_norm: to which each record's gradient was clipped; infinite if it was not.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("server",)
    needs: ClassVar[tuple[str, ...]] = (
        "each client's gradient of one record, or of one and known others subtracted",
        "the candidates and their labels",
    )
    cost: ClassVar[str] = "one gradient per candidate"
    source: ClassVar[str] = "Neyman-Pearson; Dong, Roth & Su, arXiv:1905.02383, section 2"
    forward: Forward
    classes: int
    labels: Tensor
    clip_norm: float = float("inf")

    def __post_init__(self) -> None:
        check.positive(clip_norm=min(self.clip_norm, 1e300))

    def score(self, view: GradientView, candidates: Tensor) -> Tensor:
        """float64[trials, M], for float[trials, M, ...] candidates."""
        seen = flat({name: view.matrix(name) for name in view.gradients})
        each = []
        for place in range(candidates.shape[1]):
            labels = one_hot(self.labels[:, place, None], self.classes).to(candidates)
            found = simulated(self.forward, view, candidates[:, place, None], labels)
            own = flat(found).detach().double()
            length = own.norm(dim=1, keepdim=True)
            # The view is a mean over the batch, of which the candidate is one record.
            own = own * (self.clip_norm / length.clamp(min=1e-300)).clamp(max=1.0) / view.batch
            each.append(-(seen - own).square().sum(dim=1))
        return torch.stack(each, dim=1)

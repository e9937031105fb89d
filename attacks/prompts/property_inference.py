"""Does the training set have a property? Told from the released prompt by shadow prompts.

Idea: prompts tuned on data with the property (a class is rare, a domain is in it) move the public
class features another way than prompts tuned without. A linear rule between the two kinds of shadow
prompts scores the target. Adversary: an outsider with the prompt's vectors, the public dual encoder
and data of its own of both kinds.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError
from .released import Released

Space = Literal["text", "context"]


@dataclass(frozen=True, kw_only=True, eq=False)
class PropertyInference:
    """Does the training set have a property? Told from the released prompt; made by `fit`.

    Attributes:
        space: what of a prompt is compared: the class features that it makes, or its own numbers.
        centre: float64[dim], mean of the shadows.
        weights: float64[dim], of the rule.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("outsider",)
    needs: ClassVar[tuple[str, ...]] = (
        "the prompt's vectors",
        "the public dual encoder",
        "data with and without the property",
    )
    cost: ClassVar[str] = "some dozens of tunings of a prompt"
    source: ClassVar[str] = "Ganju et al., CCS 2018; for prompts, arXiv:2310.11970"
    space: Space
    centre: Tensor
    weights: Tensor

    @classmethod
    def fit(
        cls, shadows: Released, has: Tensor, *, space: Space = "text", ridge: float = 1e-2
    ) -> "PropertyInference":
        """The rule of least squares between both kinds of shadows.

        Args:
            shadows: R prompts that the adversary tuned itself.
            has: bool[R]: whether the shadow's data have the property.
            space: see the class.
            ridge: penalty, relative to the mean squared distance from the centre, > 0.

        Raises:
            DesignError: one of the kinds is missing.
        """
        check.one_of(get_args(Space), space=space)
        check.positive(ridge=ridge)
        if has.shape != (len(shadows),) or has.dtype != torch.bool:
            raise DesignError(f"has must be bool[{len(shadows)}], one for each shadow prompt")
        if bool(has.all()) or not bool(has.any()):
            raise DesignError("shadow prompts of both kinds are needed, but all are of one")
        rows = _described(shadows, space)
        centre = rows.mean(dim=0)
        apart = rows - centre
        gram = apart @ apart.T
        gram += ridge * gram.diagonal().mean() * torch.eye(len(rows), dtype=torch.float64)
        sign = torch.where(has, 1.0, -1.0).to(torch.float64)
        return cls(
            space=space,
            centre=centre,
            weights=apart.T @ torch.linalg.solve(gram, sign - sign.mean()),
        )

    def score(self, view: Released, candidates: None = None) -> Tensor:
        """float64[targets]; larger means more likely that the property holds."""
        return (_described(view, self.space) - self.centre) @ self.weights


def _described(prompts: Released, space: Space) -> Tensor:
    """float64[prompts, dim]."""
    if space == "text":
        return prompts.class_features().flatten(1)
    return torch.cat([value.double().flatten(1) for value in prompts.prompts.values()], dim=1)

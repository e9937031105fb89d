"""FedOTP: a shared and a personal context, matched with the places of an image by transport.

Each class has two prompts. The plan moves mass from places to prompts; a class scores the mean
cosine under the plan. Unbalanced, as published: each prompt gets its share in full, a place gives
at most its own. Source: Li et al., arXiv:2403.00041, and its public code (HongxiaLee/FedOTP at
27421e9), whose defaults these are. But the number of iterations is fixed: the published stopping
rule looks at the whole batch, so that one record would change the gradients of others.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ParameterError
from ..kernels.prompts import Form, Prompts
from ..models.text_tower import ClassText
from .prompt_federation import LocalTraining, PromptFederation


@dataclass(frozen=True, kw_only=True)
class Transport:
    """Scores of classes by entropic optimal transport; a `Score`.

    Attributes:
        places: M, features of an image.
        share: mass of all prompts together, in (0, 1]; all places together have 1. Balanced
            transport has no choice but 1.
        unbalanced: places give at most 1/M each; else exactly that.
        temperature: of the kernel exp(-cost / temperature), > 0.
        iterations: >= 1.
    """

    places: int
    share: float = 1.0
    unbalanced: bool = True
    temperature: float = 0.1
    iterations: int = 100

    def __post_init__(self) -> None:
        check.count(places=self.places, iterations=self.iterations)
        check.positive(share=self.share, temperature=self.temperature)
        check.probability(share=self.share)
        if not self.unbalanced and self.share != 1.0:
            raise ParameterError(
                f"balanced transport moves all mass, but share is {self.share!r}.\n  Set share = "
                "1.0, or unbalanced = True."
            )

    def plan(self, cosines: Tensor) -> Tensor:
        """float[..., M, prompts]: mass that each place gives to each prompt.

        Columns sum to share / prompts, rows to at most 1/M, exactly so where balanced; both up to
        what the iterations leave. The last scaling is that of the columns.
        """
        places, prompts = cosines.shape[-2:]
        kernel = ((cosines - 1.0) / self.temperature).exp()
        wanted, given = self.share / prompts, 1.0 / places
        v = torch.ones_like(kernel[..., 0, :])
        u = torch.ones_like(kernel[..., :, 0])
        for _ in range(self.iterations):
            u = given / (kernel @ v.unsqueeze(-1)).squeeze(-1)
            if self.unbalanced:
                u = u.clamp(max=1.0)
            v = wanted / (kernel.mT @ u.unsqueeze(-1)).squeeze(-1)
        return u.unsqueeze(-1) * kernel * v.unsqueeze(-2)

    def __call__(self, x: Tensor, text: Tensor) -> Tensor:
        """float[rows, batch, classes] of x float[rows, batch, M * dim]; see `Score`.

        The plan is held fixed in the gradient, as published.
        """
        image = torch.nn.functional.normalize(x.unflatten(-1, (self.places, -1)), dim=-1)
        words = text.flatten(2, 3).mT  # [rows, groups, dim, prompts * classes]
        # Places and classes are no batch axes: nothing large is repeated.
        if words.shape[1] == 1:
            found = (image.flatten(1, 2) @ words[:, 0]).unflatten(1, image.shape[1:3])
        else:
            found = image @ words
        # [rows, batch, classes, M, prompts]
        cosines = found.unflatten(-1, text.shape[2:4]).permute(0, 1, 4, 2, 3)
        with torch.no_grad():
            plan = self.plan(cosines.detach())
        scores: Tensor = (plan * cosines).sum(dim=(-1, -2))
        return scores


def two_contexts(length: int, width: int) -> Form:
    """`shared` and `own`, side by side."""
    return Form(
        shapes={"shared": (length, width), "own": (length, width)},
        contexts=lambda params: torch.stack([params["shared"], params["own"]], dim=1),
        prompts=2,
    )


def fed_otp(
    text: ClassText,
    *,
    scale: float,
    clients: int,
    transport: Transport,
    training: LocalTraining = LocalTraining(),  # noqa: B008 - frozen
) -> PromptFederation:
    """The algorithm; records are features of places, `DualEncoder.place_features`.

    Args:
        text: the classes.
        scale: of the scores.
        clients: public divisor of the sum of the changes.
        transport: how places are matched with prompts.
        training: of the clients.
    """
    form = two_contexts(text.length, text.tower.width)
    return PromptFederation(
        kernel=Prompts(text=text, form=form, scale=scale, score=transport),
        shared=("shared",),
        divisor=float(clients),
        training=training,
    )

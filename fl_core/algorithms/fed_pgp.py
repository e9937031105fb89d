"""FedPGP: a shared context plus a personal one of low rank, and a contrastive pull.

The pull keeps the shared context near the hand-written one and away from the personal one. It
looks at prompts and class names only, never at a record, so under DP-SGD it is post-processing.
Source: Cui et al., arXiv:2405.09771; its constants are those of the public code.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...accountant import check
from ..kernels.base import Params
from ..kernels.prompts import Form, Prompts
from ..models.text_tower import ClassText
from ..optimizers import Optimizer
from .prompt_federation import LocalTraining, PromptFederation


def low_rank_form(length: int, width: int, rank: int) -> Form:
    """Context = shared + left @ right."""
    check.count(rank=rank)
    return Form(
        shapes={"shared": (length, width), "left": (length, rank), "right": (rank, width)},
        contexts=lambda p: (p["shared"] + p["left"] @ p["right"]).unsqueeze(1),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Contrast:
    """The contrastive loss of prompts.

    Cross-entropy, for each class, of two cosines: shared with anchor (right), shared with whole
    context (wrong).

    Attributes:
        kernel: of `low_rank_form`.
        anchor: float[classes, dim], unit class features of the public hand-written context.
        temperature: of the cosines, > 0.
        weight: factor of this loss, > 0.
    """

    kernel: Prompts
    anchor: Tensor
    temperature: float = 0.5
    weight: float = 1.0

    def __post_init__(self) -> None:
        check.positive(temperature=self.temperature, weight=self.weight)

    def loss(self, params: Params) -> Tensor:
        """float[rows]: mean over the classes."""
        shared = self.kernel.text.features(params["shared"])
        whole = self.kernel.class_features(params)[:, 0]
        right = (shared * self.anchor).sum(dim=-1)
        wrong = (shared * whole).sum(dim=-1)
        both = torch.stack([right, wrong], dim=-1) / self.temperature
        return -both.log_softmax(dim=-1)[..., 0].mean(dim=-1)

    def gradients(self, params: Params) -> Params:
        """Of `weight` times the loss of each row."""
        leaves = {name: value.detach().clone().requires_grad_() for name, value in params.items()}
        with torch.enable_grad():
            total = self.weight * self.loss(leaves).sum()
            found = torch.autograd.grad(total, list(leaves.values()))
        return dict(zip(leaves, found, strict=True))


@dataclass(frozen=True)
class Pulled:
    """An optimiser that adds the gradient of the contrast to what it is given."""

    inner: Optimizer
    contrast: Contrast

    def update(self, params: Params, gradients: Params, rows: slice) -> None:
        """See `Optimizer`."""
        more = self.contrast.gradients(params)
        added = {name: gradients[name] + more[name] for name in params}
        self.inner.update(params, added, rows)


def fed_pgp(
    text: ClassText,
    *,
    scale: float,
    clients: int,
    anchor: str,
    rank: int = 4,
    temperature: float = 0.5,
    weight: float = 1.0,
    training: LocalTraining = LocalTraining(epochs=2),  # noqa: B008 - frozen
) -> PromptFederation:
    """The algorithm.

    Args:
        text: the classes.
        scale: of the cosines.
        clients: public divisor of the sum of the changes.
        anchor: the hand-written context, such as "a photo of a"; of any number of tokens.
        rank: of the personal part.
        temperature: as in `Contrast`.
        weight: as in `Contrast`.
        training: of the clients.
    """
    form = low_rank_form(text.length, text.tower.width, rank)
    kernel = Prompts(text=text, form=form, scale=scale)
    words = text.tower.words(anchor)
    with torch.no_grad():
        fixed = text.tower.classes(text.names, length=len(words)).features(words[None])[0]
    contrast = Contrast(kernel=kernel, anchor=fixed, temperature=temperature, weight=weight)
    return PromptFederation(
        kernel=kernel,
        shared=("shared",),
        divisor=float(clients),
        training=replace(
            training, optimizer=lambda params: Pulled(training.optimizer(params), contrast)
        ),
    )

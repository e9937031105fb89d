"""Soft prompts in front of a frozen text encoder: many rows, one folded batch.

The prompts of all rows and classes pass the encoder as one batch. What a record adds to the
gradient goes through its row's class features alone: the encoder runs forward once, however many
records there are, and backward once for each place in the batch, for all rows together.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ConfigError
from ..counters import Counter
from ..models.text_tower import ClassText
from . import per_record
from .base import ByGradients, Context, Loss, Outputs, Params, clip_factors, one_each

Score = Callable[[Tensor, Tensor], Tensor]
"""(x float[rows, batch, ...], text float[rows, groups, prompts, classes, dim]) -> cosines.

float[rows, batch, classes]; groups is 1, or batch for a text of each record's own."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Form:
    """How parameters make contexts.

    Attributes:
        shapes: of one row's parameters.
        contexts: parameters float[rows, *shape] -> float[rows, prompts, length, width].
        prompts: how many contexts a row has.
    """

    shapes: Mapping[str, tuple[int, ...]]
    contexts: Callable[[Params], Tensor]
    prompts: int = 1


def one_context(length: int, width: int) -> Form:
    """One parameter, `context`."""
    return Form(
        shapes={"context": (length, width)}, contexts=lambda params: params["context"].unsqueeze(1)
    )


def shared_and_own(length: int, width: int) -> Form:
    """The sum of two parameters, `shared` and `own`."""
    return Form(
        shapes={"shared": (length, width), "own": (length, width)},
        contexts=lambda params: (params["shared"] + params["own"]).unsqueeze(1),
    )


def cosine(x: Tensor, text: Tensor) -> Tensor:
    """Cosines with the first prompt's class features; x is float[rows, batch, dim]."""
    image = torch.nn.functional.normalize(x, dim=-1)
    first = text[:, :, 0]
    if first.shape[1] == 1:
        return image @ first[:, 0].mT
    return (first @ image.unsqueeze(-1)).squeeze(-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompts(ByGradients):
    """Contexts of a frozen dual encoder; a `Kernel`.

    Attributes:
        text: the classes.
        form: what is learned.
        scale: of the cosines, > 0; public and fixed.
        score: how images are compared with classes; each record alone.
        start: public first values of some parameters, float[*shape]; the others are drawn.
        stddev: of the drawn ones.
        max_sequences: at most so many (rows times prompts times classes) pass the encoder at once,
            or those of one row; bounds the memory, changes no result.
    """

    text: ClassText
    form: Form
    scale: float
    score: Score = cosine
    start: Mapping[str, Tensor] = field(default_factory=dict)
    stddev: float = 0.02
    max_sequences: int = 256

    def __post_init__(self) -> None:
        check.positive(scale=self.scale, stddev=self.stddev)
        check.count(max_sequences=self.max_sequences)
        for name, value in self.start.items():
            wanted = self.form.shapes.get(name)
            if wanted is None or tuple(value.shape) != wanted:
                raise ConfigError(
                    f"start {name!r} of shape {list(value.shape)} is not one of the parameters "
                    f"{dict(self.form.shapes)}"
                )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Those of the form."""
        return dict(self.form.shapes)

    def initial(self, counter: Counter, clients: Tensor, replicas: Tensor) -> Params:
        """Public first values, and normal draws of standard deviation `stddev`."""
        found, first = {}, 0
        like = self.text.rest
        for name, shape in self.form.shapes.items():
            count = math.prod(shape)
            if name in self.start:
                value = self.start[name].to(like).expand(len(clients), *shape).clone()
            else:
                draw = counter.normal(clients, replicas, count, first=first)
                value = (self.stddev * draw).to(like).view(len(clients), *shape)
            first += (count + 1) // 2  # a position of the counter gives two normals
            found[name] = value
        return found

    def class_features(self, params: Params) -> Tensor:
        """float[rows, prompts, classes, dim], each of length 1; differentiable."""
        contexts = self.form.contexts(params)
        found = self.text.features(contexts.flatten(0, 1))
        return found.view(len(contexts), self.form.prompts, *found.shape[1:])

    def outputs(self, params: Params, x: Tensor) -> Outputs:
        """See `Kernel`; the features are the records themselves."""
        with torch.no_grad():
            parts = [
                self.scale
                * self.score(
                    x[rows], self.class_features({n: v[rows] for n, v in params.items()})[:, None]
                )
                for rows, _ in per_record.blocks(len(x), 1, self._most)
            ]
            return Outputs(x.flatten(2), torch.cat(parts))

    def gradients(
        self, params: Params, x: Tensor, y: Tensor, weights: Tensor, loss: Loss, context: Context
    ) -> Params:
        """See `Kernel`."""
        found = {name: torch.zeros_like(value) for name, value in params.items()}
        for rows, _ in per_record.blocks(len(x), 1, self._most):
            leaves, text = self._forward({name: value[rows] for name, value in params.items()})
            extra = {name: value[rows] for name, value in context.items()}
            above = self._above(text, x[rows], y[rows], weights[rows], loss, extra, groups=1)
            parts = torch.autograd.grad(text, list(leaves.values()), above[:, 0])
            for name, part in zip(leaves, parts, strict=True):
                found[name][rows] = part
        return found

    def record_gradients(
        self, params: Params, x: Tensor, y: Tensor, weights: Tensor, loss: Loss, context: Context
    ) -> Params:
        """Gradient of each record's own loss, times its weight: float[rows, batch, ...] each."""
        found = {
            name: value.new_zeros(len(x), x.shape[1], *value.shape[1:])
            for name, value in params.items()
        }
        for rows, _ in per_record.blocks(len(x), 1, self._most):
            leaves, text = self._forward({name: value[rows] for name, value in params.items()})
            extra = {name: value[rows] for name, value in context.items()}
            above = self._above(
                text, x[rows], y[rows], weights[rows], loss, extra, groups=x.shape[1]
            )
            for record in range(x.shape[1]):  # of all rows together; the forward pass is kept
                parts = torch.autograd.grad(
                    text, list(leaves.values()), above[:, record], retain_graph=True
                )
                for name, part in zip(leaves, parts, strict=True):
                    found[name][rows, record] = part
        return found

    def clipped_sums(
        self,
        params: Params,
        x: Tensor,
        y: Tensor,
        weights: Tensor,
        loss: Loss,
        context: Context,
        *,
        clip_norm: float,
    ) -> Params:
        """See `Kernel`; gradients are held record by record."""
        each = self.record_gradients(params, x, y, one_each(weights), loss, context)
        return per_record.weighted_sums(
            each, clip_factors(per_record.squares(each), weights, clip_norm)
        )

    @property
    def _most(self) -> int:
        """Rows whose sequences pass the encoder at once."""
        return max(1, self.max_sequences // (self.form.prompts * len(self.text.rest)))

    def _forward(self, own: Params) -> tuple[Params, Tensor]:
        """Parameters that need gradients, and the class features that they make."""
        leaves = {name: value.detach().clone().requires_grad_() for name, value in own.items()}
        with torch.enable_grad():
            return leaves, self.class_features(leaves)

    def _above(
        self,
        text: Tensor,
        x: Tensor,
        y: Tensor,
        weights: Tensor,
        loss: Loss,
        context: Context,
        *,
        groups: int,
    ) -> Tensor:
        """Gradient of the weighted loss at the class features, float[rows, groups, ...]."""
        leaf = text.detach().unsqueeze(1).expand(-1, groups, *[-1] * (text.dim() - 1))
        leaf.requires_grad_()
        with torch.enable_grad():
            logits = self.scale * self.score(x, leaf)
            total = (loss(Outputs(x.flatten(2), logits), y, context) * weights).sum()
            (found,) = torch.autograd.grad(total, leaf)
        return found

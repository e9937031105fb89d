"""Membership from a prompt's class features and a record's image features, by a learned judge.

Idea: tuning turns the class features towards the images that they were tuned on. A projector,
trained by contrast on shadow prompts, brings the turn of a record's class and the image of the
record into one small space; a discriminator weighs their likeness there together with the cosines.
It is trained once and judges records and prompts that it never saw: no shadow prompt per candidate.
The two learn from different shadows and records: on what the projector was fitted to, its likeness
is far better than on anything new, and the discriminator would trust it too much.
After the published attack of this name; its architecture is not public, this is ours.
Adversary: an outsider with the prompt's vectors, the public dual encoder, and records of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError
from ...fl_core.optimizers import AdamW
from .released import Records, Released

_TEMPERATURE, _WIDTH, _DECAY = 0.2, 16, 1e-2


class Judge(NamedTuple):
    """What was learned; float32.

    Attributes:
        text, image: float[dim, rank], of the projector.
        mean, spread: float[signals], of the signals over the discriminator's shadows.
        hidden, bias, out, last: of the discriminator: tanh(signals @ hidden + bias) @ out + last.
    """

    text: Tensor
    image: Tensor
    mean: Tensor
    spread: Tensor
    hidden: Tensor
    bias: Tensor
    out: Tensor
    last: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Pipra:
    """Membership from a prompt's class features and a record's image features, learnt by `fit`.

    Attributes:
        reference: the untouched prompt, one row.
        judge: projector and discriminator.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("outsider",)
    needs: ClassVar[tuple[str, ...]] = (
        "the prompt's vectors",
        "the public dual encoder",
        "records of the same kind",
        "the training recipe",
    )
    cost: ClassVar[str] = "some dozens of tunings of a prompt, once for all targets and candidates"
    source: ClassVar[str] = "PIPRA, AAAI 2026 (idea); van den Oord et al., arXiv:1807.03748"
    reference: Released
    judge: Judge

    @classmethod
    def fit(
        cls,
        shadows: Released,
        records: Records,
        member: Tensor,
        *,
        reference: Released,
        rank: int = 8,
        steps: int = 100,
        seed: int = 0,
    ) -> "Pipra":
        """Train the judge on prompts whose records are known.

        Args:
            shadows: R prompts that the adversary tuned itself.
            records: its own.
            member: bool[R, records]: what each was tuned on.
            reference: the untouched prompt, one row.
            rank: of the projector.
            steps: of AdamW, for projector and discriminator each.
            seed: of their first values.

        Raises:
            DesignError: shapes differ, or a shadow has only members, or none, in its half of the
                records.
        """
        check.count(rank=rank, steps=steps)
        check.whole(seed=seed)
        if member.shape != (len(shadows), len(records.y)) or member.dtype != torch.bool:
            raise DesignError(f"member must be bool[{len(shadows)}, {len(records.y)}]")
        generator = torch.Generator().manual_seed(seed)
        halves = []
        prompt_order = torch.randperm(len(shadows), generator=generator)
        record_order = torch.randperm(len(records.y), generator=generator)
        for rows, columns in zip(prompt_order.chunk(2), record_order.chunk(2), strict=True):
            inside = member[rows][:, columns]
            if bool(inside.all(dim=1).any()) or not bool(inside.any(dim=1).all()):
                raise DesignError(
                    "every shadow prompt needs members and non-members among its half of the "
                    "records; give more records, about half of them members of each shadow"
                )
            some = Records(records.x[columns], records.y[columns])
            halves.append((_seen(shadows.rows(rows), reference, some), inside.float()))
        (turned, _), among = halves[0]
        dim = turned.image.shape[1]
        maps = [torch.randn(dim, rank, generator=generator) / dim**0.5 for _ in range(2)]

        def contrast(text: Tensor, picture: Tensor) -> Tensor:
            """Members of a prompt against all its records."""
            log = (_likeness(turned, text, picture) / _TEMPERATURE).log_softmax(dim=1)
            return -((log * among).sum(dim=1) / among.sum(dim=1)).mean()

        text, picture = _minimised(contrast, maps, steps)
        (fresh, plain), inside = halves[1]
        signals = torch.cat([plain, _likeness(fresh, text, picture).unsqueeze(-1)], dim=-1).flatten(
            0, 1
        )
        mean, spread = signals.mean(dim=0), signals.std(dim=0) + 1e-6
        scaled = (signals - mean) / spread
        width = scaled.shape[1]
        first = [
            torch.randn(width, _WIDTH, generator=generator) / width**0.5,
            torch.zeros(_WIDTH),
            torch.randn(_WIDTH, generator=generator) / _WIDTH**0.5,
            torch.zeros(()),
        ]

        def mistaken(hidden: Tensor, bias: Tensor, out: Tensor, last: Tensor) -> Tensor:
            said = torch.tanh(scaled @ hidden + bias) @ out + last
            return torch.nn.functional.binary_cross_entropy_with_logits(said, inside.flatten())

        learned = _minimised(mistaken, first, steps)
        return cls(reference=reference, judge=Judge(text, picture, mean, spread, *learned))

    def score(self, view: Released, candidates: Records) -> Tensor:
        """float64[targets, m]: log odds that the record was tuned on."""
        turned, plain = _seen(view, self.reference, candidates)
        j = self.judge
        likeness = _likeness(turned, j.text, j.image).unsqueeze(-1)
        signals = (torch.cat([plain, likeness], dim=-1) - j.mean) / j.spread
        return (torch.tanh(signals @ j.hidden + j.bias) @ j.out + j.last).double()


class _Turned(NamedTuple):
    """float32[prompts, classes, dim], float32[records, dim], int64[records]."""

    turn: Tensor
    image: Tensor
    y: Tensor


def _seen(prompts: Released, reference: Released, records: Records) -> tuple[_Turned, Tensor]:
    """Turns and images, and the signals that need no learning, float32[prompts, records, 6]."""
    if len(reference) != 1:
        raise DesignError(f"one reference prompt is needed, but {len(reference)} are given")
    text, plain = prompts.class_features(), reference.class_features()
    image = torch.nn.functional.normalize(records.x.double(), dim=-1)
    signals = []
    for features in (text, plain):
        cosines = image @ features.mT  # [prompts, records, classes]
        own = cosines.gather(2, records.y.expand(cosines.shape[:2]).unsqueeze(-1)).squeeze(-1)
        others = cosines.scatter(
            2, records.y.expand(cosines.shape[:2]).unsqueeze(-1), float("-inf")
        ).amax(dim=-1)
        loss = (cosines * prompts.kernel.scale).logsumexp(dim=-1) - prompts.kernel.scale * own
        signals.append(torch.stack([own, own - others, loss], dim=-1))
    now, before = signals
    turned = _Turned((text - plain).float(), image.float(), records.y)
    return turned, torch.cat([now, now - before], dim=-1).float()


def _likeness(turned: _Turned, text: Tensor, picture: Tensor) -> Tensor:
    """float[prompts, records]: cosine of the projected turn and image.

    Projected by class, then taken for each record: records times dim would not fit for many.
    """
    left = torch.nn.functional.normalize(turned.turn @ text, dim=-1, eps=1e-6)
    right = torch.nn.functional.normalize(turned.image @ picture, dim=-1, eps=1e-6)
    return (left[:, turned.y] * right).sum(dim=-1)


def _minimised(loss: Callable[..., Tensor], first: list[Tensor], steps: int) -> list[Tensor]:
    """AdamW on all data at once."""
    params = {str(number): value.unsqueeze(0).clone() for number, value in enumerate(first)}
    optimizer = AdamW(0.03, params, weight_decay=_DECAY)
    for _ in range(steps):
        leaves = [value[0].clone().requires_grad_() for value in params.values()]
        with torch.enable_grad():
            parts = torch.autograd.grad(loss(*leaves), leaves)
        gradients = {name: part.unsqueeze(0) for name, part in zip(params, parts, strict=True)}
        optimizer.update(params, gradients, slice(0, 1))
    return [value[0] for value in params.values()]

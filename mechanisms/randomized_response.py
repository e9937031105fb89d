"""Local randomisers of one category: k-ary randomised response and unary encoding."""

import math
from dataclasses import dataclass
from typing import ClassVar

import dp_accounting.dp_event as dpe
import numpy as np
import torch
from torch import Tensor

from ..accountant import check
from ..accountant.assumption import Assumption
from ..accountant.errors import ParameterError
from ..accountant.events import PureDpEvent
from .assumed import public
from .base import Key, Point

_ONE = Assumption(
    text="Each record gives one answer, whatever it is.",
    how="one answer per label; a missing record would show, so only replace-one is covered",
    holds=True,
)


def _uniform(shape: tuple[int, ...], generator: np.random.Generator) -> Tensor:
    return torch.from_numpy(generator.random(shape))


@dataclass(frozen=True, kw_only=True)
class KaryResponse:
    """Keep the label with probability 1 - p, else answer with a uniform one of all k.

    Source: Kairouz, Bonawitz & Ramage, arXiv:1602.07387.

    Attributes:
        categories: k >= 2.
        replaced: p, in (0, 1].
    """

    point: ClassVar[Point] = "per_example"
    categories: int
    replaced: float

    def __post_init__(self) -> None:
        check.count(categories=self.categories)
        check.probability(replaced=self.replaced)
        if self.categories < 2 or self.replaced == 0.0:
            raise ParameterError(
                f"two categories and replaced > 0 are needed, but got {self.categories} and "
                f"{self.replaced}"
            )

    @property
    def epsilon(self) -> float:
        """ln(1 + k (1 - p) / p)."""
        return math.log1p(self.categories * (1.0 - self.replaced) / self.replaced)

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """int64[...]: one answer for each label of int64[...] in 0..k - 1."""
        _check_labels(payload, self.categories)
        generator = key.generator()
        swapped = _uniform(tuple(payload.shape), generator) < self.replaced
        drawn = torch.from_numpy(generator.integers(self.categories, size=tuple(payload.shape)))
        return torch.where(swapped.to(payload.device), drawn.to(payload), payload)

    def frequencies(self, answers: Tensor) -> Tensor:
        """float64[..., k]: unbiased shares of the true labels, from answers int64[..., n]."""
        shares = torch.nn.functional.one_hot(answers, self.categories).double().mean(dim=-2)
        return (shares - self.replaced / self.categories) / (1.0 - self.replaced)

    def event(self) -> dpe.DpEvent:
        """One answer; accounted under replace-one."""
        return dpe.RandomizedResponseDpEvent(self.replaced, self.categories)

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        return (_ONE, public("The number of categories and the probability of replacement"))


@dataclass(frozen=True, kw_only=True)
class UnaryEncoding:
    """One bit per category, each flipped on its own: 1 stays with 1/2, 0 becomes 1 with q.

    Source: Wang, Blocki, Li & Jha, USENIX Security 2017 ("optimised unary encoding").

    Attributes:
        categories: k >= 2.
        epsilon: > 0; q = 1 / (e^epsilon + 1).
    """

    point: ClassVar[Point] = "per_example"
    categories: int
    epsilon: float

    def __post_init__(self) -> None:
        check.count(categories=self.categories)
        check.positive(epsilon=self.epsilon)

    @property
    def false_rate(self) -> float:
        """Probability that a bit of another category is set."""
        return 1.0 / (math.exp(self.epsilon) + 1.0)

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """int64[..., k] of bits for each label of int64[...] in 0..k - 1."""
        _check_labels(payload, self.categories)
        true = torch.nn.functional.one_hot(payload, self.categories)
        # Doubles: a rate rounded to single precision would have other odds.
        rate = torch.tensor([self.false_rate, 0.5], dtype=torch.float64)[true.cpu()]
        drawn = _uniform(tuple(true.shape), key.generator()) < rate
        return drawn.to(true)

    def frequencies(self, answers: Tensor) -> Tensor:
        """float64[..., k]: unbiased shares of the true labels, from bits int64[..., n, k]."""
        return (answers.double().mean(dim=-2) - self.false_rate) / (0.5 - self.false_rate)

    def event(self) -> dpe.DpEvent:
        """One answer under replace-one: two bits change, with odds 1 and e^epsilon."""
        # Raised by more than the roundings of q.
        return PureDpEvent(self.epsilon * (1.0 + 2.0**-40) + 2.0**-40)

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        return (_ONE, public("The number of categories and epsilon"))


def _check_labels(labels: Tensor, categories: int) -> None:
    if labels.numel() and not (0 <= int(labels.min()) and int(labels.max()) < categories):
        raise ParameterError(
            f"labels must be in 0..{categories - 1}, but are {int(labels.min())}.."
            f"{int(labels.max())}"
        )

"""Local randomisers of one category: k-ary randomised response and unary encoding.

Coins and categories are drawn with exactly the stated probabilities, so the events hold from
epsilon = 1e-300 to 10^4, whatever doubles make of e^epsilon.
"""

import math
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import ClassVar, Self

import dp_accounting.dp_event as dpe
import torch
from torch import Tensor

from ..accountant import check
from ..accountant.assumption import Assumption
from ..accountant.errors import ParameterError
from ..accountant.events import PureDpEvent, RestrictedDpEvent
from .assumed import public
from .base import Key, Point
from .exact_sampling import below, coins, key_words

_ONE = Assumption(
    text="Each record gives one answer, whatever it is.",
    how="one answer per label; a missing record would show, so only replace-one is covered",
    holds=True,
)
_LARGEST_EPSILON = 1e4
_LEAST_REPLACED = 1e-290  # per category; below, the accountant holds no pair of laws


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

    @classmethod
    def with_epsilon(cls, *, categories: int, epsilon: float) -> Self:
        """The response with at most this epsilon, the largest that a double p allows.

        Raises:
            ParameterError: epsilon is not in (0, 700 + ln k].

        >>> round(KaryResponse.with_epsilon(categories=4, epsilon=math.log(7)).replaced, 12)
        0.4
        """
        check.count(categories=categories)
        check.positive(epsilon=epsilon)
        if epsilon > 700.0 + math.log(categories):
            raise ParameterError(
                f"epsilon must be at most 700 + ln k, but is {epsilon!r}: no double holds a "
                "smaller probability.\n  Say that the label is released as it is."
            )
        with localcontext() as context:
            context.prec = 60
            odds = Decimal(epsilon).exp() - 1  # k (1 - p) / p; 60 digits outlast the cancellation
            exact = Fraction(categories) / (categories + Fraction(odds))
        near = float(exact)
        # Up: a larger p has a smaller epsilon.
        return cls(
            categories=categories,
            replaced=near if near >= exact else math.nextafter(near, 1.0),
        )

    @property
    def epsilon(self) -> float:
        """ln(1 + k (1 - p) / p)."""
        k, p = self.categories, self.replaced
        odds = k * (1.0 - p) / p
        return math.log1p(odds) if odds < 1e300 else math.log(k) + math.log1p(-p) - math.log(p)

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """int64[...]: one answer for each label of int64[...] in 0..k - 1."""
        labels = _checked(payload, self.categories)
        words, shape = key_words(key), tuple(labels.shape)
        swapped = coins(Fraction(self.replaced), shape, words)
        drawn = torch.from_numpy(below(self.categories, labels.numel(), words)).reshape(shape)
        return torch.where(swapped.to(labels.device), drawn.to(labels.device), labels)

    def frequencies(self, answers: Tensor) -> Tensor:
        """float64[..., k]: unbiased shares of the true labels, from answers int64[..., n].

        Raises:
            ParameterError: no answers, or every label is replaced.
        """
        answers = _checked(answers, self.categories)
        if answers.shape[-1] == 0 or self.replaced == 1.0:
            raise ParameterError(
                f"{answers.shape[-1]} answers, of which a share of {self.replaced} says nothing, "
                "allow no estimate.\n  Collect answers, with replaced < 1."
            )
        counts = torch.zeros(
            (*answers.shape[:-1], self.categories), dtype=torch.float64, device=answers.device
        )
        ones = torch.ones_like(answers, dtype=torch.float64)
        shares = counts.scatter_add_(-1, answers, ones) / answers.shape[-1]
        return (shares - self.replaced / self.categories) / (1.0 - self.replaced)

    def event(self) -> dpe.DpEvent:
        """One answer; accounted under replace-one, and refused under the others."""
        # Where the label is all but disclosed the pure event says the same.
        if self.replaced < _LEAST_REPLACED * self.categories:
            return _one_answer(self.epsilon * (1.0 + 2.0**-40))
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
        epsilon: in (0, 10^4]; q = 1 / (e^epsilon + 1).
    """

    point: ClassVar[Point] = "per_example"
    categories: int
    epsilon: float

    def __post_init__(self) -> None:
        check.count(categories=self.categories)
        check.positive(epsilon=self.epsilon)
        if self.categories < 2 or self.epsilon > _LARGEST_EPSILON:
            raise ParameterError(
                f"two categories and an epsilon of at most {_LARGEST_EPSILON:g} are needed, but "
                f"got {self.categories} and {self.epsilon!r}"
            )

    @property
    def exact_rate(self) -> Fraction:
        """The drawn q: 1 / (e^epsilon + 1) rounded up, so that ln((1 - q) / q) <= epsilon."""
        with localcontext() as context:
            # 60 digits of 1/2 - q = tanh(epsilon / 2) / 2, however small epsilon is.
            context.prec = 60 + max(0, -math.floor(math.log10(self.epsilon)))
            power = Fraction(Decimal(self.epsilon).exp())
        return min(Fraction(1, 2), (1 + Fraction(1, 10**55) * _small(self.epsilon)) / (power + 1))

    @property
    def false_rate(self) -> float:
        """Probability that a bit of another category is set, as a double."""
        return float(self.exact_rate)

    def release(self, payload: Tensor, key: Key) -> Tensor:
        """int64[..., k] of bits for each label of int64[...] in 0..k - 1."""
        labels = _checked(payload, self.categories)
        words, shape = key_words(key), tuple(labels.shape)
        others = coins(self.exact_rate, (*shape, self.categories), words)
        own = coins(Fraction(1, 2), (*shape, 1), words)
        bits = others.scatter_(-1, labels.cpu()[..., None], own)
        return bits.to(device=labels.device, dtype=torch.int64)

    def frequencies(self, answers: Tensor) -> Tensor:
        """float64[..., k]: unbiased shares of the true labels, from bits int64[..., n, k].

        Raises:
            ParameterError: no answers.
        """
        if answers.ndim < 2 or answers.shape[-2] == 0 or answers.shape[-1] != self.categories:
            raise ParameterError(
                f"answers must be bits int64[..., n, {self.categories}] with n >= 1, but are "
                f"{list(answers.shape)}"
            )
        half = math.tanh(self.epsilon / 2.0) / 2.0  # 1/2 - q, also where q rounds to 1/2
        return ((answers.double().mean(dim=-2) - 0.5) + half) / half

    def event(self) -> dpe.DpEvent:
        """One answer under replace-one: two bits change, with odds 1 and at most e^epsilon.

        With p = 1/2 for the own bit, ln(p (1 - q) / ((1 - p) q)) = ln((1 - q) / q).
        """
        return _one_answer(math.nextafter(self.epsilon, math.inf))

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the proof needs."""
        return (_ONE, public("The number of categories and epsilon"))


def _one_answer(epsilon: float) -> dpe.DpEvent:
    """Pure under replace-one; without its record there is no answer, which shows."""
    return RestrictedDpEvent(PureDpEvent(epsilon), ("replace-one",))


def _small(epsilon: float) -> Fraction:
    """At most epsilon and 1: q is rounded up by so much less than 1/2 - q."""
    return min(Fraction(1), Fraction(epsilon))


def _checked(labels: Tensor, categories: int) -> Tensor:
    """int64 labels in 0..categories - 1."""
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ParameterError(f"labels must be whole numbers, but are {labels.dtype}")
    if labels.numel() and not (0 <= int(labels.min()) and int(labels.max()) < categories):
        raise ParameterError(
            f"labels must be in 0..{categories - 1}, but are {int(labels.min())}.."
            f"{int(labels.max())}"
        )
    return labels.to(torch.int64)

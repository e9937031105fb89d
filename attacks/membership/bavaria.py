"""BaVarIA: a likelihood ratio that knows how little few references say.

LiRA takes a record's estimated means and spreads for exact. Here they have a conjugate prior that
is fitted to all records: a record with two references borrows from the others, one with hundreds
does not, and the Student t of the prediction is as wide as it is ignorant. Source: Brännvall,
arXiv:2603.11799. How the prior is fitted is our own choice: see `BaVarIA`.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ParameterError
from .lira import FLOOR, MODES, Lira, Mode
from .outputs import Answers, References
from .signals import Moments, against_references, chosen, margin

_LEAST = 1e-3  # of the variance within records: records may have the same mean, not quite


class Student(NamedTuple):
    """What phi of a target is expected to be, for each record: a Student t.

    Attributes:
        freedom, location, scale: float64[records].
    """

    freedom: Tensor
    location: Tensor
    scale: Tensor

    def fall(self, x: Tensor) -> Tensor:
        """float64[targets, records]: by how much the log density falls from its peak to x."""
        z = (x - self.location) / self.scale
        return (self.freedom + 1.0) / 2.0 * torch.log1p(z.square() / self.freedom)

    def log_density(self, x: Tensor) -> Tensor:
        """float64[targets, records]: at x, float64[targets, records]."""
        half = self.freedom / 2.0
        peak = torch.lgamma(half + 0.5) - torch.lgamma(half) - 0.5 * (math.pi * self.freedom).log()
        return peak - self.scale.log() - self.fall(x)


@dataclass(frozen=True, kw_only=True, eq=False)
class BaVarIA:
    """Log ratio of two predictive densities (online), or departure from one (offline).

    For each side, with or without the record, phi is Gaussian with unknown mean and variance under
    a normal-inverse-gamma prior. The variance's prior mean is that about the records' own means,
    pooled; it weighs as `prior_freedom` degrees of freedom. The mean's prior is centred on the
    records' mean, and weighs as their spread says. Online it is moved by the regression on the
    record's other side: what is hard for models without a record is hard for models with it. That
    also serves records of which one side is missing among the references. With many references it
    tends to LiRA with a variance of its own for each record.

    Offline: the fall of the log density from its peak to phi, negative below the peak; that is
    +-z^2 / 2 with many references.

    Attributes:
        references: models of the adversary's own.
        mode: "online" needs references with the record too, hence trainings after the candidates
            are known.
        prior_freedom: > 2. Of 4 to 32, on digits with 4 to 127 references, 16 was within .003 of
            the best AUC.

    Raises:
        ParameterError: an unknown mode, or a prior_freedom that is not above 2.
    """

    adversaries: ClassVar[tuple[str, ...]] = Lira.adversaries
    needs: ClassVar[tuple[str, ...]] = Lira.needs
    cost: ClassVar[str] = "4 trainings or more; 1 query a record"
    source: ClassVar[str] = "Brännvall, arXiv:2603.11799"
    references: References
    mode: Mode = "online"
    prior_freedom: float = 16.0

    def __post_init__(self) -> None:
        check.one_of(MODES, mode=self.mode)
        check.positive(prior_freedom=self.prior_freedom)
        if self.prior_freedom <= 2.0:
            raise ParameterError(
                f"prior_freedom must be above 2, but is {self.prior_freedom}: the variance would "
                "have no mean"
            )

    def score(self, view: Answers, candidates: Tensor | None = None) -> Tensor:
        """float64[targets, m] for records int64[m], or all; larger means more likely a member.

        Raises:
            DesignError: the references do not fit the view, or are too few to know any spread.
        """
        rule = self._online if self.mode == "online" else self._offline
        return chosen(against_references(view, self.references, margin, rule), candidates)

    def _online(self, own: Tensor, others: Tensor, member: Tensor) -> Tensor:
        inside, outside = _side(others, member), _side(others, ~member)
        covariance = _covariance(inside, outside)
        with_it = inside.predict(*inside.expected(outside, covariance), self.prior_freedom)
        without = outside.predict(*outside.expected(inside, covariance), self.prior_freedom)
        return with_it.log_density(own) - without.log_density(own)

    def _offline(self, own: Tensor, others: Tensor, member: Tensor) -> Tensor:
        outside = _side(others, ~member)
        without = outside.predict(outside.typical, outside.between, self.prior_freedom)
        return (own - without.location).sign() * without.fall(own)


class _Side(NamedTuple):
    """References with the records, or those without.

    Attributes:
        moments: of each record.
        typical, between: float64[], mean and variance of the records' true means.
        within: float64[], variance about them.
    """

    moments: Moments
    typical: Tensor
    between: Tensor
    within: Tensor

    def expected(self, other: "_Side", covariance: Tensor) -> tuple[Tensor, Tensor]:
        """float64[records] twice: mean and variance of the true mean, from the other side."""
        count = other.moments.seen
        variance = other.between + other.within / count.clamp(min=1)
        slope = torch.where(count > 0, covariance / variance, 0.0)
        mean = self.typical + slope * (other.moments.mean - other.typical)
        return mean, (self.between - slope * covariance).clamp(min=_LEAST * self.within)

    def predict(self, mean: Tensor, variance: Tensor, freedom: float) -> Student:
        """The conjugate update, of a prior mean and its variance.

        Source: Murphy, "Conjugate Bayesian analysis of the Gaussian distribution", section 6.
        """
        weight, count = self.within / variance, self.moments.seen
        total = weight + count
        shape = (freedom + count) / 2.0
        surprise = weight * count / total * (self.moments.mean - mean).square()
        rate = (freedom / 2.0 - 1.0) * self.within + (self.moments.squares + surprise) / 2.0
        location = (weight * mean + count * self.moments.mean) / total
        return Student(2.0 * shape, location, (rate / shape * (1.0 + 1.0 / total)).sqrt())


def _side(signals: Tensor, used: Tensor) -> _Side:
    moments = Moments.of(signals, used)
    typical, spread = moments.between()
    within = moments.within() + FLOOR
    # The means that are seen spread further than the true ones.
    error = within * moments.seen[moments.known].reciprocal().mean()
    return _Side(moments, typical, (spread - error).clamp(min=_LEAST * within), within)


def _covariance(a: _Side, b: _Side) -> Tensor:
    """float64[]: of the records' two true means; the errors are those of different models."""
    both = a.moments.known & b.moments.known
    if not bool(both.any()):
        return a.within.new_zeros(())
    one, two = a.moments.mean[both], b.moments.mean[both]
    most = 0.999 * (a.between * b.between).sqrt()
    return ((one - one.mean()) * (two - two.mean())).mean().clamp(-most, most)

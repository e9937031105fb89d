"""What attacks by queries read off an answer, and how they bring in reference models.

Everything is worked in float64 and from logarithms: a probability rounds to 1, its logarithm does
not. Scores are computed for all records of the view and the candidates chosen last, so that a
candidate's score does not depend on which others are asked for.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ...accountant.errors import DesignError
from .outputs import Answers, References

Signal = Callable[[Answers], Tensor]
"""answers -> float64[models, records]."""

Rule = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(targets' signals, references' signals, member) -> float64[targets, records].

float64[targets, records], float64[references, records] and bool[references, records], where each
of these references may be used against each of these targets.
"""

_AT_ONCE = 1 << 24  # numbers in double precision at a time: 128 MiB
_HUGE = 1e150  # what is below it has a finite square
_IN_CACHE = 1 << 17  # 1 MiB: what several passes over the same numbers find in the cache


def margin(answers: Answers) -> Tensor:
    """float64[models, records]: phi = ln p_y - ln(sum of the other p), never through p.

    Over trainings it is nearer to Gaussian than the loss. Source: Carlini et al.,
    arXiv:2112.03570, section V.B.

    Raises:
        DesignError: labels that are no classes, or fewer than two classes.
    """
    labels, classes = answers.labels, answers.logits.shape[2]
    if labels.dtype != torch.int64 or bool(((labels < 0) | (labels >= classes)).any()):
        raise DesignError(f"labels must be int64 in 0 .. {classes - 1}, the classes of the logits")
    return _in_parts(answers, lambda logits: log_odds(logits, labels.expand(logits.shape[:2])))


def log_probability(answers: Answers) -> Tensor:
    """float64[models, records]: ln of the true class's probability, minus the loss.

    >>> answers = Answers(logits=torch.tensor([[[0.0, 40.0]]]), labels=torch.tensor([1]))
    >>> float(log_probability(answers))
    -4.248354255291589e-18
    """
    return torch.nn.functional.logsigmoid(margin(answers))


def confidence(answers: Answers) -> Tensor:
    """float64[models, records]: ln(p / (1 - p)) of the likeliest class; uses no label."""
    return _in_parts(answers, lambda logits: log_odds(logits, logits.argmax(dim=2)))


def negative_entropy(answers: Answers) -> Tensor:
    """float64[models, records]: sum of p ln p over the classes, in nats; uses no label."""
    return _in_parts(
        answers, lambda logits: (logits.softmax(dim=2) * logits.log_softmax(dim=2)).sum(dim=2)
    )


def log_odds(logits: Tensor, of: Tensor) -> Tensor:
    """[models, records]: ln p - ln(1 - p) of one class of each answer.

    Args:
        logits: float[models, records, classes].
        of: int64[models, records], the classes.

    Raises:
        DesignError: there is one class only.
    """
    if logits.shape[2] < 2:
        raise DesignError("answers with one class say nothing; at least two are needed")
    index = of.unsqueeze(2)
    others = logits.scatter(2, index, -torch.inf).logsumexp(dim=2)
    return logits.gather(2, index).squeeze(2) - others


def _in_parts(answers: Answers, of: Callable[[Tensor], Tensor]) -> Tensor:
    numbers = answers.logits[0].numel() if len(answers.logits) else 1
    some = answers.logits.detach().split(max(1, _AT_ONCE // max(numbers, 1)))
    return torch.cat([of(logits.double()) for logits in some])


def chosen(scores: Tensor, candidates: Tensor | None) -> Tensor:
    """float64[targets, m]: the scores of the candidates.

    Args:
        scores: float64[targets, records].
        candidates: int64[m], distinct records; None for all of them.

    Raises:
        DesignError: candidates that are no distinct records.
    """
    if candidates is None:
        return scores
    require_records(scores.shape[1], candidates=candidates)
    return scores[:, candidates]


def require_records(records: int, **given: Tensor) -> None:
    """Raise `DesignError` unless each is int64[at least 1] of distinct numbers below `records`."""
    for name, index in given.items():
        if index.dtype != torch.int64 or index.ndim != 1 or index.numel() == 0:
            raise DesignError(
                f"{name} must be int64[m] numbers of records, at least one, but is "
                f"{index.dtype} of shape {tuple(index.shape)}"
            )
        if not 0 <= int(index.min()) <= int(index.max()) < records:
            raise DesignError(
                f"{name} must lie in 0 .. {records - 1}, the records that were asked about, but "
                f"range over {int(index.min())} .. {int(index.max())}"
            )
        if len(index.unique()) != len(index):
            raise DesignError(f"{name} hold a record twice; give each once")


def against_references(view: Answers, references: References, signal: Signal, rule: Rule) -> Tensor:
    """float64[targets, records]: `rule` of each target and the references allowed against it.

    A rule never sees a reference that is not allowed, so such a one cannot change a score.

    Raises:
        DesignError: view and references are not about the same records, or `allowed` is not about
            these targets; or a signal's square would overflow.
    """
    asked = references.answers
    if not torch.equal(asked.labels, view.labels):
        raise DesignError(
            f"the references answer about other records ({len(asked.labels)} labels) than the "
            f"targets ({len(view.labels)} labels); ask both about the same, in the same order"
        )
    if asked.logits.shape[2] != view.logits.shape[2]:
        raise DesignError(
            f"the references know {asked.logits.shape[2]} classes, the targets "
            f"{view.logits.shape[2]}"
        )
    if len(references.allowed) != len(view.logits):
        raise DesignError(
            f"references.allowed is about {len(references.allowed)} targets, but the view has "
            f"{len(view.logits)}"
        )
    own, others = signal(view), signal(asked)
    if not all(bool((each.abs() < _HUGE).all()) for each in (own, others)):
        raise DesignError(f"a signal is beyond +-{_HUGE:g}; logits of this size come of an error")
    scores = torch.empty_like(own)
    sets, which = references.allowed.unique(dim=0, return_inverse=True)
    for number, allowed in enumerate(sets):
        targets = which == number
        scores[targets] = rule(own[targets], others[allowed], references.member[allowed])
    return scores


class Moments(NamedTuple):
    """Of some references' signals of each record.

    Attributes:
        seen: float64[records], how many references.
        mean: float64[records]; 0 where there is none.
        squares: float64[records], sum of squared deviations from the mean.
    """

    seen: Tensor
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, signals: Tensor, used: Tensor) -> "Moments":
        """Of finite float64[references, records] where `used`, bool[references, records].

        Two passes: the one-pass formula cancels where a record's signals are nearly equal. What is
        not used has no part in the result, not even in its rounding: sums over all references, less
        those of a target, would carry the target's own membership in their last bits.
        """
        found = signals.new_empty(3, signals.shape[1])
        width = max(1, _IN_CACHE // max(len(signals), 1))
        parts = zip(*(each.split(width, dim=1) for each in (signals, used, found)), strict=True)
        for values, taken, (seen, mean, squares) in parts:
            weight = taken.to(values)
            torch.sum(weight, dim=0, out=seen)
            mean.copy_((values * weight).sum(dim=0) / seen.clamp(min=1))
            squares.copy_((values - mean).mul_(weight).square_().sum(dim=0))
        return cls(*found)

    @property
    def known(self) -> Tensor:
        """bool[records]: at least one reference."""
        return self.seen > 0

    def within(self) -> Tensor:
        """float64[]: variance about a record's own mean, pooled over the records.

        Raises:
            DesignError: no record has two references.
        """
        freedom = (self.seen - 1).clamp(min=0).sum()
        if float(freedom) == 0.0:
            raise DesignError(
                "no record has two references on the same side, so nothing is known of the spread "
                "over trainings. Train more references, or use RMIA, which needs one."
            )
        return self.squares.sum() / freedom

    def between(self) -> tuple[Tensor, Tensor]:
        """float64[] twice: mean and variance of the records' means, over records with any.

        Raises:
            DesignError: no record has one.
        """
        means = self.mean[self.known]
        if len(means) == 0:
            raise DesignError(
                "every reference was trained on every record, or none on any: one side is missing"
            )
        return means.mean(), means.var(correction=0)

"""Functional theft: a prompt of one's own, tuned to give the answers of the served one.

Idea: the encoders are public, so a student prompt trained on the target's answers to public
pictures becomes the target in all but its vectors. Adversary: a querier that gets logits, or labels
alone. Neither secret sharing nor differential privacy bounds it: they speak of what a prompt says
about its data, not of the prompt being copied.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import DesignError
from ...fl_core.counters import Counter
from ...fl_core.kernels.base import Context, Outputs
from ...fl_core.kernels.prompts import Prompts
from ...fl_core.optimizers import AdamW
from .released import Records, Released

AnswerKind = Literal["logits", "probabilities", "labels"]
_SUMS_TO_ONE = 1e-2  # room for probabilities that were rounded


@dataclass(frozen=True, kw_only=True, eq=False)
class Queries:
    """Pictures that were asked about, and the answers of several targets.

    Attributes:
        x: float[queries, dim], features of the pictures by the public encoder.
        answers: float[targets, queries, classes]; labels are int64[targets, queries].
        kind: what the answers are. Logits may have any shift per picture, so logarithms of
            probabilities are logits.

    Raises:
        DesignError: shapes contradict each other, an answer is NaN or infinite, or the answers are
            not what `kind` says: probabilities taken for logits give garbage without a warning.
    """

    x: Tensor
    answers: Tensor
    kind: AnswerKind = "logits"

    def __post_init__(self) -> None:
        check.one_of(get_args(AnswerKind), kind=self.kind)
        labels = self.kind == "labels"
        wanted = f"{'int64' if labels else 'float'}[targets, {len(self.x)}{'' if labels else ', '}"
        if (
            self.answers.is_floating_point() == labels
            or self.answers.ndim != (2 if labels else 3)
            or self.answers.shape[1:2] != self.x.shape[:1]
        ):
            raise DesignError(
                f"{self.kind} as answers must be {wanted}{'' if labels else 'classes'}], but are "
                f"{self.answers.dtype} {list(self.answers.shape)}; `kind` says what they are"
            )
        if labels:
            return
        if not bool(torch.isfinite(self.answers).all()):
            raise DesignError("answers hold NaN or infinity")
        sums = self.answers.double().sum(dim=-1)
        distribution = bool((self.answers >= 0.0).all()) and bool(
            ((sums - 1.0).abs() < _SUMS_TO_ONE).all()
        )
        if distribution != (self.kind == "probabilities"):
            raise DesignError(
                "answers are not negative and sum to 1 for every picture, so they are no logits; "
                'give kind="probabilities"'
                if distribution
                else "probabilities must be >= 0 and sum to 1 for every picture; if these are "
                'logits or logarithms, give kind="logits"'
            )

    def logits(self) -> Tensor:
        """float64[targets, queries, classes], up to a shift per picture.

        Raises:
            DesignError: labels, or a probability that was rounded to 0: its logarithm is unknown.
        """
        if self.kind == "labels":
            raise DesignError("labels give no equations; distil a student prompt from them")
        found = self.answers.double()
        if self.kind == "logits":
            return found
        if bool((found == 0.0).any()):
            raise DesignError(
                "a probability is 0, so rounded, and its logarithm is lost.\n  Leave out the "
                "pictures with such answers, or distil a student prompt, which needs no logarithm."
            )
        return found.log()

    def probabilities(self, classes: int) -> Tensor:
        """float[targets, queries, classes]: what a student is to answer.

        Args:
            classes: of the student.

        Raises:
            DesignError: the target has other classes than these.
        """
        if self.kind == "labels":
            if int(self.answers.max()) >= classes or int(self.answers.min()) < 0:
                raise DesignError(f"labels must be 0 .. {classes - 1}")
            return torch.nn.functional.one_hot(self.answers, classes)
        if self.answers.shape[2] != classes:
            raise DesignError(
                f"the target answers with {self.answers.shape[2]} classes, but the student has "
                f"{classes}; give the student's kernel the target's class names"
            )
        return self.answers if self.kind == "probabilities" else self.answers.softmax(dim=-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptDistillation:
    """Functional theft: a prompt of one's own, tuned to give the answers of the served one.

    Attributes:
        kernel: the public dual encoder, and the student's own form and start.
        steps: of AdamW over all queries, >= 1.
        learning_rate: > 0.
        seed: of the student's first values, where they are drawn.
    """

    adversaries: ClassVar[tuple[str, ...]] = ("querier",)
    needs: ClassVar[tuple[str, ...]] = ("answers to public pictures", "the public dual encoder")
    cost: ClassVar[str] = "one query per picture, one tuning of a prompt"
    source: ClassVar[str] = "Hinton et al., arXiv:1503.02531; Tramer et al., arXiv:1609.02943"
    kernel: Prompts
    steps: int = 100
    learning_rate: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        check.count(steps=self.steps)
        check.positive(learning_rate=self.learning_rate)
        check.whole(seed=self.seed)

    def reconstruct(self, view: Queries) -> Released:
        """One student for each target."""
        targets = torch.arange(len(view.answers))
        params = self.kernel.initial(Counter((self.seed, 0)), targets, targets * 0)
        x = view.x.unsqueeze(0).expand(len(targets), *view.x.shape)
        soft = view.probabilities(len(self.kernel.text.names)).to(view.x)
        asked = torch.arange(len(view.x)).expand(len(targets), -1)
        weights = torch.full(asked.shape, 1.0 / len(view.x), dtype=view.x.dtype)
        # A short memory of squares: this loss flattens by orders of magnitude.
        optimizer = AdamW(self.learning_rate, params, weight_decay=0.0, betas=(0.9, 0.95))
        for _ in range(self.steps):
            gradients = self.kernel.gradients(params, x, asked, weights, _gap, {"soft": soft})
            optimizer.update(params, gradients, slice(0, len(targets)))
        return Released(kernel=self.kernel, prompts=params)

    def score(self, view: Queries, candidates: Released) -> Tensor:
        """float64[targets, M]: how alike the students and M prompts are."""
        return likeness(self.reconstruct(view), candidates)


def likeness(students: Released, candidates: Released) -> Tensor:
    """float64[students, M]: mean cosine of the class features that they make."""
    mine, others = students.class_features(), candidates.class_features()
    return torch.einsum("tcd,mcd->tm", mine, others) / mine.shape[1]


def _gap(outputs: Outputs, asked: Tensor, context: Context) -> Tensor:
    """float[rows, batch]: cross-entropy with the target's answers; `asked` numbers the queries."""
    wanted = context["soft"].gather(1, asked.unsqueeze(-1).expand(outputs.logits.shape))
    return -(wanted * outputs.logits.log_softmax(dim=-1)).sum(dim=-1)


class Theft(NamedTuple):
    """What was stolen, float64[targets] each, on records that were not asked about.

    Attributes:
        agreement: share of records that both prompts classify alike.
        true, stolen, plain: accuracies of the target, of the student, of the untouched prompt.
        gain_share: (stolen - plain) / (true - plain): how much of what tuning gained was stolen.
        cosine: of the prompts' vectors; need not be near 1 for prompts that do the same. None if
            they have other shapes.
        queries: that were needed.
    """

    agreement: Tensor
    true: Tensor
    stolen: Tensor
    plain: Tensor
    gain_share: Tensor
    cosine: Tensor | None
    queries: int


def theft(
    true: Released, stolen: Released, plain: Released, records: Records, *, queries: int
) -> Theft:
    """Compare students with their targets; of other class names if their kernel has others.

    Args:
        true: the targets.
        stolen: their students, in the same order.
        plain: the untouched prompt, one row.
        records: for evaluation, not asked about.
        queries: as many as were asked.

    Raises:
        DesignError: numbers of rows differ, or a target is not better than the untouched prompt:
            there is nothing to steal, so no share of it.
    """
    if len(true) != len(stolen) or len(plain) != 1:
        raise DesignError(
            f"{len(true)} targets, {len(stolen)} students and {len(plain)} untouched prompts: one "
            "student per target and one untouched prompt are needed"
        )
    said = [p.answers(records).logits.argmax(dim=-1) for p in (true, stolen, plain)]
    right = [(s == records.y).double().mean(dim=1) for s in said]
    gain = right[0] - right[2]
    if float(gain.min()) <= 0.0:
        raise DesignError(
            f"a target's accuracy {float(right[0][gain.argmin()]):.3f} is not above the untouched "
            f"prompt's {float(right[2]):.3f}: nothing was gained, so no share of it can be stolen"
        )
    vectors = [
        torch.cat([v.double().flatten(1) for v in p.prompts.values()], dim=1)
        for p in (true, stolen)
    ]
    return Theft(
        agreement=(said[0] == said[1]).double().mean(dim=1),
        true=right[0],
        stolen=right[1],
        plain=right[2].expand(len(true)),
        gain_share=(right[1] - right[2]) / gain,
        cosine=torch.nn.functional.cosine_similarity(vectors[0], vectors[1], dim=1)
        if vectors[0].shape == vectors[1].shape
        else None,
        queries=queries,
    )

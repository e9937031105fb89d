"""`Shadows`: trained shadow models, what they answer, and which may be used against which."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..accountant import check
from ..accountant.errors import DesignError
from ..fl_core.data.membership import Kind
from ..fl_core.kernels.base import Kernel, Params, rows_of
from ..fl_core.kernels.per_record import blocks
from .membership.outputs import Answers, References
from .shadow_design import require_same_mix

_RECORDS = 1 << 16  # answers computed at once, and
_LOGITS = 1 << 22  # numbers in them; both bound the memory beyond what is returned


@dataclass(frozen=True, kw_only=True, eq=False)
class Shadows:
    """K models of one recipe.

    Attributes:
        kernel: the model.
        params: float[K, ...] each.
        member: bool[K, records]: the records that each model was really trained on.
        kind: of the design that drew them.
    """

    kernel: Kernel
    params: Params
    member: Tensor
    kind: Kind

    def __len__(self) -> int:
        return len(self.member)

    def answers(self, x: Tensor, y: Tensor) -> Answers:
        """All models' answers about some records, in float64 on the processor.

        Args:
            x: float[n, ...].
            y: int64[n].

        Raises:
            DesignError: there is no record, or a logit is not finite.
        """
        if not len(x):
            raise DesignError("the models were asked about no record")
        some = next(iter(self.params.values()))
        x = (x.to(some.dtype) if x.is_floating_point() else x).to(some.device)
        one = self.kernel.outputs(rows_of(self.params, slice(1)), x[:1].unsqueeze(0)).logits
        limit = min(_RECORDS, max(1, _LOGITS // one.shape[2]))
        found = torch.empty(len(self), len(x), one.shape[2], dtype=torch.float64)
        for rows, records in blocks(len(self), len(x), limit):
            own, batch = rows_of(self.params, rows), x[records]
            many = batch.unsqueeze(0).expand(len(self.member[rows]), *batch.shape)
            found[rows, records] = self.kernel.outputs(own, many).logits.to("cpu", torch.float64)
        return Answers(logits=found, labels=y.cpu())

    def references(
        self,
        answers: Answers,
        *,
        targets: int | None = None,
        refs: int | None = None,
        records: Tensor | None = None,
    ) -> References:
        """Leave one out: the first models are the targets, and others are their references.

        Target t may use the models t + 1 .. t + refs, counted in a circle: one draw of models is
        then not what all targets are attacked with.

        Args:
            answers: of all models about the records.
            targets: number of targets, all if not given; their answers are `targets_of`.
            refs: references of each target, all others if not given.
            records: int64[n], the pool's numbers of the records that were asked about; the whole
                pool in order if not given.

        Raises:
            DesignError: the memberships depend on each other, so that those of the references
                tell the target's; members are of another class mix than non-members, which tells
                them apart without any model (`shadow_design.require_same_mix`); too many targets or
                references; or answers about other records.
        """
        if self.kind not in ("coins", "draws"):
            raise DesignError(
                "leave-one-out needs a design of independent coins or draws, but it is "
                f"{self.kind!r}: which of the others hold a record would tell whether the target "
                "does.\n  Draw it by `shadow_design.equal_coins`, or train the references apart "
                "and use `all_against`."
            )
        count = len(self) if targets is None else targets
        each = len(self) - 1 if refs is None else refs
        check.count(targets=count, refs=each)
        if count > len(self) or each >= len(self):
            raise DesignError(
                f"{count} targets with {each} references each were asked for, but of {len(self)} "
                f"models at most {len(self)} can be targets, with {len(self) - 1} references"
            )
        step = (torch.arange(len(self)) - torch.arange(count).unsqueeze(1)) % len(self)
        allowed = (step >= 1) & (step <= each)
        references = References(answers=answers, member=self._held(records), allowed=allowed)
        # Records that every model must hold were not drawn. One that all hold by chance goes with
        # them: whether that happens has nothing to do with its class.
        drawn = ~references.member.all(dim=0)
        if not bool(drawn.any()):
            raise DesignError("every model was trained on all of the records asked about")
        require_same_mix(references.member[:, drawn], answers.labels[drawn])
        return references

    def all_against(
        self, answers: Answers, *, targets: int, records: Tensor | None = None
    ) -> References:
        """All models against targets that are none of them; arguments as for `references`."""
        check.count(targets=targets)
        allowed = torch.ones(targets, len(self), dtype=torch.bool)
        return References(answers=answers, member=self._held(records), allowed=allowed)

    def _held(self, records: Tensor | None) -> Tensor:
        return self.member if records is None else self.member[:, records]


def targets_of(answers: Answers, targets: int) -> Answers:
    """The answers of the first `targets` models: what a querier of these sees."""
    return Answers(logits=answers.logits[:targets], labels=answers.labels)

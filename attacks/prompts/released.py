"""A released prompt as its finder sees it: the vectors, and the public dual encoder they fit."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...accountant.errors import DesignError
from ...fl_core.kernels.base import Params
from ...fl_core.kernels.prompts import Prompts
from ..membership.outputs import Answers


class Records(NamedTuple):
    """Candidates as the public image encoder gives them.

    Attributes:
        x: float[records, dim]. y: int64[records].
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Released:
    """Prompts of several targets.

    Attributes:
        kernel: the public encoder and the classes.
        prompts: float[targets, ...] each, as the kernel names its parameters.

    Raises:
        DesignError: other names or shapes than the kernel's, no target, or a number not finite.
    """

    kernel: Prompts
    prompts: Params

    def __post_init__(self) -> None:
        shapes = self.kernel.shapes()
        found = {name: tuple(value.shape[1:]) for name, value in self.prompts.items()}
        rows = {len(value) for value in self.prompts.values()}
        if found != shapes or len(rows) != 1 or 0 in rows:
            raise DesignError(
                f"prompts must be float[targets, ...] for {shapes} and at least one target, but "
                f"are { ({n: tuple(v.shape) for n, v in self.prompts.items()}) }"
            )
        if not all(bool(torch.isfinite(value).all()) for value in self.prompts.values()):
            raise DesignError("a released prompt holds NaN or infinity; it cannot be scored")

    def __len__(self) -> int:
        return len(next(iter(self.prompts.values())))

    def rows(self, chosen: Tensor) -> "Released":
        """The prompts of some targets."""
        return Released(
            kernel=self.kernel, prompts={n: value[chosen] for n, value in self.prompts.items()}
        )

    def class_features(self) -> Tensor:
        """float64[targets, classes, dim], each of length 1, of the first context."""
        with torch.no_grad():
            return self.kernel.class_features(self.prompts)[:, 0].double()

    def answers(self, records: Records) -> Answers:
        """What every prompt says about every record: for any attack on `Answers`."""
        x = records.x.unsqueeze(0).expand(len(self), *records.x.shape)
        return Answers(logits=self.kernel.outputs(self.prompts, x).logits, labels=records.y)

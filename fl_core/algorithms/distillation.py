"""DCR: train on softly clipped features, taught by a slow copy of the head on the raw ones.

The mechanism clips what it averages; a head that is trained on softly clipped features finds such
prototypes near its own features. Two things would be lost with the clipped length, and a teacher
brings them back: the average of the student's heads so far, which sees raw features. At test time
the student's head sees raw features, too. Source: arXiv:2604.27833 and its code.

A plug-in: works with every method, and changes nothing that is uploaded from frozen features.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...accountant import check
from ...accountant.errors import ConfigError
from ..kernels.base import Context, Kernel, Loss, Outputs, Params
from ..kernels.layers import SoftClip
from ..kernels.stacked import Stacked
from . import losses

_TEACHER, STEPS = "teacher.", "local_steps"
_LOGITS, _WEIGHT = "teacher_logits", "teacher_weight"


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """The parameters of DCR; the defaults are those of the published code.

    Attributes:
        radius: R, the clip bound of the mechanism, > 0.
        softness: tau of the soft clip, >= 0.
        momentum: of the teacher, in [0, 1]; 1 keeps the copy that it starts as.
        temperature: of the distillation, > 0.
        weight: of the distillation, >= 0.
        warm_up: local steps of a client, over all rounds, before teacher and distillation begin.
    """

    radius: float = 5.0
    softness: float = 0.05
    momentum: float = 0.999
    temperature: float = 4.0
    weight: float = 0.05
    warm_up: int = 5

    def __post_init__(self) -> None:
        check.positive(radius=self.radius, temperature=self.temperature)
        check.non_negative(softness=self.softness, weight=self.weight)
        check.probability(momentum=self.momentum)
        check.whole(warm_up=self.warm_up)

    def student(self, kernel: Kernel) -> Stacked:
        """`kernel` with the soft clip before its head.

        Raises:
            ConfigError: the kernel is not made of layers, or clips already.
        """
        if not isinstance(kernel, Stacked) or any(isinstance(k, SoftClip) for k in kernel.body):
            raise ConfigError(
                "distillation adds the soft clip itself: give a Stacked kernel without one, "
                f"not {kernel!r}"
            )
        clip = SoftClip(self.radius, self.softness)
        return Stacked((*kernel.body, clip), kernel.head)

    def personal(self, params: Params, kernel: Stacked) -> Params:
        """What a client keeps besides its model: the teacher's head, and its count of steps."""
        rows = next(iter(params.values()))
        found = {f"{_TEACHER}{name}": params[name].clone() for name in _head(kernel)}
        return found | {STEPS: torch.zeros(len(rows), 1, dtype=rows.dtype, device=rows.device)}

    def teach(self, personal: Params, x: Tensor, kernel: Stacked) -> Params:
        """The teacher's logits for a batch, and the weight of each row's distillation.

        Args:
            personal: parameters and teacher of some rows.
            x: float[rows, batch, ...].
            kernel: without the soft clip.
        """
        taught = personal | {name: personal[f"{_TEACHER}{name}"] for name in _head(kernel)}
        return {
            _LOGITS: kernel.outputs(taught, x).logits,
            _WEIGHT: self.weight * self._begun(personal),
        }

    def follow(self, personal: Params, kernel: Stacked) -> None:
        """After a step of some rows: move the teacher, in place, and count."""
        pace = (1.0 - self.momentum) * self._begun(personal)
        for name in _head(kernel):
            teacher = personal[f"{_TEACHER}{name}"]
            shape = (-1,) + (1,) * (teacher.dim() - 1)
            teacher.lerp_(personal[name], pace.view(shape).expand_as(teacher))
        personal[STEPS].add_(1.0)

    def loss(self, own: Loss) -> Loss:
        """`own` and the distillation."""

        def both(outputs: Outputs, y: Tensor, context: Context) -> Tensor:
            gap = losses.distillation(outputs.logits, context[_LOGITS], self.temperature)
            return own(outputs, y, context) + context[_WEIGHT] * gap

        return both

    def _begun(self, personal: Mapping[str, Tensor]) -> Tensor:
        """float[rows, 1]: 1 for rows that are past the warm-up."""
        return (personal[STEPS] >= self.warm_up).to(personal[STEPS])


def _head(kernel: Stacked) -> list[str]:
    return [name for layer in kernel.head for name in layer.shapes()]

"""What a server sees of one client's step: a gradient, and the model that it was taken at."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ....accountant import check
from ....accountant.errors import DesignError


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientView:
    """Gradients of a client's loss, or the update that it made of them; trials are rows.

    Attributes:
        gradients: name -> float[trials, *shape], the mean over the records.
        params: name -> float[trials, *shape], the model before the step, which the server sent.
        batch: how many records the client used; known to the server.

    Raises:
        DesignError: names or shapes contradict each other, or a number is not finite.
    """

    gradients: Mapping[str, Tensor]
    params: Mapping[str, Tensor]
    batch: int

    def __post_init__(self) -> None:
        check.count(batch=self.batch)
        if not self.gradients or not set(self.gradients) <= set(self.params):
            raise DesignError(
                f"gradients of {sorted(self.gradients)} are no part of the model's "
                f"parameters {sorted(self.params)}"
            )
        for name, value in self.gradients.items():
            if value.shape != self.params[name].shape:
                raise DesignError(
                    f"the gradient of {name} has shape {tuple(value.shape)}, but the parameter "
                    f"{tuple(self.params[name].shape)}"
                )
            if len(value) != self.trials:
                raise DesignError(
                    f"the gradient of {name} has {len(value)} trials, but others have {self.trials}"
                )
            if not bool(torch.isfinite(value).all()):
                raise DesignError(f"the gradient of {name} holds NaN or infinity")

    @property
    def trials(self) -> int:
        """Number of rows."""
        return len(next(iter(self.gradients.values())))

    def matrix(self, name: str) -> Tensor:
        """float64[trials, *shape] of one gradient.

        Raises:
            DesignError: it was not seen.
        """
        if name not in self.gradients:
            raise DesignError(
                f"the attack needs the gradient of {name!r}, but the server saw "
                f"{sorted(self.gradients)}"
            )
        return self.gradients[name].double()

    @classmethod
    def of_update(
        cls,
        before: Mapping[str, Tensor],
        after: Mapping[str, Tensor],
        *,
        learning_rate: float,
        steps: int,
        batch: int,
    ) -> "GradientView":
        """The view of an update by plain SGD: its mean gradient over the local steps."""
        check.positive(learning_rate=learning_rate)
        check.count(steps=steps)
        seen = {name: (before[name] - after[name]) / (learning_rate * steps) for name in after}
        return cls(gradients=seen, params=before, batch=batch)
